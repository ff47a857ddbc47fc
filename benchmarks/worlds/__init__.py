"""Simulated worlds in which the truth of every figure is known."""
