"""Keys, pseudonyms, and whose a file is."""
