"""A feature's stability rests on the readers' pairs that are in the lake."""

from __future__ import annotations

import polars as pl
import pytest

from dagster_project.domain.icc import icc
from tests.trial import Stage


def test_figures_are_those_of_the_reads_in_the_lake(opened: Stage) -> None:
    """One feature's pairs put together again from its rows, reader beside reader."""
    what = {"region": "tumor", "feature": "original_firstorder_Mean"}
    values = opened.table("radiomic_features").filter(**what).drop_nulls("value").sort("reader")
    pairs = values.group_by("site", "scan", "lesion").agg("value").filter(pl.col("value").list.len() == 2)["value"].to_list()
    row = opened.table("feature_stability").filter(**what).row(0, named=True)
    assert row["n_pairs"] == len(pairs) > 10
    assert row["icc"] == pytest.approx(icc(pairs).value)


def test_every_region_and_feature_has_a_row(opened: Stage) -> None:
    key = ["region", "feature"]
    there = opened.table("radiomic_features").select(key).unique()
    rows = opened.table("feature_stability")
    assert rows.select(key).sort(key).equals(there.sort(key))
    assert 0 < rows["stable"].sum() < rows.height
