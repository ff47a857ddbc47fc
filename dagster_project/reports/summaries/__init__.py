"""What the pages count and compute from the tables, by section of the study report.

The results are rows of plain values, without a word about how they look.
"""
