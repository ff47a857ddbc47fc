"""Intercept, slope and curve of calibration: statsmodels, and figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from dagster_project.statistics.calibration import (
    calibration,
    calibration_curve,
    calibration_estimates,
)

RNG = np.random.default_rng(20260112)
N = 300
TRUE = RNG.normal(0, 1, N)
LABELS = RNG.random(N) < 1 / (1 + np.exp(-TRUE))
P = 1 / (1 + np.exp(-(0.3 + 1.7 * TRUE + RNG.normal(0, 0.3, N))))
Z = np.log(P / (1 - P))


def test_1_slope_and_intercept_are_statsmodels():
    intercept, slope = calibration(LABELS, P)
    y = LABELS.astype(float)
    assert slope == pytest.approx(
        sm.Logit(y, sm.add_constant(Z)).fit(disp=0, tol=1e-12).params[1], abs=1e-6
    )
    fixed = sm.GLM(y, np.ones(N), family=sm.families.Binomial(), offset=Z).fit(tol=1e-12)
    assert intercept == pytest.approx(fixed.params[0], abs=1e-6)


def test_2_a_constant_probability_has_an_intercept_and_no_slope():
    intercept, slope = calibration(np.array([True, True, True, False]), np.full(4, 0.5))
    assert intercept == pytest.approx(np.log(3))
    assert slope is None


def test_3_the_curve_holds_every_patient_once_in_order():
    curve = calibration_curve(LABELS, P)
    assert sum(c["n"] for c in curve) == N
    assert sum(c["n"] * c["share"] for c in curve) == pytest.approx(LABELS.sum())
    assert [c["mean_probability"] for c in curve] == sorted(c["mean_probability"] for c in curve)


def test_4_bounds_of_slope_and_intercept_are_statsmodels():
    z = RNG.normal(0, 1.5, 400)
    y = RNG.random(400) < 1 / (1 + np.exp(-(0.2 + 0.8 * z)))
    intercept, slope = calibration_estimates(y, 1 / (1 + np.exp(-z)))
    wanted = sm.Logit(y.astype(float), sm.add_constant(z)).fit(disp=0, tol=1e-12)
    assert [slope.value, slope.lower, slope.upper] == pytest.approx(
        [wanted.params[1], *wanted.conf_int()[1]], abs=1e-6
    )
    fixed = sm.GLM(y.astype(float), np.ones(400), family=sm.families.Binomial(), offset=z).fit(
        tol=1e-12
    )
    assert [intercept.value, intercept.lower, intercept.upper] == pytest.approx(
        [fixed.params[0], *fixed.conf_int()[0]], abs=1e-6
    )
