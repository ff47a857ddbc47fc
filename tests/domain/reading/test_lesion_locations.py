"""Which lesions a reader knows at a visit, and where each is proposed to lie."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from dagster_project.domain.imaging.lung_registration import NO_FIT, LungMotion
from dagster_project.domain.reading.lesion_locations import (
    FAR,
    NO_OUTLINE,
    OUTSIDE,
    NextScan,
    derive_lesion_locations,
    list_known,
)
from tests.domain.records import table

FAR_MM = 20.0
SIZE = (100, 90, 80)
VISITS = ("T0", "T1", "T2")
TIMEPOINTS = table(
    "timepoints",
    *(
        {"visit": visit, "scan": f"S{k}", "scan_date": dt.date(2024, 1, 1) + dt.timedelta(60 * k)}
        for k, visit in enumerate(VISITS)
    ),
)
WHO = dict(zip(("site", "patient"), TIMEPOINTS.select("site", "patient").row(0), strict=True))


def read(visit, lesion="L1", place=(10.0, 20.0, 30.0), reader="R1", diameter=12.0, **more):
    centre = dict(zip("xyz", place or (None,) * 3, strict=True))
    return {
        **WHO,
        "visit": visit,
        "scan": f"S{VISITS.index(visit)}",
        "reader": reader,
        "lesion": lesion,
        "longest_diameter_mm": diameter,
        "simulated": True,
        **{f"centroid_{axis}_mm": value for axis, value in centre.items()},
        **more,
    }


def moved(by=(5.0, -4.0, 3.0)):
    matrix = np.eye(4)
    matrix[:3, 3] = by
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    return NextScan(LungMotion(matrix, 0.99, 0.9), affine, SIZE)


def places(*reads, **found):
    pairs = {("S0", "S1"): moved(), ("S0", "S2"): moved(), ("S1", "S2"): moved()}
    pairs |= {tuple(key.split("_")): value for key, value in found.items()}
    return derive_lesion_locations(list_known(reads, TIMEPOINTS), pairs, FAR_MM).to_dicts()


def test_1_a_lesion_is_known_at_every_visit_after_its_first_read():
    found = places(read("T0"), read("T1", "L2"))
    assert [(r["visit"], r["scan"], r["lesion"]) for r in found] == [
        ("T1", "S1", "L1"),
        ("T2", "S2", "L1"),
        ("T2", "S2", "L2"),
    ]


def test_2_what_another_reader_knows_is_no_readers_own():
    found = places(read("T0"), read("T0", "L9", reader="R2"))
    assert {(r["reader"], r["lesion"]) for r in found} == {("R1", "L1"), ("R2", "L9")}


def test_3_the_place_is_the_last_outline_moved_as_the_lungs_moved():
    gone = read("T1", place=None, diameter=None, is_present=False)
    first, second = places(read("T0"), gone)
    assert [first[n] for n in ("x_mm", "y_mm", "z_mm")] == [15.0, 16.0, 33.0]
    assert [first[f"voxel_{n}"] for n in ("column", "row", "slice")] == [30, 32, 16]
    assert (first["method"], first["reason"]) == ("rigid_lungs", None)
    assert (second["from_visit"], second["from_scan"]) == ("T0", "S0")


@pytest.mark.parametrize(
    ("reads", "found", "reason"),
    [
        ((read("T0", place=None),), {}, NO_OUTLINE),
        ((read("T0"),), {"S0_S1": NO_FIT}, NO_FIT),
        ((read("T0", place=(60.0, 20.0, 30.0)),), {}, OUTSIDE),
        ((read("T0", place=(10.0, 3.0, 30.0)),), {}, OUTSIDE),
    ],
    ids=["by-hand", "no-motion", "beyond", "before"],
)
def test_4_there_is_no_place_without_a_reason(reads, found, reason):
    row = places(*reads, **found)[0]
    assert row["reason"] == reason
    assert all(row[n] is None for n in ("x_mm", "voxel_column", "method", "distance_mm"))


@pytest.mark.parametrize(
    ("off_mm", "diameter", "flags"),
    [(19.0, 10.0, []), (21.0, 10.0, [FAR]), (21.0, 32.0, []), (23.0, 32.0, [FAR])],
)
def test_5_an_outline_is_far_beyond_the_limit_and_beyond_the_lesions_own_size(
    off_mm, diameter, flags
):
    own = read("T1", place=(15.0 + off_mm, 16.0, 33.0), diameter=diameter)
    row = places(read("T0"), own)[0]
    assert row["distance_mm"] == pytest.approx(off_mm)
    assert row["flags"] == flags


def test_6_a_series_that_the_reader_chose_is_the_scan_of_the_place():
    other = {**read("T1"), "scan": "S1b"}
    assert places(read("T0"), other, S0_S1b=moved())[0]["scan"] == "S1b"


def test_7_a_visit_without_a_date_has_no_place_in_the_order():
    undated = TIMEPOINTS.with_columns(
        scan_date=pl.when(pl.col("visit") == "T1").then(None).otherwise(pl.col("scan_date"))
    )
    assert {known.visit for known in list_known([read("T0")], undated)} == {"T2"}
