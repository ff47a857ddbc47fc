"""Geometry and days of every series are those that were simulated."""

from __future__ import annotations

import polars as pl
import pytest

from tests.trial import Stage


def test_every_series_has_the_geometry_it_was_written_with(grown: Stage) -> None:
    rows = grown.table("scans").sort("day")
    for patient, truth in grown.trial.everyone():
        own = rows.filter(patient=patient).to_dicts()
        visits = sorted(truth["visits"].values(), key=lambda v: v["day"])
        assert [r["day"] for r in own] == [v["day"] for v in visits]
        for row, visit in zip(own, visits, strict=True):
            assert [row["n_slices"], row["rows"], row["columns"]] == visit["shape_zyx"]
            assert [
                row["slice_spacing_mm"],
                row["pixel_spacing_row_mm"],
                row["pixel_spacing_column_mm"],
            ] == pytest.approx(visit["spacing_zyx_mm"], abs=1e-6)
            assert (row["n_missing_slices"], row["n_duplicate_slices"]) == (0, 0)


def test_only_the_thick_series_is_thick(closed: Stage) -> None:
    thick = {
        patient for patient, truth in closed.trial.everyone() if "thick_slices" in truth["troubles"]
    }
    assert set(closed.table("scans").filter(pl.col("slice_thickness_mm") > 1.0)["patient"]) == thick


def test_no_uid_of_the_hospital_is_left(closed: Stage) -> None:
    true = {
        visit[name]
        for _, truth in closed.trial.everyone()
        for visit in truth["visits"].values()
        for name in ("series_uid", "study_uid")
    }
    rows = closed.table("scans")
    assert not true & {*rows["series_instance_uid"], *rows["study_instance_uid"]}
    assert rows["series_instance_uid"].n_unique() == rows.height
