"""Calibration, net benefit, concordance and pooling equal independent libraries or figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index

from dagster_project.domain.survival import kaplan_meier
from models.calibration import calibration, calibration_curve, concordance, net_benefit, subgroup_aucs

RNG = np.random.default_rng(20260112)
N = 300
TRUE = RNG.normal(0, 1, N)
LABELS = RNG.random(N) < 1 / (1 + np.exp(-TRUE))
P = 1 / (1 + np.exp(-(0.3 + 1.7 * TRUE + RNG.normal(0, 0.3, N))))
SITES = [f"S{i % 4}" for i in range(N)]
Z = np.log(P / (1 - P))


def test_1_slope_and_intercept_are_statsmodels():
    intercept, slope = calibration(LABELS, P)
    y = LABELS.astype(float)
    assert slope == pytest.approx(sm.Logit(y, sm.add_constant(Z)).fit(disp=0, tol=1e-12).params[1], abs=1e-6)
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


def test_4_net_benefit_by_hand():
    labels, p = np.array([True, True, False, False, False]), np.array([0.9, 0.3, 0.6, 0.2, 0.1])
    (row,) = net_benefit(labels, p, [0.25])
    assert row["model"] == pytest.approx(2 / 5 - 1 / 5 * (0.25 / 0.75))
    assert row["all"] == pytest.approx(2 / 5 - 3 / 5 / 3)


def test_5_concordance_is_lifelines():
    days, events = RNG.integers(1, 60, N).astype(float), RNG.random(N) < 0.6
    scores = np.round(days / 30 + RNG.normal(0, 1, N), 1)
    fine = days + RNG.random(N)
    assert concordance(fine, events, scores) == pytest.approx(concordance_index(fine, scores, events), abs=1e-9)
    assert concordance(np.array([1.0, 2.0]), np.array([False, False]), np.array([1.0, 2.0])) is None


def test_6_kaplan_meier_is_lifelines():
    days, events = RNG.integers(1, 60, N).astype(float), RNG.random(N) < 0.6
    with np.errstate():  # which lifelines sets for good
        curve, fitted = kaplan_meier(days.tolist(), events.tolist()), KaplanMeierFitter().fit(days, events)
    for day in (5.0, 20.0, 44.0):
        assert curve.survival_at(day) == pytest.approx(float(fitted.predict(day)), abs=1e-6)


def test_10_subgroups_come_with_counts():
    found = subgroup_aucs(LABELS, P, {"first": np.arange(N) < 100, "none": np.zeros(N, dtype=bool)}, folds=5)
    assert list(found) == ["first"]
    assert (found["first"]["n"], found["first"]["n_positive"]) == (100, int(LABELS[:100].sum()))
