"""Longest diameter and short axis against two references.

One is all pairs of all pixel corners, the other shapes whose answer is known.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.spatial.distance import pdist

from dagster_project.domain.imaging.diameters import longest_diameter

masks = arrays(bool, st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 7)))
spacings = st.sampled_from([(1.0, 1.0), (0.78125, 0.78125), (0.5, 1.3)])


def all_corners(piece, sx, sy):
    return np.array(
        [
            [(x + i) * sx, (y + j) * sy]
            for y, x in np.argwhere(piece)
            for i in (-0.5, 0.5)
            for j in (-0.5, 0.5)
        ]
    )


def slow_longest(mask, sx, sy):
    best = 0.0
    for plane in mask:
        pieces, n = ndimage.label(plane, np.ones((3, 3)))
        for k in range(1, n + 1):
            best = max(best, pdist(np.unique(all_corners(pieces == k, sx, sy), axis=0)).max())
    return best


def slow_chord(piece, ends, sx, sy):
    """Largest chord of the hull.

    At each place along the diameter: from the highest to the lowest point of any line between two
    corners.
    """
    corners = all_corners(piece, sx, sy)
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    u, v = corners @ along, corners @ [-along[1], along[0]]
    best = 0.0
    for t in np.unique(np.round(u, 9)):
        low, high = u[:, None] <= t + 1e-9, u[None, :] >= t - 1e-9
        share = np.where(
            np.abs(u[None, :] - u[:, None]) < 1e-9,
            0,
            (t - u[:, None])
            / np.where(np.abs(u[None, :] - u[:, None]) < 1e-9, 1, u[None, :] - u[:, None]),
        )
        heights = (v[:, None] + share * (v[None, :] - v[:, None]))[low & high]
        best = max(best, np.ptp(heights))
    return best


@settings(max_examples=80, deadline=None)
@given(masks, spacings)
def test_longest_is_the_longest_of_all_pairs_of_corners(mask, spacing):
    found = longest_diameter(mask, *spacing)
    assert (0.0 if found is None else found.longest_mm) == pytest.approx(
        slow_longest(mask, *spacing)
    )


def lesion_shapes(n, seed=20260112):
    """Random outlines as lesions have, on pixels of usual sizes.

    They are smooth, lobulated, speckled or in pieces.
    """
    random = np.random.default_rng(seed)
    for i in range(n):
        noise = ndimage.gaussian_filter(
            random.normal(size=(2, 14, 17)), (0, *random.uniform(0.4, 3.0, 2))
        )
        mask = noise > np.quantile(noise, random.uniform(0.5, 0.97))
        yield mask, ((1.0, 1.0), (0.78125, 0.78125), (0.625, 0.9), (1.3, 0.5))[i % 4]


def test_a_thousand_random_shapes_are_measured_as_by_brute_force():
    for mask, (sx, sy) in lesion_shapes(1000):
        assert longest_diameter(mask, sx, sy).longest_mm == pytest.approx(
            slow_longest(mask, sx, sy), rel=1e-12
        )


@pytest.mark.parametrize("spacing", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("turn", [0.0, 0.3, 1.1])
def test_an_ellipsoid_is_measured_within_a_pixel(spacing, turn):
    """Axes 30, 18 and 22 mm: its largest slice is the one through its centre."""
    z, y, x = (
        np.mgrid[-20:21, -40:41, -40:41] * np.array([1.0, spacing, spacing])[:, None, None, None]
    )
    u, v = np.cos(turn) * x + np.sin(turn) * y, -np.sin(turn) * x + np.cos(turn) * y
    found = longest_diameter((u / 15) ** 2 + (v / 9) ** 2 + (z / 11) ** 2 <= 1, spacing, spacing)
    assert found.slice == pytest.approx(20, abs=2), "of slices with the same pixels the first"
    assert found.longest_mm == pytest.approx(30, abs=spacing * 2**0.5)
    assert found.short_axis_mm == pytest.approx(18, abs=spacing * 2**0.5)


@settings(max_examples=60, deadline=None)
@given(masks, spacings)
def test_short_axis_is_the_longest_perpendicular_chord(mask, spacing):
    found = longest_diameter(mask, *spacing)
    if found is None:
        assert not mask.any()
        return
    pieces, n = ndimage.label(mask[found.slice], np.ones((3, 3)))
    ends = np.array(found.ends)
    touching = [
        k
        for k in range(1, n + 1)
        if all(
            (np.abs(np.argwhere(pieces == k)[:, ::-1] - e).max(1) <= 0.5 + 1e-9).any() for e in ends
        )
    ]
    chords = [slow_chord(pieces == k, ends * spacing, *spacing) for k in touching]
    assert min(abs(found.short_axis_mm - c) for c in chords) < 1e-6
    assert found.short_axis_mm <= found.longest_mm + 1e-9


@settings(max_examples=40, deadline=None)
@given(masks, spacings, st.sampled_from([0, 1, 2]))
def test_flips_and_translation_change_nothing(mask, spacing, axis):
    found = longest_diameter(mask, *spacing)
    flipped = longest_diameter(np.flip(mask, axis), *spacing)
    moved = longest_diameter(np.pad(mask, ((1, 2), (3, 0), (0, 5))), *spacing)
    if found is None:
        assert flipped is None
        assert moved is None
        return
    assert flipped.longest_mm == pytest.approx(found.longest_mm)
    assert (moved.longest_mm, moved.short_axis_mm, moved.slice) == (
        pytest.approx(found.longest_mm),
        pytest.approx(found.short_axis_mm),
        found.slice + 1,
    )


@given(masks)
def test_transposing_with_the_spacings_swapped_changes_no_length(mask):
    found, turned = (
        longest_diameter(mask, 0.5, 1.3),
        longest_diameter(mask.transpose(0, 2, 1), 1.3, 0.5),
    )
    assert (found is None) == (turned is None)
    if found is not None:
        assert turned.longest_mm == pytest.approx(found.longest_mm)


def test_a_rectangle_is_measured_from_corner_to_corner():
    found = longest_diameter(np.ones((1, 3, 4), bool), 2.0, 2.0)
    assert found.longest_mm == pytest.approx(10.0)
    assert found.short_axis_mm == pytest.approx(9.6 * 10.0 / 12.8)
    assert set(found.ends) in ({(-0.5, -0.5), (3.5, 2.5)}, {(3.5, -0.5), (-0.5, 2.5)})


def test_a_single_pixel_has_a_size():
    found = longest_diameter(np.ones((1, 1, 1), bool), 0.8, 0.8)
    assert (found.longest_mm, found.short_axis_mm) == pytest.approx((0.8 * 2**0.5, 0.8 * 2**0.5))


def test_a_disc_has_its_diameter_both_ways():
    y, x = np.mgrid[-40:41, -40:41] * 0.5
    found = longest_diameter((np.hypot(y, x) <= 15)[None], 0.5, 0.5)
    assert found.longest_mm == pytest.approx(30, abs=0.8)
    assert found.short_axis_mm == pytest.approx(30, abs=0.8)


def test_an_ellipse_has_its_axes():
    y, x = np.mgrid[-60:61, -60:61] * 0.5
    u, v = (x * 0.8 + y * 0.6), (-x * 0.6 + y * 0.8)
    found = longest_diameter(((u / 25) ** 2 + (v / 10) ** 2 <= 1)[None], 0.5, 0.5)
    assert found.longest_mm == pytest.approx(50, abs=0.8)
    assert found.short_axis_mm == pytest.approx(20, abs=0.8)


def test_two_fragments_are_not_bridged():
    mask = np.zeros((1, 5, 30), bool)
    mask[0, 1:4, 1:5] = mask[0, 1:4, 20:28] = True
    assert longest_diameter(mask, 1.0, 1.0).longest_mm == pytest.approx(np.hypot(8, 3))


def test_the_slice_with_the_longest_counts_and_the_first_of_equals():
    mask = np.zeros((4, 5, 9), bool)
    mask[0, 2, 2:5] = mask[1, 2, 1:8] = mask[3, 1, 1:8] = True
    assert longest_diameter(mask, 1.0, 1.0).slice == 1


def test_nothing_has_no_diameter():
    assert longest_diameter(np.zeros((2, 3, 4), bool), 1.0, 1.0) is None
