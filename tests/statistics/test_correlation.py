"""Rank correlations: against pingouin and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy.stats import spearmanr

from dagster_project.statistics.correlation import (
    mean_rank_correlation,
    partial_rank_correlation,
    rank_correlation,
)


@pytest.mark.parametrize("seed", range(5))
def test_partial_rank_correlation_agrees_with_pingouin(seed):
    random = np.random.default_rng(seed)
    given = random.normal(size=40)
    x, y = given + random.normal(size=40), random.random(40) < 1 / (1 + np.exp(-given))
    r, low, high = partial_rank_correlation(x, y, given)
    oracle = pingouin.partial_corr(
        pd.DataFrame({"x": x, "y": y.astype(float), "g": given}),
        x="x",
        y="y",
        covar="g",
        method="spearman",
    )["r"].iloc[0]
    assert r == pytest.approx(oracle, abs=1e-9)
    assert low < r < high


def test_no_correlation_is_given_where_it_cannot_be_told():
    x = np.arange(12.0)
    assert partial_rank_correlation(x[:9], x[:9] > 4, x[:9][::-1]) is None
    assert partial_rank_correlation(x, np.full(12, fill_value=True), x) is None
    assert partial_rank_correlation(x, x % 2 > 0, x) is None


def test_rank_correlations_are_scipys():
    random = np.random.default_rng(3)
    x, y, z = (random.integers(0, 9, 30) for _ in range(3))
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    pairs = [spearmanr(a, b).statistic for a, b in ((x, y), (x, z), (y, z))]
    assert mean_rank_correlation(np.array([x, y, z])) == pytest.approx(np.mean(pairs), abs=1e-12)
