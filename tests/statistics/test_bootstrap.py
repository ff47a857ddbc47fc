"""Percentile intervals: against standard errors, and against draws spelt out."""

from __future__ import annotations

import numpy as np
import pytest

from dagster_project.statistics.bootstrap import bootstrap_groups, bootstrap_mean

RNG = np.random.default_rng(9)


def test_1_a_mean_has_the_interval_of_its_standard_error():
    values = RNG.random(1000)
    found, reach = bootstrap_mean(values), 1.96 * values.std() / np.sqrt(1000)
    assert (found.value, found.lower, found.upper) == pytest.approx(
        (values.mean(), values.mean() - reach, values.mean() + reach), abs=0.003
    )


def test_2_patients_are_drawn_with_all_their_rows():
    values, of = RNG.normal(0, 1, 90), np.repeat(np.arange(30), 3)
    values += RNG.normal(0, 2, 30)[of]
    low, high = bootstrap_groups(lambda i: float(values[i].mean()), of.tolist(), draws=2000, seed=1)
    means = values.reshape(30, 3).mean(axis=1)
    reach = 1.96 * means.std() / np.sqrt(30)
    assert (low, high) == pytest.approx((means.mean() - reach, means.mean() + reach), abs=0.1)


def test_3_without_two_patients_or_half_of_the_draws_there_are_no_bounds():
    assert bootstrap_groups(lambda i: float(len(i)), ["P1", "P1"], draws=10, seed=1) == (None, None)
    rare = iter([1.0] + [None] * 9)
    found = bootstrap_groups(lambda _: next(rare), ["P1", "P2"], draws=10, seed=1)
    assert found == (None, None)
