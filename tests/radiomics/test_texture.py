"""The texture component: fixed features in units of their own repeatability."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dagster_project.radiomics.dhi_limits_fit import COMPONENTS
from dagster_project.radiomics.preparation import Prepared
from dagster_project.radiomics.pyradiomics_engine import TEXTURE_CLASSES, class_feature_names
from dagster_project.radiomics.texture import (
    TextureFeature,
    TextureModel,
    gray_levels,
    read_defaults,
    signed_log,
    texture_change,
    texture_model,
    texture_values,
)
from tests.radiomics.conftest import ball

MASK = ball((20, 21, 22), 8)
VOLUME = np.rint(np.random.default_rng(9).normal(40, 45, MASK.shape))
ONE = TextureModel((TextureFeature("glcm_Contrast", 1.0, np.log(0.1), 0.0),), (300.0, 30000.0))


def prepared(volume, mask=MASK):
    return Prepared(volume, mask, float(mask.sum()))


def test_the_shipped_features_are_at_most_twelve_texture_features():
    names = texture_model().names
    known = {f"{c}_{f}" for c in TEXTURE_CLASSES for f in class_feature_names(c)}
    assert 6 <= len(names) == len(set(names)) <= 12
    assert set(names) <= known
    assert not any(re.search("Energy|firstorder", name) for name in names)


def test_the_shipped_limits_are_those_of_a_repeat_not_of_a_change():
    limits = read_defaults()["limits"]
    assert all(1.0 < limits[c] < 2.5 for c in COMPONENTS)
    assert 0.7 < limits["combined"] <= 1.1


def test_the_median_lies_in_the_middle_of_its_bin():
    levels = gray_levels(prepared(VOLUME), 250.0, 25.0)
    median = np.median(VOLUME[MASK])
    middle = levels[MASK][np.abs(VOLUME[MASK] - median) < 12]
    assert set(middle) == {11}
    assert levels.max() <= 21
    assert (levels[~MASK] == 0).all()
    assert (levels[MASK] >= 1).all()


def test_densities_are_clipped_on_both_sides():
    extreme = VOLUME.copy()
    extreme[10, 10, 10], extreme[10, 10, 11] = -1000, 3000
    levels = gray_levels(prepared(extreme), 250.0, 25.0)
    assert (levels[10, 10, 10], levels[10, 10, 11]) == (1, 21)


def test_an_offset_or_a_mirror_changes_no_feature(dhi_settings):
    names = texture_model().names
    expected = texture_values(prepared(VOLUME), names, dhi_settings)
    np.testing.assert_array_equal(
        texture_values(prepared(VOLUME - 333), names, dhi_settings), expected
    )
    for axis in range(3):
        turned = texture_values(
            prepared(np.flip(VOLUME, axis), np.flip(MASK, axis)), names, dhi_settings
        )
        np.testing.assert_allclose(turned, expected, rtol=1e-12)


def test_voxels_outside_the_mask_do_not_count(dhi_settings):
    names = texture_model().names
    other = np.where(MASK, VOLUME, 0)
    np.testing.assert_array_equal(
        *(texture_values(prepared(v), names, dhi_settings) for v in (VOLUME, other))
    )


def test_z_is_the_change_of_the_signed_log_over_the_repeatability():
    assert texture_change(np.array([1.0]), np.array([2.0]), 1000, ONE) == pytest.approx(
        np.log(3 / 2) / 0.1
    )
    assert texture_change(np.array([1.0]), np.array([-1.0]), 1000, ONE) == 8.0  # clipped
    assert texture_change(np.array([2.0]), np.array([2.0]), 1000, ONE) == 0.0


def test_repeatability_depends_on_size_and_is_not_extrapolated():
    model = TextureModel((TextureFeature("glcm_Contrast", 1.0, 0.0, -0.5),), (400.0, 10000.0))
    at = {
        n: texture_change(np.array([1.0]), np.array([1.1]), n, model)
        for n in (100, 400, 1600, 10000, 90000)
    }
    assert at[1600] == pytest.approx(2 * at[400])
    assert at[100] == at[400]
    assert at[90000] == at[10000]


def test_a_feature_that_is_not_defined_does_not_count():
    two = TextureModel((*ONE.features, *ONE.features), ONE.voxels)
    both = texture_change(np.array([1.0, 1.0]), np.array([1.2, 1.2]), 1000, two)
    assert texture_change(np.array([1.0, np.nan]), np.array([1.2, 5.0]), 1000, two) == both
    assert np.isnan(texture_change(np.array([np.nan]), np.array([1.0]), 1000, ONE))


def test_the_signed_log_is_odd_and_grows():
    values = np.linspace(-50, 50, 101)
    logs = signed_log(values, np.full(101, 3.0))
    np.testing.assert_allclose(logs, -logs[::-1])
    assert (np.diff(logs) > 0).all()
