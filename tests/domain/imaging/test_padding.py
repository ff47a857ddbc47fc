"""Padding is outside the body: of the grid, of what is measured, of rings and of means."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from dagster_project.domain.imaging.artifacts import coarse_scan
from dagster_project.domain.imaging.masks import measure_mask, read_outlines
from dagster_project.domain.imaging.series import read_series
from dagster_project.lake.voxels import OUTSIDE_FIELD_HU
from dagster_project.radiomics.regions import derive_regions
from dagster_project.radiomics.resampling import (
    bounding_box,
    lesion_grid,
    resample_image,
    resample_mask,
    resample_outside,
)
from dagster_project.study import load_study
from tests.domain.phantoms import body, series_datasets, square, structure_set, write

SHAPE = (12, 64, 64)
Y, X = (np.arange(64) - 31.5)[:, None], (np.arange(64) - 31.5)[None, :]
BEYOND = np.hypot(Y, X) > 30


def lung(noise=10.0):
    return np.random.default_rng(0).normal(-820, noise, SHAPE).round().astype(np.int16)


def padded(value):
    voxels = lung()
    voxels[:, BEYOND] = value
    return voxels


def outside(folder, voxels, intercept=-1024, **tags):
    datasets = series_datasets(voxels, intercept=intercept)
    for one in datasets:
        for keyword, value in tags.items():
            one.add_new(keyword, *value) if isinstance(keyword, int) else setattr(
                one, keyword, value
            )
    return read_series(write(folder, datasets)).array == OUTSIDE_FIELD_HU


@pytest.mark.parametrize(("hu", "stored"), [(-3024, -2000), (-1024, 0), (-2000, -976)])
def test_declared_padding_is_outside(tmp_path, hu, stored):
    found = outside(tmp_path, padded(hu), PixelPaddingValue=stored)
    assert np.array_equal(found, np.broadcast_to(BEYOND, SHAPE))


def test_a_declared_range_is_outside_in_either_order(tmp_path):
    voxels = padded(-3024)
    voxels[:, np.hypot(Y, X) > 34] = -3000
    for name, ends in (("up", (-2000, -1976)), ("down", (-1976, -2000))):
        first, last = ends
        found = outside(
            tmp_path / name, voxels, PixelPaddingValue=first, PixelPaddingRangeLimit=last
        )
        assert np.array_equal(found, np.broadcast_to(BEYOND, SHAPE))


def test_padding_written_with_the_other_sign_is_read_by_the_pixels(tmp_path):
    found = outside(tmp_path, padded(-3024), PixelPaddingValue=None)
    assert found.any()
    datasets = series_datasets(padded(-3024))
    for one in datasets:
        one.add_new(0x00280120, "US", 63536)
    voxels = read_series(write(tmp_path / "other", datasets)).array
    assert np.array_equal(voxels == OUTSIDE_FIELD_HU, found)


def test_an_airway_of_the_padding_value_is_not_outside(tmp_path):
    voxels = padded(-1024)
    voxels[:, 30:33, 30:33] = -1024
    found = outside(tmp_path, voxels, PixelPaddingValue=0)
    assert np.array_equal(found, np.broadcast_to(BEYOND, SHAPE))


@pytest.mark.parametrize("hu", [-2000, -3024, -8192, -1024, -1000])
def test_undeclared_padding_around_a_round_field_is_outside(tmp_path, hu):
    found = outside(tmp_path, padded(hu), intercept=-8192 if hu == -8192 else -1024)
    assert np.array_equal(found, np.broadcast_to(BEYOND, SHAPE))


def test_air_is_not_padding(tmp_path):
    clipped = np.maximum(body(), -1000)
    assert not outside(tmp_path / "clipped", clipped).any()
    still = np.full(SHAPE, -1000, np.int16)
    still[:, 20:44, 20:44] = 40
    assert not outside(tmp_path / "still", still).any()


def test_a_dark_streak_is_not_padding(tmp_path):
    voxels = lung()
    voxels[3, 20, 5:9] = -1500
    assert not outside(tmp_path, voxels).any()


def test_a_bridged_slice_is_outside_where_its_neighbours_are(tmp_path):
    datasets = series_datasets(padded(-3024))
    del datasets[5]
    found = read_series(write(tmp_path, datasets)).array
    assert np.array_equal(found[5] == OUTSIDE_FIELD_HU, BEYOND)
    assert np.abs(found[5][~BEYOND] + 820).max() < 60


def test_a_body_cut_by_a_padded_field_is_truncated_and_padding_is_no_air(tmp_path):
    voxels = body()
    y, x = (np.arange(120) - 59.5) * 2.5, (np.arange(160) - 79.5) * 2.5
    voxels[:, np.hypot(y[:, None], x[None, :]) > 120] = -1024
    series = read_series(write(tmp_path, series_datasets(voxels, spacing=(1.0, 2.5, 2.5))))
    coarse = coarse_scan(series.array, series.image.GetSpacing())
    assert coarse.air_hu == pytest.approx(-1000, abs=15)
    assert coarse.padding.any()


def ring_at_the_edge(voxels):
    image = sitk.GetImageFromArray(voxels)
    settings = {**load_study().section("radiomics"), "spacing_mm": 0.8}
    tumor = np.zeros(SHAPE, bool)
    tumor[3:9, 28:36, 51:57] = True
    grid = lesion_grid(image, bounding_box(tumor), margin_mm=12.0, spacing_mm=0.8)
    volume, mask = resample_image(image, grid), resample_mask(tumor, grid)
    regions = derive_regions(volume, mask, None, settings, resample_outside(image, grid))
    ring = next(r for r in regions if r.name == "ring_3_5")
    return ring, volume[ring.mask]


def test_a_ring_at_the_edge_of_the_field_has_the_variance_of_its_lung():
    inside, values = ring_at_the_edge(lung())
    cut, at_edge = ring_at_the_edge(padded(OUTSIDE_FIELD_HU))
    assert inside.reason is None
    assert cut.reason is None
    assert cut.mask.sum() < inside.mask.sum()
    assert at_edge.var() == pytest.approx(values.var(), rel=0.15)


def test_an_outline_that_reaches_beyond_the_field_is_flagged_and_its_mean_is_of_what_was_measured(
    tmp_path,
):
    series = read_series(write(tmp_path / "ct", series_datasets(padded(-3024))))
    path = structure_set(
        tmp_path / "rs.dcm", {"in": [square(28.5, 34.5, 5.0)], "out": [square(50.5, 58.5, 5.0)]}
    )
    kept, cut = read_outlines(path, series)
    assert "outside_field" not in kept.flags
    assert "outside_field" in cut.flags
    assert measure_mask(cut.mask, series.image)["mean_hu"] == pytest.approx(-820, abs=5)
