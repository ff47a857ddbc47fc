"""Exact intervals of proportions: published ones, and the equation that defines them."""

from __future__ import annotations

import pytest
from scipy.stats import binom, binomtest

from dagster_project.statistics.binomial import clopper_pearson, proportion, wilson
from dagster_project.statistics.estimate import Estimate


@pytest.mark.parametrize(
    ("x", "n", "lower", "upper"),
    [(7, 20, 0.1539, 0.5922), (0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0)],
)
def test_clopper_pearson(x, n, lower, upper):
    found = clopper_pearson(x, n)
    assert (round(found.lower, 4), round(found.upper, 4)) == (lower, upper)
    assert found.value == x / n


@pytest.mark.parametrize(
    ("x", "n", "lower", "upper"), [(0, 10, 0, 0.3085), (7, 20, 0.1539, 0.5922), (10, 10, 0.6915, 1)]
)
def test_10_proportions_have_the_published_clopper_pearson_interval(x, n, lower, upper):
    found = proportion(x, n)
    assert (found.value, found.lower, found.upper) == pytest.approx((x / n, lower, upper), abs=5e-5)


def test_11_a_proportion_of_nobody_is_missing_with_a_reason():
    assert proportion(0, 0) == Estimate(None, reason="no patient of this class or call")


@pytest.mark.parametrize(("x", "n"), [(1, 3), (7, 20), (120, 300), (299, 300)])
def test_at_each_bound_what_was_seen_has_a_tail_of_a_fortieth(x, n):
    found = clopper_pearson(x, n)
    assert binom.sf(x - 1, n, found.lower) == pytest.approx(0.025, rel=1e-12)
    assert binom.cdf(x, n, found.upper) == pytest.approx(0.025, rel=1e-12)


def test_a_count_above_n_is_refused():
    with pytest.raises(ValueError, match="between 0 and n"):
        clopper_pearson(3, 2)


@pytest.mark.parametrize(("x", "n"), [(0, 7), (7, 7), (1, 3), (7, 20), (120, 300)])
def test_wilsons_interval_is_scipys(x, n):
    found, expected = wilson(x, n), binomtest(x, n).proportion_ci(method="wilson")
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.lower <= found.value <= found.upper
