"""The fill against the even-odd rule written out pixel by pixel.

Also the cases that its rule decides.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.domain.imaging.rasterisation import fill_polygons, winding_numbers

SHAPE = (2, 12, 14)
coordinate = st.floats(-3, 17, allow_nan=False).map(lambda v: round(v, 3))
polygon = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=9).map(np.array)


def inside(x, y, polygons):
    """Whether a ray from a point to the left crosses an odd number of sides.

    An end point belongs to the lower side.
    """
    crossings = 0
    for p in polygons:
        for (x1, y1), (x2, y2) in zip(p, np.roll(p, -1, axis=0), strict=True):
            (top, x_top), (bottom, x_bottom) = sorted([(y1, x1), (y2, x2)])
            if top <= y < bottom and x_top + (y - top) * ((x_bottom - x_top) / (bottom - top)) <= x:
                crossings += 1
    return crossings % 2 == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(polygon, min_size=1, max_size=3))
def test_every_pixel_is_as_the_even_odd_rule_says(polygons):
    mask = fill_polygons(polygons, [1] * len(polygons), SHAPE)
    expected = np.array(
        [[inside(x, y, polygons) for x in range(SHAPE[2])] for y in range(SHAPE[1])]
    )
    assert np.array_equal(mask[1], expected)
    assert not mask[0].any()


@given(polygon, st.integers(0, 8))
def test_first_vertex_and_direction_do_not_matter(points, turn):
    mask = fill_polygons([points], [0], SHAPE)
    assert np.array_equal(fill_polygons([np.roll(points, turn, axis=0)], [0], SHAPE), mask)
    assert np.array_equal(fill_polygons([points[::-1]], [0], SHAPE), mask)


@given(polygon, st.integers(-3, 3), st.integers(-3, 3))
def test_a_shift_by_whole_pixels_shifts_the_mask(points, dx, dy):
    large = (1, 40, 40)
    points = np.round(points * 64) / 64
    mask = fill_polygons([points + 12], [0], large)
    assert np.array_equal(
        fill_polygons([points + np.array([12 + dx, 12 + dy])], [0], large),
        np.roll(mask, (dy, dx), axis=(1, 2)),
    )


def box(low, high):
    return np.array([[low, low], [high, low], [high, high], [low, high]], dtype=float)


def test_a_second_contour_within_the_first_is_a_hole():
    mask = fill_polygons([box(0.5, 9.5), box(3.5, 6.5)], [0, 0], SHAPE)
    assert mask.sum() == 81 - 9


def test_a_keyhole_is_a_hole_and_its_channel_costs_no_pixel():
    outer, inner = box(0.5, 9.5), box(3.5, 6.5)[::-1]
    keyhole = np.concatenate([outer, outer[:1], inner[-1:], inner, outer[:1]])
    assert np.array_equal(
        fill_polygons([keyhole], [0], SHAPE),
        fill_polygons([box(0.5, 9.5), box(3.5, 6.5)], [0, 0], SHAPE),
    )


@given(polygon, st.integers(0, 8))
def test_a_polygon_is_filled_where_it_winds_an_odd_number_of_times(points, turn):
    found = winding_numbers(points, SHAPE[1:])
    assert np.count_nonzero(found % 2) == fill_polygons([points], [0], SHAPE).sum()
    assert np.array_equal(winding_numbers(np.roll(points, turn, axis=0), SHAPE[1:]), found)


@pytest.mark.parametrize(
    ("polygon", "numbers"),
    [
        (box(0.5, 9.5), {1: 81}),
        (box(0.5, 9.5)[::-1], {-1: 81}),
        (np.concatenate([box(0.5, 9.5), box(0.5, 4.5)]), {1: 65, 2: 16}),
        (np.array([[0.5, 0.5], [9.5, 0.5], [0.5, 9.5], [9.5, 9.5]]), {1: 20, -1: 20}),
        (box(-5.5, 3.5), {1: 16}),
        (box(20.5, 30.5), {}),
    ],
)
def test_how_often_a_polygon_winds_round_a_pixel(polygon, numbers):
    found = winding_numbers(polygon, SHAPE[1:])
    values, counts = np.unique(found[found != 0], return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == numbers


def test_contours_that_overlap_cancel():
    assert fill_polygons([box(0.5, 5.5), box(0.5, 5.5)], [0, 0], SHAPE).sum() == 0


def test_an_outline_on_pixel_centres_gives_the_area_of_the_polygon():
    assert fill_polygons([box(2, 8)], [0], SHAPE).sum() == 36


@given(st.integers(0, 2**32 - 1))
def test_an_outline_traced_from_pixel_to_pixel_does_not_depend_on_its_decimals(seed):
    diamond = np.array([[2, 6], [6, 2], [10, 6], [6, 10]], dtype=float)
    noise = np.random.default_rng(seed).uniform(-9e-4, 9e-4, diamond.shape)
    assert np.array_equal(
        fill_polygons([diamond + noise], [0], SHAPE), fill_polygons([diamond], [0], SHAPE)
    )


@pytest.mark.parametrize(
    "polygons",
    [
        [],
        [np.zeros((0, 2))],
        [box(50, 60)],
        [box(-20, -10)],
        [np.array([[1.0, 1.0], [5.0, 1.0], [3.0, 1.0]])],
    ],
)
def test_nothing_within_the_image_is_an_empty_mask(polygons):
    assert not fill_polygons(polygons, [0] * len(polygons), SHAPE).any()


def test_what_crosses_the_edge_is_filled_up_to_it():
    assert fill_polygons([box(-5.5, 2.5)], [0], SHAPE)[0].sum() == 9


def test_slices_beyond_the_image_are_left_out():
    assert not fill_polygons([box(1.5, 4.5)], [7], SHAPE).any()
