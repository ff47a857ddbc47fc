"""Two spellings are one lesion, unless that would make one of two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.domain.imaging.labels import (
    labels_of_outlines,
    labels_of_reads,
    lie_apart,
    normal_label,
)

SAME = [
    ("L1", "l1"),
    ("L 1", "L1"),
    ("Nodule_1", "nodule 1"),
    ("Ｌ１", "L1"),
    ("L1-1", "L1_1"),
    ("L1 - 1", "L1-1"),
]
OTHER = [("L1-1", "L11"), ("GTV_1-0", "GTV 10"), ("L 1 2", "L12"), ("L1", "L2")]


def outline(label, x=0.0, **facts):
    place = {"site": "AA", "patient": "P1", "scan": "S0", "reader": "R1", "label": label}
    return {
        **place,
        "voxel_count": 500,
        "volume_mm3": 500.0,
        "centroid_x_mm": x,
        "centroid_y_mm": 0.0,
        "centroid_z_mm": 0.0,
        **facts,
    }


@pytest.mark.parametrize(("one", "other"), SAME)
def test_case_blanks_and_hyphens_do_not_count(one, other):
    assert normal_label(one) == normal_label(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_a_separator_between_two_digits_counts(one, other):
    assert normal_label(one) != normal_label(other)


@given(st.text(alphabet="L1 2-_a病", min_size=1, max_size=8))
def test_a_normal_label_is_its_own_normal_label(label):
    assert normal_label(normal_label(label)) == normal_label(label)


def test_spellings_whose_outlines_lie_apart_on_one_scan_are_two_lesions():
    a, b = outline("LA-B"), outline("LAB", x=40.0)
    labels = labels_of_outlines([a, b])
    assert labels.key(a, "LA-B") != labels.key(b, "LAB")


def test_spellings_of_one_outline_are_one_lesion_and_so_are_those_of_two_scans():
    a, b = outline("LA-B"), outline("LAB", x=1.0)
    assert labels_of_outlines([a, b]).ambiguous == frozenset()
    assert labels_of_outlines([a, outline("LAB", x=40.0, scan="S1")]).ambiguous == frozenset()


@pytest.mark.parametrize(
    ("x", "volumes", "apart"),
    [
        (40.0, (None, 3000.0), True),
        (1.0, (None, 3000.0), False),
        (0.0, (None, None), False),
        (1.0, (None, None), True),
    ],
)
def test_an_outline_without_a_volume_is_measured_by_the_others(x, volumes, apart):
    a, b = (
        outline("L1", x=place, volume_mm3=volume)
        for place, volume in zip((0.0, x), volumes, strict=True)
    )
    assert lie_apart(a, b) is apart


def test_an_empty_outline_makes_nothing_ambiguous():
    assert (
        labels_of_outlines(
            [outline("LA-B"), outline("LAB", voxel_count=0, centroid_x_mm=None)]
        ).ambiguous
        == frozenset()
    )


def test_names_that_stand_side_by_side_in_one_read_stay_two_lesions():
    rows = [
        {"site": "AA", "patient": "P1", "reader": "R1", "scan": "S0", "lesion": name}
        for name in ("LA-B", "LAB")
    ]
    assert {labels_of_reads(rows).key(row, row["lesion"]) for row in rows} == {"la-b", "lab"}
