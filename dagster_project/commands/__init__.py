"""What the `lakehouse` command can do, one module per command or group of commands.

Heavy imports are inside the functions.
"""
