"""Exactly the patients who were simulated as eligible are eligible.

The others are not, for the reason that was planted.
"""

from __future__ import annotations

import polars as pl

from tests.trial import Stage

CRITERION = {
    "thick_slices": ("I5", "not_met"),
    "missing_t2": ("I4", "unknown"),
    "duplicate_patient": ("I7", "unknown"),
}


def test_who_is_eligible(closed: Stage) -> None:
    rows = closed.table("eligibility")
    eligible = rows.group_by("patient").agg(
        pl.len(), (pl.col("verdict") == "met").all().alias("eligible")
    )
    assert set(eligible["len"]) == {14}
    assert dict(eligible.select("patient", "eligible").iter_rows()) == {
        patient: truth["eligible"] for patient, truth in closed.trial.everyone()
    }


def test_each_planted_reason_is_the_criterion_it_breaks(closed: Stage) -> None:
    rows = closed.table("eligibility")
    planted = [
        (patient, *CRITERION[kind])
        for patient, truth in closed.trial.everyone()
        for kind in truth["excluded_by"]
    ]
    assert len(planted) == 3
    for patient, criterion, verdict in planted:
        row = rows.filter(patient=patient, criterion=criterion).row(0, named=True)
        assert row["verdict"] == verdict
        assert row["evidence"]
