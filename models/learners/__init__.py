"""Learners, from baselines to networks and their stack."""
