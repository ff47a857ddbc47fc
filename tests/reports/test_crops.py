"""Crops: every voxel back as it was, one orientation, outlines and diameter where they lie."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from dagster_project.reports.crops import (
    MARGIN_ALONG_MM,
    MARGIN_MM,
    WINDOWS,
    Crop,
    cut_crop,
    decode_crop,
    draw_still,
    encode_crop,
    outlines_of,
    side_of,
    turn_of,
)
from dagster_project.reports.figures.canvas import NothingToDraw
from tests.reports.boards import ball, crop_of

PLAIN = {
    "spacing": (1.0, 0.5, 0.75),
    "middle": 1.0,
    "centre": (1.0, 1.0),
    "extent": (2.0, 2.0),
    "edges": ("R", "L", "A", "P"),
    "outlines": {},
}


@given(arrays(np.int16, array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_every_voxel_comes_back_whatever_it_is(voxels):
    """Neighbours may lie further apart than 16 bits hold."""
    found = decode_crop(encode_crop(Crop(voxels, **PLAIN)))
    assert np.array_equal(found.voxels, voxels)
    assert found == Crop(found.voxels, **PLAIN)


def test_the_crop_is_the_lesion_and_its_margins():
    image, mask = ball(22, shape=(90, 200, 200))
    crop = decode_crop(encode_crop(cut_crop(image, {"A": mask}, mask)))
    spans = [np.ptp(np.flatnonzero(mask.any(axis=a))) + 1 for a in ((1, 2), (0, 2), (0, 1))]
    margins = (MARGIN_ALONG_MM, MARGIN_MM, MARGIN_MM)
    for n, span, mm, margin in zip(crop.voxels.shape, spans, crop.spacing, margins, strict=True):
        assert margin <= (n - span) / 2 * mm < margin + mm


def test_a_lesion_at_the_edge_of_the_image_has_what_there_is():
    image, mask = ball(22, shape=(30, 60, 60))
    crop = cut_crop(image, {"A": mask}, mask)
    assert crop.voxels.shape == (30, 60, 60)


def test_an_empty_outline_has_no_crop():
    image, mask = ball(10, shape=(20, 40, 40))
    with pytest.raises(NothingToDraw):
        cut_crop(image, {}, np.zeros_like(mask))


# -- orientation -----------------------------------------------------------------------------------

AXIAL = [
    (order, signs)
    for order in ((0, 1, 2), (1, 0, 2))
    for signs in itertools.product((1, -1), repeat=3)
]
"""Which way columns, rows and slices run: supine, prone, feet first, and turned by a quarter."""


@pytest.mark.parametrize(("order", "signs"), AXIAL, ids=str)
def test_however_a_scan_lies_it_is_displayed_alike(order, signs):
    """The same patient, from the direction cosines: left on the right, the back below."""
    shape = (26, 40, 44)
    patient = np.random.default_rng(5).integers(-1000, 400, shape).astype(np.int16)
    lesion = np.zeros(shape, bool)
    lesion[10:15, 14:22, 20:26] = True
    ends = np.array([[20.0, 14, 12], [25, 21, 12]])
    stored, marked, spacing, direction, index = patient, lesion, (0.6, 0.9, 2.0), np.eye(3), ends
    if order == (1, 0, 2):
        stored, marked = stored.swapaxes(1, 2), marked.swapaxes(1, 2)
        spacing, direction = (0.9, 0.6, 2.0), direction[:, [1, 0, 2]]
        index = index[:, [1, 0, 2]]
    for axis, sign in enumerate(signs):
        if sign < 0:
            stored, marked = np.flip(stored, 2 - axis), np.flip(marked, 2 - axis)
            index = index.copy()
            index[:, axis] = stored.shape[2 - axis] - 1 - index[:, axis]
            direction = direction * np.where(np.arange(3) == axis, -1, 1)
    image = sitk.GetImageFromArray(np.ascontiguousarray(stored))
    image.SetSpacing(spacing)
    image.SetDirection(direction.ravel().tolist())
    crop = cut_crop(image, {"A": np.ascontiguousarray(marked)}, np.ascontiguousarray(marked), index)
    assert crop.edges == ("R", "L", "A", "P")
    assert crop.spacing == (2.0, 0.9, 0.6)
    low = [max(0, 10 - 6), 0, 0]
    assert np.array_equal(crop.voxels, patient[low[0] : 15 + 6])
    assert crop.diameter == (8, (20.0, 14.0, 25.0, 21.0))
    assert crop.centre == (22.5, 17.5)
    assert set(crop.outlines["A"]) == set(range(6, 11))


def test_a_tilted_scan_is_displayed_by_the_nearest_axes():
    c, s = np.cos(0.3), np.sin(0.3)
    tilted = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    assert turn_of(tilted).flips == (False, False, False)
    coronal = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
    assert turn_of(coronal).edges == ("R", "L", "S", "I")


# -- outlines and stills ---------------------------------------------------------------------------


def test_an_outline_runs_halfway_between_the_voxels():
    mask = np.zeros((1, 5, 6), bool)
    mask[0, 1:4, 2:5] = True
    (line,) = outlines_of(mask)[0]
    points = {tuple(p) for p in np.array(line).reshape(-1, 2)}
    assert {x for x, _ in points} >= {3, 9}, "1.5 and 4.5 voxels"
    assert {y for _, y in points} >= {1, 7}


@given(arrays(bool, (2, 7, 8)))
def test_an_outline_separates_every_voxel_within_from_those_without(mask):
    """By the even-odd rule, as SVG and the canvas fill; slices without a voxel have no line."""
    found = outlines_of(mask)
    assert set(found) == set(np.flatnonzero(mask.any(axis=(1, 2))))
    for z, lines in found.items():
        for y, x in np.ndindex(mask.shape[1:]):
            assert _inside(lines, 2 * x, 2 * y) == mask[z, y, x]


def _inside(lines, x, y):
    crossed = 0
    for line in lines:
        points = list(zip(line[::2], line[1::2], strict=True))
        for (x1, y1), (x2, y2) in zip(points, [*points[1:], points[0]], strict=True):
            if (y1 <= y) != (y2 <= y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                crossed += 1
    return crossed % 2 == 1


@pytest.mark.parametrize("window", sorted(WINDOWS))
def test_a_still_shows_the_voxels_at_their_place_and_the_diameter_over_them(window):
    crop = decode_crop(crop_of(20))
    side = side_of([crop])
    still = draw_still(crop, side, window)
    grey = np.asarray(Image.open(io.BytesIO(still.png)))
    low, high = WINDOWS[window]
    lesion, lung = (np.clip((hu - low) / (high - low), 0, 1) * 255 for hu in (40, -850))
    middle, step = grey.shape[0] // 2, grey.shape[0] / side
    assert abs(float(grey[middle - 5 : middle + 5, middle - 5 : middle + 5].mean()) - lesion) < 6
    assert abs(float(grey[:8, :8].mean()) - lung) < 6
    x1, y1, x2, _ = still.diameter
    assert abs((x2 - x1) - 20) < 1.5
    edges = [grey[round(y1 * step), round(x * step)] for x in (x1 + 1.5, x1 - 1.5)]
    assert edges[0] > edges[1]
    assert list(still.lines) == ["A", "B"]
