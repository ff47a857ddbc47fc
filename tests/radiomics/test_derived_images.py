"""The filtered images are PyRadiomics' own, though computed on less of the scan."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from radiomics import imageoperations

from dagster_project.radiomics.derived_images import derive_images, derived_image_names
from dagster_project.radiomics.resampling import as_image

SHAPES = [(40, 61, 62), (47, 33, 54)]


def pyradiomics_images(volume: np.ndarray) -> dict[str, np.ndarray]:
    source = as_image(volume, 1.0)
    laplacians = imageoperations.getLoGImage(source, None, sigma=[1.0, 2.0, 3.0, 4.0, 5.0])
    bands = imageoperations.getWaveletImage(source, None, wavelet="coif1")
    return {name: sitk.GetArrayFromImage(image) for image, name, _ in (*laplacians, *bands)} | {
        "original": volume
    }


@pytest.mark.parametrize("shape", SHAPES, ids=["even and odd axes", "odd and even axes"])
@pytest.mark.parametrize("at", ["inside", "at the edge"])
def test_every_image_equals_pyradiomics_on_the_whole_crop(radiomics_settings, shape, at):
    volume = np.random.default_rng(1).normal(-200, 300, shape).astype(np.float32)
    box = (
        (slice(12, 20), slice(14, 22), slice(15, 27))
        if at == "inside"
        else (slice(0, 9), slice(14, 22), slice(shape[2] - 6, shape[2]))
    )
    expected = pyradiomics_images(volume)
    found = dict(derive_images(volume, box, radiomics_settings))
    assert tuple(found) == derived_image_names(radiomics_settings)
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name][box], err_msg=name)


def test_a_laplacian_needs_as_many_voxels_as_its_sigma(radiomics_settings):
    found = dict(
        derive_images(
            np.zeros((5, 30, 30), dtype=np.float32),
            (slice(0, 5), slice(9, 20), slice(9, 20)),
            radiomics_settings,
        )
    )
    assert {f"log-sigma-{s}-0-mm-3D" in found for s in (1, 2, 3, 4)} == {True}
    assert "log-sigma-5-0-mm-3D" not in found


def test_no_wavelet_means_no_bands(radiomics_settings):
    assert derived_image_names(radiomics_settings | {"wavelet": ""}) == (
        "original",
        *derived_image_names(radiomics_settings)[1:6],
    )
