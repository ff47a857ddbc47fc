"""The density component: location-free, in standard deviations, exactly 0 for the same values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.radiomics.density import LEVELS, centred_wasserstein, density_change

VALUES = np.random.default_rng(2).normal(40, 30, 2000)


def published_formula(first, second):
    """D as it is written in the protocol."""
    a, b = np.quantile(first, LEVELS), np.quantile(second, LEVELS)
    rho = np.corrcoef(a, b)[0, 1]
    return np.sqrt((a.std() - b.std()) ** 2 + 2 * a.std() * b.std() * (1 - rho)) / np.sqrt(
        (a.var() + b.var()) / 2
    )


def test_it_is_the_published_formula():
    other = np.random.default_rng(3).gamma(2, 25, 1500)
    assert density_change(VALUES, other) == pytest.approx(
        published_formula(VALUES, other), rel=1e-9
    )


def test_the_same_values_in_any_order_differ_by_exactly_nothing():
    assert density_change(VALUES, VALUES[::-1]) == 0.0
    assert density_change(VALUES, np.random.default_rng(0).permutation(VALUES)) == 0.0


@given(offset=st.integers(-500, 500))
def test_an_offset_changes_nothing(offset):
    assert density_change(VALUES, VALUES + offset) == pytest.approx(0.0, abs=1e-12)
    assert centred_wasserstein(VALUES, VALUES + offset) == pytest.approx(0.0, abs=1e-10)


@given(gain=st.floats(0.2, 5))
def test_a_gain_has_its_analytic_value(gain):
    expected = abs(gain - 1) / np.sqrt((gain**2 + 1) / 2)
    assert density_change(VALUES, VALUES * gain) == pytest.approx(expected, abs=1e-9)


def test_it_is_symmetric_and_free_of_scale():
    other = np.random.default_rng(3).normal(0, 50, 900)
    assert density_change(VALUES, other) == density_change(other, VALUES)
    assert density_change(VALUES * 7, other * 7) == pytest.approx(
        density_change(VALUES, other), rel=1e-12
    )


def test_two_constant_lesions_do_not_differ():
    assert density_change(np.full(400, 40.0), np.full(300, 50.0)) == 0.0


def test_the_comparator_is_in_hu():
    assert centred_wasserstein(
        np.array([0.0, 100.0] * 50), np.array([0.0, 200.0] * 50)
    ) == pytest.approx(50, rel=0.02)
