"""The isotropic grid: ITK's own interpolation and IBSI's alignment.

There is no trace of where the crop was made.
"""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.radiomics import ibsi
from dagster_project.radiomics.resampling import (
    GridError,
    bounding_box,
    check_grid,
    isotropic_positions,
    lesion_grid,
    resample_image,
    resample_mask,
)
from tests.radiomics.conftest import as_ct, ball

SHAPE, SPACING = (41, 91, 85), (2.37, 0.7123, 0.7123)  # no voxel lies half-way between two others
BOX = (slice(15, 24), slice(40, 52), slice(33, 47))


@pytest.fixture(scope="module")
def scan() -> sitk.Image:
    rng = np.random.default_rng(3)
    image = as_ct(rng.normal(-300, 400, SHAPE), SPACING)
    image.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    image.SetOrigin((-120.5, 33.25, 700.0))
    return image


def itk(image: sitk.Image, grid, interpolator: int) -> np.ndarray:
    """The slow way: ITK on the whole scan, in physical coordinates."""
    resample = sitk.ResampleImageFilter()
    resample.SetInterpolator(interpolator)
    resample.SetOutputPixelType(sitk.sitkFloat64)
    resample.SetOutputSpacing(tuple(reversed(grid.spacing_mm)))
    resample.SetOutputDirection(image.GetDirection())
    resample.SetOutputOrigin(
        image.TransformContinuousIndexToPhysicalPoint(
            [float(p[0]) for p in reversed(grid.positions)]
        )
    )
    resample.SetSize(tuple(reversed(grid.shape)))
    return sitk.GetArrayFromImage(resample.Execute(image))


def test_the_image_is_itks_bspline_of_the_whole_scan(scan):
    grid = lesion_grid(scan, BOX, margin_mm=20, spacing_mm=1.0)
    expected = itk(sitk.Cast(scan, sitk.sitkFloat64), grid, sitk.sitkBSpline)
    np.testing.assert_allclose(
        resample_image(scan, grid, round_hu=False), expected, atol=2e-4
    )  # float32 holds 1 part in 16 million


@pytest.mark.parametrize("spacing", [1.0, (1.7, 1.0, 1.3)], ids=str)
def test_linear_interpolation_is_itks(scan, spacing):
    grid = lesion_grid(scan, BOX, margin_mm=500, spacing_mm=spacing)
    expected = itk(sitk.Cast(scan, sitk.sitkFloat64), grid, sitk.sitkLinear)
    np.testing.assert_allclose(
        resample_image(scan, grid, round_hu=False, interpolator="linear"), expected, atol=2e-4
    )


def test_hu_are_rounded_to_whole_numbers_unless_told_otherwise(scan):
    grid = lesion_grid(scan, BOX, margin_mm=5, spacing_mm=1.0)
    rounded, exact = resample_image(scan, grid), resample_image(scan, grid, round_hu=False)
    np.testing.assert_array_equal(rounded, rounded.astype(int))
    np.testing.assert_allclose(rounded, exact, atol=0.5001)


@pytest.mark.parametrize(
    "spacing", [(1.0, 0.8, 0.8), (1.0, 0.5, 0.5), (2.5, 0.977, 0.977)], ids=str
)
def test_the_mask_is_itks_trilinear_half_and_its_nearest_neighbour_where_that_is_undecided(spacing):
    mask = ball((41, 90, 84), 9, (20, 45, 40))
    outline = as_ct(mask.astype(float), spacing)
    grid = lesion_grid(outline, bounding_box(mask), margin_mm=10, spacing_mm=1.0)
    share = itk(sitk.Cast(outline, sitk.sitkFloat64), grid, sitk.sitkLinear)
    nearest = itk(outline, grid, sitk.sitkNearestNeighbor) > 0
    undecided = np.abs(share - 0.5) < 1e-6
    assert undecided.any() or spacing[1] != 0.5
    np.testing.assert_array_equal(
        resample_mask(mask, grid), np.where(undecided, nearest, share > 0.5)
    )


def test_half_covered_voxels_neither_add_volume_nor_take_it():
    """With pixels of 0.5 mm a mask that takes all of them in is too large."""
    shape, volumes = (60, 120, 120), []
    for shift in np.random.default_rng(0).uniform(-2, 2, (30, 3)):
        points = np.meshgrid(
            *(
                np.arange(n) * mm - n * mm / 2 - s
                for n, mm, s in zip(shape, (1.0, 0.5, 0.5), shift, strict=True)
            ),
            indexing="ij",
        )
        mask = sum(p**2 for p in points) <= 6.0**2
        grid = lesion_grid(
            as_ct(np.zeros(shape), (1.0, 0.5, 0.5)), bounding_box(mask), margin_mm=5, spacing_mm=1.0
        )
        volumes.append(resample_mask(mask, grid).sum() / mask.sum() * 4)
    assert np.mean(volumes) == pytest.approx(1, abs=0.005)


def test_a_mask_goes_on_at_the_scans_end():
    mask = np.zeros((10, 40, 40), dtype=bool)
    mask[:3, :8, 30:] = True
    grid = lesion_grid(
        as_ct(np.zeros(mask.shape), (1.0, 0.8, 0.8)),
        bounding_box(mask),
        margin_mm=4,
        spacing_mm=1.0,
    )
    inside = resample_mask(mask, grid)
    assert inside[0, 0, -1]
    assert inside.any(axis=(1, 2)).sum() == 3


@pytest.mark.real_data
def test_the_mask_is_the_one_on_which_ibsis_values_are_met_but_where_it_is_undecided(shared_data):
    """IBSI takes in what is half covered; slices of 3 mm on voxels of 2 mm have such layers."""
    image, outline = ibsi.ct_phantom(shared_data)
    mask = sitk.GetArrayFromImage(outline) > 0
    grid = lesion_grid(image, bounding_box(mask), margin_mm=500, spacing_mm=2.0)
    undecided = np.abs(itk(outline, grid, sitk.sitkLinear) - 0.5) < 1e-6
    expected = ibsi.prepare(image, outline, ibsi.CONFIGURATIONS["C"]).outlined
    assert undecided.sum() < 0.1 * mask.sum()
    np.testing.assert_array_equal(resample_mask(mask, grid)[~undecided], expected[~undecided])
    np.testing.assert_array_equal(resample_mask(mask, grid, half_covered="inside"), expected)


def test_another_crop_gives_the_same_voxels(scan):
    """Two readers, or a second lesion nearby, must not shift the grid under the first."""
    small, large = (lesion_grid(scan, BOX, margin_mm=margin, spacing_mm=1.0) for margin in (8, 25))
    inner = tuple(
        slice(int(np.searchsorted(big, p[0] - 1e-6)), int(np.searchsorted(big, p[-1] + 1e-6)))
        for p, big in zip(small.positions, large.positions, strict=True)
    )
    np.testing.assert_array_equal(resample_image(scan, large)[inner], resample_image(scan, small))


def test_voxels_that_are_isotropic_already_stay_as_they_are():
    values = np.random.default_rng(0).integers(-1000, 400, (30, 31, 32))
    image = as_ct(values, (1.0, 1.0, 0.9999999999999989))
    grid = lesion_grid(image, (slice(10, 20),) * 3, margin_mm=50, spacing_mm=1.0)
    np.testing.assert_array_equal(resample_image(image, grid), values)


@given(n=st.integers(1, 300), spacing=st.floats(0.3, 6.0), target=st.sampled_from([1.0, 2.0]))
def test_the_grid_is_centred_covers_the_scan_and_stays_inside_its_voxels(n, spacing, target):
    positions = isotropic_positions(n, spacing, target)
    assert positions[0] + positions[-1] == pytest.approx(n - 1, abs=1e-8)
    assert len(positions) * target >= n * spacing - 1e-5
    assert positions[0] > -0.5 - 1e-6
    np.testing.assert_allclose(np.diff(positions), target / spacing, atol=1e-8)


def test_a_scan_of_one_slice_can_be_resampled():
    image = as_ct(np.full((1, 20, 20), 40), (5.0, 1.0, 1.0))
    grid = lesion_grid(image, (slice(0, 1), slice(5, 9), slice(5, 9)), margin_mm=3, spacing_mm=1.0)
    np.testing.assert_array_equal(resample_image(image, grid), np.full(grid.shape, 40))


def test_an_empty_mask_has_no_box():
    assert bounding_box(np.zeros((4, 4, 4), dtype=bool)) is None


def test_a_mask_of_another_grid_is_refused(scan):
    with pytest.raises(GridError, match=r"mask of reader A has \(4, 4, 4\) voxels .* resample it"):
        check_grid(scan, np.zeros((4, 4, 4), dtype=bool), "the mask of reader A")
