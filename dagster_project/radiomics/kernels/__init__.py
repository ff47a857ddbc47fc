"""Compiled counting and formulas behind `fused_engine`.

One module per feature class, since numba's cache follows one file alone.
"""
