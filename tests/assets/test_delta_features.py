"""A change is the later value minus the earlier, of the accepted reader's features."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage


def test_each_change_is_the_difference_of_the_two_visits(opened: Stage) -> None:
    """Put together again from the features of the accepted reader, for all rows."""
    what = ["site", "patient", "lesion", "region", "feature"]
    accepted = opened.table("radiomic_features").join(
        opened.table("lesions"), on=["site", "patient", "visit", "lesion", "reader"], how="semi"
    )
    values = accepted.select(*what, "visit", "value")
    changes = opened.table("delta_features").filter(pl.col("delta").is_not_null())
    pairs = changes.join(values, left_on=[*what, "from_visit"], right_on=[*what, "visit"]).join(
        values, left_on=[*what, "to_visit"], right_on=[*what, "visit"], suffix="_to"
    )
    assert pairs.height == changes.height > 1000
    assert (
        pairs.select((pl.col("delta") - (pl.col("value_to") - pl.col("value"))).abs().max()).item()
        < 1e-9
    )


def test_pairs_are_those_of_the_protocol_and_days_are_true(opened: Stage) -> None:
    rows = opened.table("delta_features")
    assert set(rows.select("from_visit", "to_visit").iter_rows()) == {
        ("T0", "T1"),
        ("T1", "T2"),
        ("T0", "T2"),
    }
    for patient, truth in opened.trial.everyone():
        days = {name: visit["day"] for name, visit in truth["visits"].items()}
        own = rows.filter(patient=patient).select("from_visit", "to_visit", "days").unique()
        assert all(days[later] - days[earlier] == n for earlier, later, n in own.iter_rows())
