"""The project's own Laplacian of Gaussian is ITK's to the last bit.

This holds whatever the shape, the box and the spacing.
"""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.radiomics.kernels.laplacian import LANES, laplacian_of_gaussian
from dagster_project.radiomics.resampling import as_image


def itk_laplacian(volume: np.ndarray, sigma_mm: float, spacing_mm: float) -> np.ndarray:
    laplacian = sitk.LaplacianRecursiveGaussianImageFilter()
    laplacian.SetNormalizeAcrossScale(True)
    laplacian.SetSigma(sigma_mm)
    return sitk.GetArrayFromImage(laplacian.Execute(as_image(volume, spacing_mm)))


@st.composite
def volumes_and_boxes(draw):
    shape = draw(st.tuples(*[st.integers(4, 40)] * 3))
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    box = tuple(slice(a, draw(st.integers(a + 1, n))) for a, n in zip(starts, shape, strict=True))
    return np.random.default_rng(draw(st.integers(0, 99))).normal(-200, 300, shape).astype(
        np.float32
    ), box


@settings(max_examples=40, deadline=None)
@given(
    volumes_and_boxes(),
    st.sampled_from([0.7, 1.0, 2.0, 3.0, 4.0, 5.0]),
    st.sampled_from([1.0, 0.8, 2.5, (3.0, 0.8, 0.7)]),
)
def test_bits_are_itks_on_every_shape_and_box(case, sigma_mm, spacing_mm):
    volume, box = case
    expected = itk_laplacian(volume, sigma_mm, spacing_mm)[box]
    assert np.array_equal(laplacian_of_gaussian(volume, box, sigma_mm, spacing_mm), expected)


@pytest.mark.parametrize("columns", [LANES - 1, LANES, LANES + 1, 2 * LANES + 5])
def test_lines_that_do_not_fill_the_lanes(columns):
    volume = np.random.default_rng(3).normal(0, 90, (6, 7, columns)).astype(np.float32)
    whole = tuple(slice(0, n) for n in volume.shape)
    assert np.array_equal(
        laplacian_of_gaussian(volume, whole, 2.0, 1.0), itk_laplacian(volume, 2.0, 1.0)
    )


def test_a_paraboloid_has_its_analytic_laplacian():
    z, y, x = np.indices((60, 60, 60), dtype=np.float32) - 30
    found = laplacian_of_gaussian(z**2 + 2 * y**2 + 3 * x**2, (slice(28, 32),) * 3, 2.0, 1.0)
    np.testing.assert_allclose(found, 2.0**2 * 12, rtol=2e-3)


def test_an_axis_below_four_voxels_is_refused():
    with pytest.raises(ValueError, match="needs 4 voxels along each axis"):
        laplacian_of_gaussian(np.zeros((3, 9, 9), dtype=np.float32), (slice(0, 1),) * 3, 1.0, 1.0)
