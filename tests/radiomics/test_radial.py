"""The correlation of density with depth: what moves it and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata

from dagster_project.radiomics.preparation import Prepared
from dagster_project.radiomics.radial import depth_correlation, radial_change
from tests.radiomics.conftest import ball

SHAPE = (17, 17, 17)
MASK = ball(SHAPE, 6)
DEPTH = np.sqrt(((np.indices(SHAPE) - 8) ** 2).sum(axis=0))


def lesion(values, mask=MASK):
    return Prepared(np.where(mask, values, -820.0), mask, float(mask.sum()))


def noise(seed=0):
    return np.random.default_rng(seed).normal(0, 30, SHAPE)


def test_it_is_pearsons_correlation_with_the_rank_of_the_depth():
    from scipy.ndimage import distance_transform_edt

    found = depth_correlation(lesion(noise() - 5 * DEPTH), 250.0)
    expected = pearsonr(
        (noise() - 5 * DEPTH)[MASK], rankdata(np.round(distance_transform_edt(MASK)[MASK], 6))
    ).statistic
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_dense_core_is_positive_and_a_dense_rim_negative():
    assert depth_correlation(lesion(-10 * DEPTH), 250.0) > 0.9
    assert depth_correlation(lesion(10 * DEPTH), 250.0) < -0.9
    assert abs(depth_correlation(lesion(noise()), 250.0)) < 0.1


def test_one_density_throughout_has_no_direction():
    assert depth_correlation(lesion(np.full(SHAPE, 40.0)), 250.0) == 0.0
    one = np.zeros(SHAPE, dtype=bool)
    one[8, 8, 8] = True
    assert depth_correlation(lesion(noise(), one), 250.0) == 0.0


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    offset=st.integers(-500, 500),
    gain=st.sampled_from([0.25, 0.5, 2.0]),
    axes=st.sets(st.sampled_from([0, 1, 2])),
)
def test_offset_contrast_and_direction_change_nothing(seed, offset, gain, axes):
    values = noise(seed) / 8 - DEPTH
    found = depth_correlation(lesion(values), 1e6)
    turned = lesion(np.flip(gain * values + offset, tuple(axes)), np.flip(MASK, tuple(axes)))
    assert depth_correlation(turned, 1e6) == pytest.approx(found, abs=1e-9)
    assert -1 <= found <= 1


@given(a=st.floats(-1, 1), b=st.floats(-1, 1))
def test_the_change_is_symmetric_and_0_for_the_same(a, b):
    assert radial_change(a, b) == radial_change(b, a) <= 2
    assert radial_change(a, a) == 0.0
