"""Pure clinical and imaging rules: rows and arrays in, rows out."""
