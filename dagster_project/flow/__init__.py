"""What assets do, one module an asset: read the lake, have pure code do what has not been done, keep and count."""
