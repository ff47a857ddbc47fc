"""A lesion bears one name with all blinded readers of a patient, by where it was outlined."""

from __future__ import annotations

import itertools

import polars as pl
import pytest

from dagster_project.domain.reading.lesion_matching import RENAMED, UNCLEAR, match_lesions
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import READS

SCHEMA = {n: t for n, t in polars_schema(READS).items() if n != "input_fingerprint"}
WHERE = {"left": -30.0, "right": 30.0, "apex": 90.0}
"""Place of a lesion and its x coordinate in mm."""


def read(reader, lesion, where=None, visit="T0", **facts):
    """A read of a lesion; outlined where a place is given."""
    drawn = (
        {}
        if where is None
        else {
            "voxel_count": 500,
            "volume_mm3": 500.0,
            "mask_digest": where,
            "centroid_x_mm": WHERE[where],
            "centroid_y_mm": 0.0,
            "centroid_z_mm": 0.0,
        }
    )
    return {
        "site": "AA",
        "patient": "P1",
        "visit": visit,
        "scan": f"S{visit}",
        "reader": reader,
        "lesion": lesion,
        "reader_label": lesion,
        "role": "target",
        "simulated": False,
        **drawn,
        **facts,
    }


def match(*rows):
    frame = pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in rows], schema=SCHEMA)
    found, reports = match_lesions(
        frame, lambda a, b: float(a["mask_digest"] == b["mask_digest"]), "SITE"
    )
    names = {
        (r["reader"], r["reader_label"], r["visit"]): r["lesion"]
        for r in found.iter_rows(named=True)
    }
    return names, dict(reports.select("item", "reason").iter_rows())


def test_equal_numbers_stay_and_no_mask_is_compared():
    rows = [read(r, n, w) for r in ("R1", "R2") for n, w in (("L1", "left"), ("L2", "right"))]
    frame = pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in rows], schema=SCHEMA)
    found, reports = match_lesions(frame, lambda *_: pytest.fail("a mask was compared"), "SITE")
    assert found.equals(frame)
    assert reports.height == 0


def test_swapped_numbers_follow_the_outlines_at_all_visits_and_are_reported():
    names, reports = match(
        read("R1", "L1", "left"),
        read("R1", "L2", "right"),
        read("R2", "L1", "right"),
        read("R2", "L2", "left"),
        read("R2", "L1", visit="T1"),
    )
    assert names["R2", "L1", "T0"] == names["R2", "L1", "T1"] == "L2"
    assert names["R2", "L2", "T0"] == "L1"
    assert reports == {"P1 R2 L1": RENAMED, "P1 R2 L2": RENAMED}


@pytest.mark.parametrize("order", itertools.permutations(range(4)))
def test_the_order_of_the_rows_does_not_matter(order):
    rows = [
        read("R1", "L1", "left"),
        read("R1", "L2", "right"),
        read("R2", "L1", "right"),
        read("R2", "L2", "left"),
    ]
    names, _ = match(*(rows[i] for i in order))
    assert (names["R2", "L1", "T0"], names["R2", "L2", "T0"]) == ("L2", "L1")


def test_a_lesion_that_the_first_reader_has_not_gets_a_name_of_its_own_where_its_number_is_taken():
    names, _ = match(read("R1", "L1", "left"), read("R2", "L1", "right"), read("R2", "L2", "left"))
    assert (names["R2", "L2", "T0"], names["R2", "L1", "T0"]) == ("L1", "L1 (R2)")


def test_a_label_that_changes_its_lesion_between_visits_is_compared_with_none():
    names, reports = match(
        read("R1", "L1", "left"),
        read("R1", "L2", "right"),
        read("R2", "L1", "left"),
        read("R1", "L1", "left", "T1"),
        read("R1", "L2", "right", "T1"),
        read("R2", "L1", "right", "T1"),
    )
    assert names["R2", "L1", "T0"] == names["R2", "L1", "T1"] == "L1 (R2)"
    assert reports == {"P1 R2 L1": UNCLEAR}


def test_outlines_of_one_number_that_do_not_overlap_stay_a_disagreement():
    names, reports = match(read("R1", "L1", "left"), read("R2", "L1", "right"))
    assert (names["R2", "L1", "T0"], reports) == ("L1", {})


def test_reads_without_outlines_and_outlines_among_the_images_stay_as_they_are():
    names, reports = match(
        read("R1", "L1"), read("R2", "L1"), read("SITE", "L9", "left"), read("R1", "L2", "left")
    )
    assert set(names.values()) == {"L1", "L2", "L9"}
    assert reports == {}
