"""Limits of agreement worked out by hand; kappa against another implementation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from dagster_project.statistics.agreement import bland_altman, weighted_kappa


def test_bias_and_limits_are_second_minus_first():
    assert bland_altman(np.array([[10.0, 12.0], [20.0, 21.0], [30.0, 30.0]])) == pytest.approx(
        (1.0, 1 - 1.96, 1 + 1.96)
    )
    assert bland_altman(np.array([[10.0, 12.0]])) == (2.0, None, None)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_another_implementation(seed):
    random = np.random.default_rng(seed)
    a = random.integers(0, 4, 60)
    b = np.clip(a + random.integers(-1, 2, 60), 0, 3)
    assert weighted_kappa(a, b, 4) == pytest.approx(
        cohen_kappa_score(a, b, weights="linear", labels=range(4)), abs=1e-12
    )


def test_kappa_is_not_defined_where_chance_explains_all():
    same = np.zeros(5, dtype=np.int64)
    assert weighted_kappa(same, same, 4) is None
    assert weighted_kappa(same[:0], same[:0], 4) is None
