"""RECIST 1.1, iRECIST and the dynamic standard: findings to end points."""
