"""PyRadiomics' classes on arrays: its numbers, no NaN, and no silence where a formula fails."""

from __future__ import annotations

import numpy as np
import pytest
import radiomics
from radiomics import firstorder, glcm, gldm, glrlm, glszm, ngtdm, shape

from dagster_project.radiomics.pyradiomics_engine import (
    IMC2_UNSTABLE,
    class_feature_names,
    compute_region,
    discretise,
    engine_name,
)
from dagster_project.radiomics.resampling import as_image
from tests.radiomics.conftest import ball

CLASSES = {
    "firstorder": firstorder.RadiomicsFirstOrder,
    "shape": shape.RadiomicsShape,
    "glcm": glcm.RadiomicsGLCM,
    "glrlm": glrlm.RadiomicsGLRLM,
    "glszm": glszm.RadiomicsGLSZM,
    "gldm": gldm.RadiomicsGLDM,
    "ngtdm": ngtdm.RadiomicsNGTDM,
}


def compute(image, mask, classes=tuple(CLASSES)):
    return compute_region(
        image.astype(np.float32), mask, classes, bin_width_hu=25.0, spacing_mm=1.0
    )


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("spread", [20, 300], ids=["few gray levels", "many gray levels"])
def test_each_class_gives_what_pyradiomics_gives(name, spread):
    rng = np.random.default_rng(5)
    mask = ball((13, 15, 14), 6)
    image = rng.normal(-100, spread, mask.shape).astype(np.float32)
    calculator = CLASSES[name](
        as_image(image, 1.0), as_image(mask.astype(np.uint8), 1.0), binWidth=25.0
    )
    expected = {f"{name}_{k}": float(np.squeeze(v).real) for k, v in calculator.execute().items()}
    found = {k: v for k, (v, _) in compute(image, mask, (name,)).items()}
    assert found.keys() == expected.keys()
    for feature, value in expected.items():
        assert found[feature] == pytest.approx(value, rel=1e-12, abs=1e-15), feature


def test_gray_levels_are_pyradiomics_fixed_bins():
    """Edges lie at multiples of the width, and the region's lowest bin is 1.

    A value on an edge belongs to the bin above.
    """
    image = np.array([[[-30.0, -25.0, -0.5, 0.0, 24.9, 25.0, 999.0]]], dtype=np.float32)
    mask = np.array([[[True, True, True, True, True, True, False]]])
    np.testing.assert_array_equal(discretise(image, mask, 25.0), [[[1, 2, 2, 3, 3, 4, 0]]])


def test_features_that_pyradiomics_has_deprecated_are_left_out():
    assert {c: len(class_feature_names(c)) for c in CLASSES} == {
        "firstorder": 18, "shape": 14, "glcm": 24, "glrlm": 16, "glszm": 16, "gldm": 14, "ngtdm": 5,
    }  # fmt: skip
    assert "StandardDeviation" not in class_feature_names("firstorder")


def test_a_flat_region_gives_numbers_or_reasons_and_no_warning():
    found = compute(np.full((5, 5, 5), 40.0), np.ones((5, 5, 5), dtype=bool))
    assert all((value is None) != (reason is None) for value, reason in found.values())
    assert all(np.isfinite(value) for value, _ in found.values() if value is not None)
    assert found["firstorder_Variance"] == (0.0, None)


def test_a_region_with_no_neighbours_says_so():
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[::4, ::4, ::4] = True
    found = compute(np.arange(729.0).reshape(9, 9, 9), mask, ("glcm",))
    assert found["glcm_Contrast"][0] is None
    assert "not defined for this region" in found["glcm_Contrast"][1]


def test_imc2_of_independent_neighbours_is_refused_instead_of_rounding():
    """Two gray levels whose neighbours are independent along some direction.

    The two entropies differ by the last bit or not at all.
    """
    image = np.zeros((2, 2, 1), dtype=np.float32)
    image[0, 0, 0] = image[0, 1, 0] = 100.0
    image[1] = [[0.0], [100.0]]
    values = [
        compute(np.tile(image, (1, 1, k)), np.ones((2, 2, k), dtype=bool), ("glcm",))["glcm_Imc2"]
        for k in range(1, 6)
    ]
    assert all(
        (value is not None and (value == 0 or value > 1e-6)) or reason == IMC2_UNSTABLE
        for value, reason in values
    )


def test_the_engine_names_its_version():
    assert (
        engine_name() == f"pyradiomics {radiomics.__version__.lstrip('v')}" == "pyradiomics 3.0.1"
    )
