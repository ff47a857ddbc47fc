"""What the assets do, one module per asset.

Each reads the lake, has pure code do what has not been done, stores the results and counts them.
"""
