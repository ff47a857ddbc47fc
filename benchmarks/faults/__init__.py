"""Faults of a night: kills, full disks, many at once, and no network."""
