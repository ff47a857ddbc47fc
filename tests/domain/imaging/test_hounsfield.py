"""Stored values become Hounsfield units by each slice's own rescale, or the series is refused."""

from __future__ import annotations

import numpy as np
import pytest

from dagster_project.domain.imaging.series import SeriesError, read_series
from tests.domain.phantoms import series_datasets, write


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(-1000, 2000, (4, 9, 11)).astype(np.int16)


def changed(datasets, **tags):
    for keyword, value in tags.items():
        setattr(datasets[1], keyword, value)
    return datasets


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", [None, "absent"])
def test_a_slice_without_rescale_is_refused_by_tag(tmp_path, voxels, keyword, value):
    datasets = changed(series_datasets(voxels), **{keyword: None})
    if value == "absent":
        delattr(datasets[1], keyword)
    with pytest.raises(SeriesError, match=rf"\(0028,105[23]\) {keyword}.* no Hounsfield units"):
        read_series(write(tmp_path, datasets))


@pytest.mark.parametrize("slope", [0, -1])
def test_a_slope_that_is_not_positive_is_refused(tmp_path, voxels, slope):
    with pytest.raises(SeriesError, match="RescaleSlope is not positive"):
        read_series(write(tmp_path, changed(series_datasets(voxels), RescaleSlope=slope)))


@pytest.mark.parametrize("kind", ["US", "OD", "MGML", "Z_EFF", "HU_MOD"])
def test_values_of_another_quantity_are_refused(tmp_path, voxels, kind):
    with pytest.raises(SeriesError, match="RescaleType is not HU"):
        read_series(write(tmp_path, series_datasets(voxels, RescaleType=kind)))


@pytest.mark.parametrize("kind", ["HU", "hu ", ""])
def test_hounsfield_units_may_be_named(tmp_path, voxels, kind):
    datasets = series_datasets(voxels, RescaleType=kind)
    assert np.array_equal(read_series(write(tmp_path, datasets)).array, voxels)


def test_each_slice_has_its_own_rescale(tmp_path, voxels):
    even = voxels // 2 * 2
    datasets = series_datasets(even, slope=2, intercept=-1000)
    datasets[1::2] = series_datasets(even, slope=1, intercept=-1024)[1::2]
    assert np.array_equal(read_series(write(tmp_path, datasets)).array, even)


@pytest.mark.parametrize("intercept", [-1024, -8192, 0, -1024.5])
def test_unsigned_values_of_sixteen_bits_are_read(tmp_path, voxels, intercept):
    datasets = series_datasets(voxels, intercept=0)
    for one, plane in zip(datasets, voxels, strict=True):
        stored = np.clip(plane - np.floor(intercept), 0, 65535).astype("<u2")
        one.PixelRepresentation, one.RescaleIntercept, one.PixelData = (
            0,
            intercept,
            stored.tobytes(),
        )
    found = read_series(write(tmp_path, datasets)).array
    assert np.abs(found - np.maximum(voxels.astype(float), intercept)).max() <= 1


def test_negative_values_read_without_their_sign_are_refused(tmp_path, voxels):
    datasets = series_datasets(voxels, intercept=0)
    for one in datasets:
        one.PixelRepresentation = 0
    with pytest.raises(SeriesError, match="PixelRepresentation"):
        read_series(write(tmp_path, datasets))
