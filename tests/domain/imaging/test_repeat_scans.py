"""A repeat is a second scan of the day, after the patient was repositioned.

It is made and reconstructed like the first.
"""

from __future__ import annotations

import datetime as dt

import pytest

from dagster_project.domain.imaging.repeat_scans import find_repeats, without_repeats
from dagster_project.domain.imaging.timepoints import derive_timepoints
from dagster_project.study import load_study
from tests.domain.records import cycles
from tests.domain.rows import table

DAY = dt.date(2026, 3, 2)
FIRST = {
    "scan": "S1",
    "scan_date": DAY,
    "study_instance_uid": "1.1",
    "frame_of_reference_uid": "2.1",
    "slice_thickness_mm": 1.0,
    "slice_spacing_mm": 1.0,
    "kernel": "Br40d",
    "kvp": 120.0,
    "contrast": True,
    "axial_original": True,
    "chest_flag": True,
    "n_slices": 300,
    "series_number": 2,
}
AGAIN = FIRST | {"scan": "S2", "frame_of_reference_uid": "2.2", "series_number": 5}


def found(*scans):
    """Through the visits that the protocol derives from the same rows."""
    rows = table("scans", *scans)
    timepoints = derive_timepoints(rows, cycles(), load_study().section("timepoints"))
    return [(first["scan"], other["scan"]) for first, other in find_repeats(timepoints, rows)]


@pytest.mark.parametrize(
    ("changes", "repeat"),
    [
        ({}, True),
        ({"study_instance_uid": "1.2"}, True),  # 1. ordered as a study of its own
        ({"scan_date": DAY + dt.timedelta(days=1)}, False),  # 1. another day is another visit
        ({"axial_original": False}, False),  # 1. a reformat
        ({"frame_of_reference_uid": "2.1"}, False),  # 2. the same acquisition, reconstructed twice
        ({"frame_of_reference_uid": None}, False),  # 2. unknown
        ({"kernel": "Bl57d"}, False),  # 3. a sharper kernel is compared too
        ({"slice_thickness_mm": 2.0}, False),
        ({"contrast": False}, False),
        ({"kvp": 100.0}, False),
        ({"kernel": None, "kvp": None}, True),  # 3. what one does not tell is no difference
    ],
)
def test_rules(changes, repeat):
    assert found(FIRST, AGAIN | changes) == ([("S1", "S2")] if repeat else [])


def test_a_third_scan_is_a_second_repeat_and_a_scan_alone_has_none():
    assert found(
        FIRST, AGAIN, AGAIN | {"scan": "S3", "frame_of_reference_uid": "2.3", "series_number": 7}
    ) == [("S1", "S2"), ("S1", "S3")]
    assert found(FIRST) == []


def test_series_without_a_date_repeat_nothing():
    undated = {"scan_date": None}
    assert found(FIRST | undated, AGAIN | undated) == []


def test_an_outline_on_a_repeat_is_no_read_where_the_reader_outlined_the_chosen_scan_too():
    rows = table("scans", FIRST, AGAIN)
    timepoints = derive_timepoints(rows, cycles(), load_study().section("timepoints"))
    same_place = dict.fromkeys(("centroid_x_mm", "centroid_y_mm", "centroid_z_mm"), 0.0) | {
        "voxel_count": 9,
        "volume_mm3": 9.0,
    }
    drawn = [
        {
            "site": "AA",
            "patient": "P1",
            "scan": scan,
            "reader": reader,
            "label": label,
            **same_place,
        }
        for scan, reader, label in (
            ("S1", "R1", "L1"),
            ("S2", "R1", "l-1"),
            ("S1", "R2", "L1"),
            ("S2", "R2", "L2"),
            ("S2", "R3", "L1"),
        )
    ]
    kept = [(o["scan"], o["reader"], o["label"]) for o in without_repeats(drawn, timepoints, rows)]
    assert kept == [("S1", "R1", "L1"), ("S1", "R2", "L1"), ("S2", "R2", "L2"), ("S2", "R3", "L1")]
