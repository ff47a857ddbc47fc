"""What the `lakehouse` command can do, one module a command or group of commands; heavy imports stand inside the functions."""
