"""Every reader's outline is measured as it was drawn, whatever format it came in."""

from __future__ import annotations

import polars as pl
import pytest

from tests.trial import Stage


def test_voxels_and_diameters_are_those_that_were_drawn(grown: Stage) -> None:
    """Exact where voxels were delivered.

    Contours are filled anew, which may differ by a border voxel.
    """
    rows = {
        (r["patient"], r["visit"], r["reader"], r["lesion"]): r
        for r in grown.table("reads").iter_rows(named=True)
    }
    seen = 0
    for patient, truth in grown.trial.everyone():
        for label, lesion in truth["lesions"].items():
            for visit, state in lesion["visits"].items():
                for reader, drawn in state.get("readers", {}).items():
                    row = rows[patient, visit, reader, label]
                    exact = row["mask_source"] in {"SEG", "NIFTI"}
                    assert row["voxel_count"] == (
                        drawn["voxel_count"]
                        if exact
                        else pytest.approx(drawn["voxel_count"], rel=0.02, abs=2)
                    )
                    assert row["longest_diameter_mm"] == pytest.approx(
                        drawn["longest_diameter_mm"], abs=1e-6 if exact else 1.5
                    )
                    seen += 1
    assert seen == grown.table("reads").height
    assert {r["mask_source"] for r in rows.values()} == {"RTSTRUCT", "SEG", "NIFTI"}


def test_volume_is_voxels_times_voxel(closed: Stage) -> None:
    joined = closed.table("reads").join(closed.table("scans"), on=["site", "scan"])
    size = (
        pl.col("slice_spacing_mm")
        * pl.col("pixel_spacing_row_mm")
        * pl.col("pixel_spacing_column_mm")
    )
    off = joined.select(
        (pl.col("volume_mm3") / (pl.col("voxel_count") * size) - 1).abs().max()
    ).item()
    assert off < 1e-6


def test_what_is_in_the_lake_is_locked_by_both(grown: Stage) -> None:
    rows = grown.table("reads")
    assert rows["locked_at"].null_count() == 0
    assert rows.group_by("patient").agg(pl.col("reader").n_unique())[
        "reader"
    ].unique().to_list() == [2]


def test_a_later_lock_does_not_touch_what_was_locked_before(opened: Stage, grown: Stage) -> None:
    added = grown.table("reads").join(
        opened.table("reads"), on=["site", "scan", "reader", "lesion"], how="anti"
    )
    stayed = grown.table("reads").join(added, on=["site", "scan", "reader", "lesion"], how="anti")
    assert stayed.sort("site", "scan", "reader", "lesion").equals(
        opened.table("reads").sort("site", "scan", "reader", "lesion")
    )
    assert added["scan"].n_unique() == 1
