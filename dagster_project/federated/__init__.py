"""Sums over hospitals that show no hospital's part, and the record of what they gave away."""
