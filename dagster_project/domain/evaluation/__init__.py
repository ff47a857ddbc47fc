"""How the dynamic iRECIST standard is judged: replayed as of each visit, beside its comparators."""
