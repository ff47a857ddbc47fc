"""Bounds of probabilities by the folds' models: by hand, and what they cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from dagster_project.statistics.jackknife import jackknife_interval


def test_1_bounds_are_those_of_the_grouped_jackknife():
    whole, folds = np.array([0.3, 0.9]), np.array([[0.2, 0.9], [0.35, 0.9], [0.31, 0.9]])
    low, high = jackknife_interval(whole, folds)
    z = np.log(folds[:, 0] / (1 - folds[:, 0]))
    error = np.sqrt(2 / 3 * ((z - z.mean()) ** 2).sum()) * student.ppf(0.975, 2)
    expected = 1 / (1 + np.exp(-(np.log(0.3 / 0.7) + np.array([-error, error]))))
    assert [low[0], high[0]] == pytest.approx(expected.tolist())
    assert [low[1], high[1]] == pytest.approx([0.9, 0.9]), "folds that agree leave nothing unsure"
    with pytest.raises(ValueError, match="1 models of folds: an interval needs two"):
        jackknife_interval(whole, folds[:1])


def test_a_probability_beyond_the_least_logit_lies_within_its_bounds():
    """Logits are taken of 1e-6 at least; the probability itself may be nearer to 0 or to 1."""
    whole = np.array([1e-9, 1 - 1e-9])
    low, high = jackknife_interval(whole, np.tile(whole, (4, 1)))
    assert (low <= whole).all()
    assert (whole <= high).all()


def test_2_bounds_hold_the_true_probability_about_as_often_as_they_say():
    """Logistic regression on a column: 300 cohorts of 200 patients in 5 folds, one new patient."""
    rng, at, held = np.random.default_rng(7), 0.8, 0
    for _ in range(300):
        x = rng.normal(size=200)
        y, fold = rng.random(200) < 1 / (1 + np.exp(-x)), np.arange(200) % 5
        each = np.array([[_fitted(x[fold != k], y[fold != k], at)] for k in range(5)])
        low, high = jackknife_interval(np.array([_fitted(x, y, at)]), each)
        held += low[0] <= 1 / (1 + np.exp(-at)) <= high[0]
    assert 0.90 < held / 300 < 0.99


def _fitted(x, y, at) -> float:
    design, theta = np.column_stack([np.ones(x.size), x]), np.zeros(2)
    for _ in range(8):
        p = 1 / (1 + np.exp(-design @ theta))
        theta += np.linalg.solve(design.T @ (design * (p * (1 - p))[:, None]), design.T @ (y - p))
    return float(1 / (1 + np.exp(-(theta[0] + theta[1] * at))))
