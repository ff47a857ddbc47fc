from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance

from dagster_project.simulation.surfaces import (
    Grid,
    Surface,
    Waves,
    cut,
    diameters,
    dice,
    draw_waves,
    measure_voxels,
    volume_mm3,
    voxelise,
)

SMOOTH = Waves(np.zeros((0, 3)), np.zeros(0), np.zeros(0))
GRID = Grid((40, 60, 60), (1.0, 0.8, 0.8), (-23.6, -23.6, -19.5))


def test_an_ellipsoid_has_its_analytic_diameters_and_volume():
    sections = cut(
        Surface((10.0, 7.0, 8.0), 0.4, SMOOTH), (0.0, 0.0, 0.0), np.arange(-9.9, 10, 0.1)
    )
    assert diameters(sections) == pytest.approx((20.0, 14.0), abs=0.1)
    assert volume_mm3(sections, 0.1) == pytest.approx(4 / 3 * np.pi * 10 * 7 * 8, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(0.4, 2.5))
def test_size_scales_the_diameters_and_keeps_the_form(seed, factor):
    surface = Surface((8.0, 6.0, 7.0), 1.0, draw_waves(np.random.default_rng(seed), 0.05))
    planes = np.linspace(-8, 8, 33)
    small, large = (
        cut(s, (0.0, 0.0, 0.0), z)
        for s, z in ((surface, planes), (surface.scaled(factor), planes * factor))
    )
    assert diameters(large)[0] == pytest.approx(diameters(small)[0] * factor, abs=0.05)
    assert np.allclose(large.polygons(), small.polygons() * factor, atol=0.05)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_voxels_are_those_whose_centre_lies_in_the_polygon(seed):
    """Against a slow oracle: crossing number at every voxel centre."""
    random = np.random.default_rng(seed)
    surface = Surface((9.0, 7.0, 6.0), random.uniform(0, 3), draw_waves(random, 0.08))
    sections = cut(surface, (1.3, -0.7, 0.4), GRID.axis(0))
    whole = voxelise(sections, GRID, surface.reach_mm).full(GRID.shape)
    x, y = np.meshgrid(GRID.axis(2), GRID.axis(1))
    for z, polygon in zip(sections.z_mm, sections.polygons(), strict=True):
        inside = np.zeros(x.shape, bool)
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0 + (y1 == y0)) + x0)
        assert np.array_equal(whole[np.argmin(np.abs(GRID.axis(0) - z))].astype(bool), inside)


def test_voxels_are_measured_from_corner_to_corner():
    surface = Surface((9.0, 7.0, 6.0), 0.6, draw_waves(np.random.default_rng(3), 0.05))
    mask = voxelise(cut(surface, (0.0, 0.0, 0.0), GRID.axis(0)), GRID, surface.reach_mm)
    longest = 0.0
    for plane in mask.voxels:
        rows, columns = np.nonzero(plane)
        corners = (
            np.array(
                [
                    (r + a, c + b)
                    for r, c in zip(rows, columns, strict=True)
                    for a in (0, 1)
                    for b in (0, 1)
                ]
            )
            * 0.8
        )
        if len(corners):
            longest = max(longest, distance.pdist(corners).max())
    assert measure_voxels(mask, GRID)[0] == pytest.approx(longest, abs=1e-9)


def test_dice_of_a_mask_with_itself_is_one_and_with_a_larger_one_less():
    surface = Surface((9.0, 7.0, 6.0), 0.6, SMOOTH)
    small, large = (
        voxelise(cut(surface.scaled(f), (0.0, 0.0, 0.0), GRID.axis(0)), GRID, 15.0)
        for f in (1.0, 1.5)
    )
    assert dice(small, small) == 1.0
    assert dice(small, large) == pytest.approx(2 / (1 + 1.5**3), abs=0.02)


def test_nothing_seen_has_no_diameter():
    assert diameters(
        cut(Surface((3.0, 3.0, 3.0), 0.0, SMOOTH), (0.0, 0.0, 0.0), np.array([50.0]))
    ) == (0.0, 0.0)
