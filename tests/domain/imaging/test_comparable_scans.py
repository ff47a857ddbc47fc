"""Texture is compared between scans that were made alike.

Where they were not, it is refused by reason.
"""

from __future__ import annotations

import pytest

from dagster_project.domain.imaging.comparable_scans import (
    OTHER_KERNEL,
    OTHER_SCANNER,
    why_not_comparable,
)

SCAN = {
    "kernel": "B30f",
    "manufacturer": "SIEMENS",
    "slice_thickness_mm": 1.0,
    "slice_spacing_mm": 0.8,
}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"kernel": "b30F "}, None),
        ({"kernel": None}, None),
        ({"manufacturer": "Siemens"}, None),
        ({"kernel": "B70f"}, OTHER_KERNEL),
        ({"kernel": "B70f", "manufacturer": "GE MEDICAL SYSTEMS"}, OTHER_KERNEL),
        ({"kernel": None, "manufacturer": "GE MEDICAL SYSTEMS"}, OTHER_SCANNER),
        ({"slice_thickness_mm": 1.5, "slice_spacing_mm": 1.5}, None),
    ],
)
def test_what_stands_between_two_scans(changed, reason):
    other = SCAN | changed
    assert why_not_comparable(SCAN, other, 1.5) == why_not_comparable(other, SCAN, 1.5) == reason


@pytest.mark.parametrize(
    "thick",
    [
        {"slice_thickness_mm": 3.0},
        {"slice_spacing_mm": 2.5},
        {"slice_thickness_mm": None, "slice_spacing_mm": 5.0},
    ],
)
def test_thick_slices_are_named_with_their_limit(thick):
    assert why_not_comparable(SCAN, SCAN | thick, 1.5).startswith("slices of more than 1.5 mm")


def test_what_nobody_knows_stands_against_nothing():
    unknown = dict.fromkeys(SCAN)
    assert why_not_comparable(unknown, unknown, 1.5) is None
