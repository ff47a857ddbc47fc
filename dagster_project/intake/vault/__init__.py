"""The vault: what is taken in, where it lies, and its audit."""
