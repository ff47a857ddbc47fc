"""Places of outlines against their labels, once the lungs lie on each other."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from dagster_project.domain.imaging.identity import (
    Proposal,
    Spot,
    propose_identities,
    register_lungs,
    spots_of,
)

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


def lungs(shift=(0.0, 0.0, 0.0), angle_deg=0.0):
    """Two ellipsoids of lung in soft tissue, moved about the origin.

    The shift is (x, y, z) in mm, the grid is of 3 mm.
    """
    size, spacing = 80, 3.0
    axis = (np.arange(size) - size / 2) * spacing
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    x, y, z = x - shift[0], y - shift[1], z - shift[2]
    x, y = c * x + s * y, -s * x + c * y
    lung = (((x - 45) / 32) ** 2 + (y / 50) ** 2 + (z / 80) ** 2 < 1) | (
        ((x + 45) / 28) ** 2 + ((y - 8) / 45) ** 2 + (z / 70) ** 2 < 1
    )
    image = sitk.GetImageFromArray(np.where(lung, -800, 40).astype(np.int16))
    image.SetSpacing([spacing] * 3)
    image.SetOrigin([float(axis[0])] * 3)
    return image


@pytest.mark.parametrize(("shift", "angle"), [((0, 0, 0), 0), ((18, -9, 12), 0), ((6, 0, -9), 6)])
def test_lungs_are_laid_over_each_other_within_two_millimetres(shift, angle):
    move = register_lungs(lungs(), lungs(shift, angle))
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    for place in ((45.0, 0.0, 0.0), (-45.0, 20.0, 40.0)):
        expected = (
            np.array([c * place[0] - s * place[1], s * place[0] + c * place[1], place[2]]) + shift
        )
        assert np.linalg.norm((move @ [*place, 1.0])[:3] - expected) < 2.0


def test_a_scan_without_lungs_is_told():
    empty = sitk.Image([20, 20, 20], sitk.sitkInt16)
    with pytest.raises(ValueError, match="shows no lung"):
        register_lungs(empty, lungs())


def test_lesions_without_an_outline_have_no_place():
    row = {
        "lesion": "L1",
        "centroid_x_mm": None,
        "centroid_y_mm": None,
        "centroid_z_mm": None,
        "longest_diameter_mm": 20.0,
    }
    assert spots_of([row]) == []
