"""The mean AUC of hospitals: statsmodels' random effects, and what the bounds cover."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.meta_analysis import combine_effects

from benchmarks.pooling import simulated
from dagster_project.statistics.cross_fitting import fold_variance
from dagster_project.statistics.pooling import TOO_FEW, hanley_mcneil, pool_aucs, pool_sites
from dagster_project.statistics.roc import auc_delong

RNG = np.random.default_rng(20260112)
N = 300
TRUE = RNG.normal(0, 1, N)
LABELS = RNG.random(N) < 1 / (1 + np.exp(-TRUE))
P = 1 / (1 + np.exp(-TRUE - RNG.normal(0, 0.3, N)))
SITES = [f"S{i % 4}" for i in range(N)]


@pytest.mark.parametrize(
    ("aucs", "row"),
    [([0.7, 0.9, 0.6, 0.85], "random effect wls"), ([0.78, 0.8, 0.79, 0.8], "fixed effect wls")],
)
def test_1_the_mean_and_its_bounds_are_statsmodels(aucs, row):
    """With and without a variance between the sites; `wls` is Hartung and Knapp's variance there.

    Bounds are compared on the scale of the AUC.
    """
    a, m, n = np.array(aucs), np.array([10.0, 20, 30, 15]), np.array([12.0, 18, 25, 20])
    common = float((m * n / (m + n) * a).sum() / (m * n / (m + n)).sum())
    with np.errstate(invalid="ignore"):
        other = combine_effects(a, hanley_mcneil(common, m, n), method_re="dl", use_t=True)
    found, i2 = pool_aucs(a, m, n)
    assert i2 == pytest.approx(max(0.0, other.i2), abs=1e-9)
    with warnings.catch_warnings(action="ignore"):
        expected = other.summary_frame().loc[row]
    logits = [np.log(bound / (1 - bound)) for bound in (found.lower, found.upper)]
    half = (logits[1] - logits[0]) / 2 * found.value * (1 - found.value)
    assert found.value == pytest.approx(expected["eff"], abs=1e-9)
    assert half == pytest.approx((expected["ci_upp"] - expected["ci_low"]) / 2, rel=1e-9)


def test_2_variance_within_a_site_is_that_of_many_draws():
    positive, negative, auc = 12, 18, 0.8
    shift = np.sqrt(2) * norm.ppf(auc)
    draws = [
        (RNG.normal(shift, 1, positive)[:, None] > RNG.normal(0, 1, negative)).mean()
        for _ in range(20_000)
    ]
    assert hanley_mcneil(auc, np.array([positive]), np.array([negative]))[0] == pytest.approx(
        np.var(draws), rel=0.1
    )


def test_3_a_site_with_an_auc_of_1_counts():
    """DeLong's variance is 0 there; the best hospitals were left out, and 0.85 pooled to 0.72."""
    labels = np.array([True, False] * 20)
    scores = np.where(labels, 0.9, 0.1) + RNG.normal(0, 0.01, 40)
    scores[20:] = RNG.random(20)
    sites = ["BEST"] * 20 + ["OTHER"] * 20
    found, other = pool_sites(labels, scores, sites, 5), auc_delong(labels[20:], scores[20:])
    assert found.sites["BEST"].value == 1.0
    assert found.auc.value > (1 + other.value) / 2 - 0.05


def test_4_a_site_of_one_class_is_shown_and_left_out():
    sites = ["TINY"] * 3 + ["S1" if i % 2 else "S2" for i in range(N - 3)]
    labels = LABELS.copy()
    labels[:3] = True
    found = pool_sites(labels, P, sites, 5)
    assert found.sites["TINY"].reason == "all patients are of one class"
    assert found.auc.value is not None
    assert pool_sites(labels, P, ["S1"] * N, 5).auc.reason == TOO_FEW


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(1, 50), st.integers(1, 50)), min_size=2, max_size=9
    )
)
def test_5_bounds_are_always_within_0_and_1_and_hold_the_mean(sites):
    a, m, n = (np.array(column, dtype=np.float64) for column in zip(*sites, strict=True))
    found, i2 = pool_aucs(a, m, n)
    assert 0 <= found.lower <= found.upper <= 1
    assert found.lower - 0.5 / (m * n).sum() <= found.value <= found.upper + 0.5 / (m * n).sum()
    assert 0 <= i2 <= 1


def test_7_models_of_folds_have_wider_bounds_on_the_logit_scale():
    a, m, n = np.array([0.7, 0.9, 0.6, 0.85]), np.full(4, 20.0), np.full(4, 20.0)
    given, _ = pool_aucs(a, m, n)
    found, _ = pool_aucs(a, m, n, folds=5)
    assert found.value == given.value
    widths = [
        np.log(e.upper / (1 - e.upper)) - np.log(e.lower / (1 - e.lower)) for e in (given, found)
    ]
    assert widths[1] == pytest.approx(np.sqrt(fold_variance(5)) * widths[0])


@pytest.mark.parametrize("number", [3, 5])
def test_6_bounds_cover_what_they_say_and_the_mean_is_not_pulled(number):
    found = simulated(number, (20, 60), 0.85, 0.0, repeats=400, seed=1)["ours"]
    assert 0.92 <= found.coverage <= 0.98
    assert abs(found.mean) < 0.01
