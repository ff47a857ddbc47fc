"""The lake: what the tables are, and where they are kept."""
