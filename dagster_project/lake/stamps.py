"""Rows that say when something was first so: the stamp stays while the content stays."""

from __future__ import annotations

import polars as pl

from dagster_project.lake.schema import conform
from dagster_project.lake.tables import Table


def keep_stamps(
    fresh: pl.DataFrame, before: pl.DataFrame, table: Table, stamps: tuple[str, ...]
) -> pl.DataFrame:
    """Fresh rows, with the stamps of an earlier row wherever all its other columns are the same.

    Parameters
    ----------
    fresh
        Rows of the table, stamped now.
    before
        The table as it stands.
    stamps
        Columns that tell when or on which snapshot.
    """
    content = [n for n in table.names if n not in stamps]
    earlier = before.rename({s: f"earlier_{s}" for s in stamps})
    joined = conform(fresh, table).join(earlier, on=content, how="left", nulls_equal=True)
    return joined.with_columns(pl.coalesce(f"earlier_{s}", s).alias(s) for s in stamps).select(
        table.names
    )
