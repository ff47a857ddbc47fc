"""Hostile inputs: what writes them, and the home that they are tried in."""
