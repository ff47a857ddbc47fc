"""Counts with noise: without noise they are the exact figures, with noise they are near them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.federated.accounting import mu_of
from dagster_project.federated.counts import CountsByArm, DayGrid, ScoreBins, rows_of
from dagster_project.federated.noisy_counts import (
    NO_CLASS,
    NOISE,
    read_auc,
    read_counts,
    read_survival,
)
from dagster_project.statistics.roc import auc_delong
from dagster_project.statistics.survival import kaplan_meier

RNG = np.random.default_rng(8)
SD = 1 / mu_of(1.0, 1e-5)
FEWER = settings(max_examples=40)


@FEWER
@given(st.integers(0, 2**32 - 1), st.integers(4, 200))
def test_without_noise_the_figures_are_the_exact_ones(seed, n):
    random = np.random.default_rng(seed)
    labels, scores = random.random(n) < 0.5, random.random(n)
    labels[:2] = True, False
    bins = ScoreBins(5)
    found = read_auc(bins, bins.vector(labels, scores))
    assert found.value == pytest.approx(auc_delong(labels, bins.bin_of(scores) * 1.0).value)
    assert (found.lower, found.upper, found.reason) == (None, None, NOISE)

    days, grid = random.exponential(200, n), DayGrid(("all",), 600, 30)
    curve = read_survival(grid, grid.vector(days, labels, ["all"] * n))["all"]
    cells, events = grid.on_grid(days, labels)
    exact = kaplan_meier(grid.days[cells], events)
    expected = [exact.survival_at(day) for day in curve.days]
    assert curve.survival == pytest.approx(expected)
    assert curve.days[-1] == exact.time[-1]


def test_a_row_a_patient_has_the_norm_1_and_sums_to_the_vector():
    query = DayGrid(("low", "high"), 300, 30)
    days, died = RNG.exponential(200, 50), RNG.random(50) < 0.5
    groups = RNG.choice(["low", "high"], 50)
    rows = rows_of(query.slots(days, died, groups), query.length)
    assert np.array_equal(np.linalg.norm(rows, axis=1), np.ones(50))
    assert np.array_equal(rows.sum(axis=0), query.vector(days, died, groups))
    assert rows_of(np.zeros(0, dtype=np.int64), 4).shape == (0, 4)


def test_intervals_of_counts_hold_the_truth_as_often_as_they_say():
    query = CountsByArm(("A", "B"))
    truth = query.vector("S", ["A"] * 300 + ["B"] * 5)
    held = []
    for _ in range(1000):
        found = read_counts(query, truth + RNG.normal(0, SD, 2), SD)["all"]
        held += [found[a].lower <= n <= found[a].upper for a, n in zip("AB", truth, strict=True)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_with_noise_for_epsilon_1_auc_and_survival_of_500_patients_are_near_the_truth():
    labels = RNG.random(500) < 0.4
    scores = 1 / (1 + np.exp(-RNG.normal(0, 1, 500) - labels))
    days = RNG.exponential(400, 500)
    bins, grid = ScoreBins(10), DayGrid(("all",), 360, 30)
    exact_auc = auc_delong(labels, scores).value
    sums = bins.vector(labels, scores), grid.vector(days, labels, ["all"] * 500)
    curve = read_survival(grid, sums[1])["all"]
    errors, distances = [], []
    for _ in range(200):
        errors.append(read_auc(bins, sums[0] + RNG.normal(0, SD, 20)).value - exact_auc)
        noisy = read_survival(grid, sums[1] + RNG.normal(0, SD, grid.length))["all"]
        distances.append(
            max(abs(a - b) for a, b in zip(noisy.survival, curve.survival, strict=True))
        )
    assert np.sqrt(np.mean(np.square(errors))) < 0.04
    assert abs(np.mean(errors)) < 0.02
    assert np.median(distances) < 0.04


@FEWER
@given(st.lists(st.floats(-50, 50), min_size=24, max_size=24))
def test_any_noise_leaves_curves_that_fall_and_areas_within_0_and_1(noise):
    grid = DayGrid(("a", "b"), 50, 10)
    for curve in read_survival(grid, np.array(noise)).values():
        values = [1.0, *curve.survival]
        assert all(0 <= b <= a for a, b in pairwise(values))
    found = read_auc(ScoreBins(12), np.array(noise))
    assert found.reason == (NO_CLASS if found.value is None else NOISE)
    assert found.value is None or 0 <= found.value <= 1


def test_a_class_or_group_without_anybody_has_no_figure():
    assert read_auc(ScoreBins(2), np.array([-1.0, 0.0, 5.0, 5.0])).value is None
    assert read_survival(DayGrid(("all",), 10, 10), np.zeros(4))["all"].days == ()
