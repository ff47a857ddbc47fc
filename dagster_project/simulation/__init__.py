"""Synthetic cohorts with known truth, always marked as simulated."""
