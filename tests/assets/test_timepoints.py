"""Every visit has the scan that was made for it."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage


def test_each_visit_is_found_on_its_day(grown: Stage) -> None:
    rows = grown.table("timepoints")
    for patient, truth in grown.trial.everyone():
        own = dict(rows.filter(patient=patient).select("visit", "day").iter_rows())
        assert own == {name: visit["day"] for name, visit in truth["visits"].items()}


def test_a_changed_kernel_is_told(closed: Stage) -> None:
    changed = closed.table("timepoints").filter(pl.col("changed_since_t0").list.contains("kernel"))
    expected = {
        patient
        for patient, truth in closed.trial.everyone()
        if "kernel_change" in truth["troubles"]
    }
    assert set(changed["patient"]) == expected
    assert set(changed["visit"]) == {"T2"}
