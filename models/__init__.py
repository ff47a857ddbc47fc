"""Models trained behind the gate.

Data sets, splits, baselines, evaluation and the log of every run.
"""
