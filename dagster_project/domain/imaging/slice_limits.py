"""Rule I5 for one scan: whether its slices are thin enough, all there, and there once.

The criterion, the check and the report take the answer from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

Row = Mapping[str, Any]

FAULTS: Mapping[str, tuple[str, ...]] = {
    "thick": ("slice_thickness_mm", "slice_spacing_mm"),
    "gap": ("n_missing_slices",),
    "duplicate": ("n_duplicate_slices",),
}
"""What can be wrong with the slices of a scan, and the columns that show it."""

UNKNOWN = "unknown"
"""A column that would show it is NULL."""

COLUMNS = tuple(column for columns in FAULTS.values() for column in columns)


def slice_faults(scan: Row, rules: Row) -> dict[str, tuple[str, ...]]:
    """The columns by what they show; all empty where the slices meet the rule.

    Parameters
    ----------
    scan
        Nominal thickness and measured spacing in mm, missing and duplicate slices.
    rules
        study.toml [scans].

    >>> rules = {"slice_thickness_mm": 1.0, "slice_tolerance_mm": 0.01}
    >>> scan = {"slice_thickness_mm": None, "slice_spacing_mm": 1.25, "n_missing_slices": 0,
    ...         "n_duplicate_slices": 0}
    >>> found = slice_faults(scan, rules)
    >>> found["thick"], found["unknown"], found["gap"]
    (('slice_spacing_mm',), ('slice_thickness_mm',), ())
    """
    limit = rules["slice_thickness_mm"] + rules["slice_tolerance_mm"]
    most = dict.fromkeys(COLUMNS, 0) | dict.fromkeys(FAULTS["thick"], limit)
    above = {c for c in COLUMNS if scan[c] is not None and scan[c] > most[c]}
    found = {kind: tuple(c for c in columns if c in above) for kind, columns in FAULTS.items()}
    return {**found, UNKNOWN: tuple(c for c in COLUMNS if scan[c] is None)}


def mark_slices(scans: pl.DataFrame, rules: Row) -> pl.DataFrame:
    """Scans with a column of true and false for each fault, and for what is unknown."""
    found = [slice_faults(row, rules) for row in scans.select(COLUMNS).iter_rows(named=True)]
    kinds = (*FAULTS, UNKNOWN)
    marks = [pl.Series(kind, [bool(one[kind]) for one in found], pl.Boolean) for kind in kinds]
    return scans.with_columns(marks)


def has_fault() -> pl.Expr:
    """Of marked scans: any fault, or a figure that is not known."""
    return pl.any_horizontal(*FAULTS, UNKNOWN)
