"""Harrell's C and its interval: against lifelines, which draws patients again."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.utils import concordance_index as lifelines_c

from dagster_project.statistics.concordance import concordance_index

RNG = np.random.default_rng(9)
N = 300


def test_1_the_c_index_is_lifelines_and_its_interval_holds_it():
    days, events = RNG.exponential(100, 200), RNG.random(200) < 0.7
    scores = days + RNG.normal(0, 80, 200)
    found = concordance_index(
        np.append(days, np.nan), np.append(events, True), np.append(scores, 5.0)
    )
    assert found.value == pytest.approx(lifelines_c(days, scores, events), abs=1e-9)
    drawn = [RNG.integers(200, size=200) for _ in range(200)]
    assert (found.lower, found.upper) == pytest.approx(
        np.quantile([lifelines_c(days[i], scores[i], events[i]) for i in drawn], [0.025, 0.975]),
        abs=0.02,
    )
    none = concordance_index(np.array([1.0, 2.0]), np.array([False, False]), np.array([1.0, 2.0]))
    assert none.reason


def test_2_equal_times_and_scores_count_as_in_lifelines():
    days, events = RNG.integers(1, 60, N).astype(float), RNG.random(N) < 0.6
    scores = np.round(days / 30 + RNG.normal(0, 1, N), 1)
    fine = days + RNG.random(N)
    assert concordance_index(fine, events, scores).value == pytest.approx(
        lifelines_c(fine, scores, events), abs=1e-9
    )
    none = concordance_index(np.array([1.0, 2.0]), np.array([False, False]), np.array([1.0, 2.0]))
    assert none.value is None
