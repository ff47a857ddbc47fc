"""Places of outlines against their labels, once the lungs lie on each other."""

from __future__ import annotations

import numpy as np
import pytest

from dagster_project.domain.imaging.identity import Proposal, Spot, propose_identities, spots_of

STILL = np.eye(4)


def spot(label, x, diameter=20.0):
    return Spot(label, (float(x), 0.0, 0.0), diameter)


def kinds(before, after, move=STILL):
    return [(p.kind, p.from_lesions, p.to_lesions) for p in propose_identities(before, after, move)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            [spot("L1", 0), spot("L2", 80)],
            [spot("L1", 2), spot("L2", 81)],
            [],
        ),  # 6. place and label agree
        (
            [spot("L1", 0), spot("L2", 80)],
            [spot("L1", 80), spot("L2", 0)],
            [("label_swapped", ("L2",), ("L1",)), ("label_swapped", ("L1",), ("L2",))],
        ),
        (
            [spot("L1", 0)],
            [spot("nodule", 1)],
            [("label_swapped", ("L1",), ("nodule",))],
        ),  # 4. the label was left out
        (
            [spot("L1", 0, 40)],
            [spot("L1.1", -10), spot("L1.2", 10)],
            [("split", ("L1",), ("L1.1", "L1.2"))],
        ),
        (
            [spot("L1", -10), spot("L2", 10)],
            [spot("L1", 0, 40)],
            [("merged", ("L1", "L2"), ("L1",))],
        ),
        ([spot("L1", 0)], [spot("L1", 0), spot("L9", 90)], [("new", (), ("L9",))]),
        ([spot("L1", 0), spot("L2", 90)], [spot("L1", 0)], [("vanished", ("L2",), ())]),
        ([], [], []),
    ],
)
def test_what_places_suggest(before, after, expected):
    assert kinds(before, after) == expected


def test_a_moved_patient_is_followed():
    moved = STILL.copy()
    moved[0, 3] = 50.0
    assert kinds([spot("L1", 0)], [spot("L1", 50)], moved) == []
    assert [k for k, *_ in kinds([spot("L1", 0)], [spot("L2", 50)], moved)] == ["label_swapped"]


def test_the_distance_is_between_centroids():
    assert propose_identities([spot("L1", 0)], [spot("L2", 3)], STILL) == [
        Proposal("label_swapped", ("L1",), ("L2",), 3.0)
    ]


def test_lesions_without_an_outline_have_no_place():
    row = {
        "lesion": "L1",
        "centroid_x_mm": None,
        "centroid_y_mm": None,
        "centroid_z_mm": None,
        "longest_diameter_mm": 20.0,
    }
    assert spots_of([row]) == []
