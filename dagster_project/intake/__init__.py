"""Identified data, and the only code that sees it."""
