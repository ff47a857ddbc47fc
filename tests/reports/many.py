"""The largest cohort that is planned, from the small one of the pages' tests."""

from __future__ import annotations

from functools import cache

import polars as pl

from tests.reports.cohort import whole

MANY = 500
"""Patients of the largest cohort that is planned."""


@cache
def many():
    """The rows of the small cohort over and over, under as many pseudonyms."""
    base = {n: f for n, f in whole().items() if {"site", "patient"} <= set(f.columns) and f.height}
    times = range(-(-MANY // whole()["patients"].height))
    renamed = {
        name: pl.concat([f.with_columns(pl.col("patient") + f"-{i}") for i in times])
        for name, f in base.items()
    }
    chosen = renamed["patients"].head(MANY).select("site", "patient")
    some = {n: f.join(chosen, on=["site", "patient"], how="semi") for n, f in renamed.items()}
    return {**whole(), **some}
