"""Compiled counting and formulas behind `fused_engine`: one module a feature class, since numba's cache follows one file alone."""
