"""Grading of other trials' tables."""
