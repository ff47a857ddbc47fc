"""Every outlined lesion has every feature of every region, or a reason."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage


def test_each_locked_outline_has_all_regions_and_features(closed: Stage) -> None:
    rows, reads = (
        closed.table("radiomic_features"),
        closed.table("reads").filter(pl.col("locked_at").is_not_null()),
    )
    per_read = rows.group_by("scan", "lesion", "reader").agg(
        pl.len(), pl.col("feature").n_unique(), pl.col("region").n_unique()
    )
    assert per_read.height == reads.height
    assert set(per_read.select("len", "feature", "region").iter_rows()) == {(4 * 18, 18, 4)}


def test_a_value_is_there_or_a_reason(closed: Stage) -> None:
    rows = closed.table("radiomic_features")
    assert (rows["value"].is_null() == rows["reason"].is_not_null()).all()
    assert rows["value"].is_null().mean() < 0.2


def test_the_mean_within_the_tumour_is_that_of_the_read(closed: Stage) -> None:
    """Resampling smooths the border: a few HU on average, never another lesion's value."""
    means = closed.table("radiomic_features").filter(
        feature="original_firstorder_Mean", region="tumor"
    )
    joined = means.join(closed.table("reads"), on=["scan", "lesion", "reader"])
    assert joined.height == means.height
    assert joined.select((pl.col("value") - pl.col("mean_hu")).abs().max()).item() < 150
    assert joined.select(pl.corr("value", "mean_hu")).item() > 0.95
