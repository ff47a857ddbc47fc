"""An evaluation read by hand, and the verdicts on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from dagster_project.statistics.estimate import Estimate
from models.evaluation import evaluation as ev
from tests.statistics.scores import judged


def test_12_an_evaluation_read_by_hand():
    labels = np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    probabilities = np.array([0.9, 0.7, 0.2, 0.4, 0.3, 0.1])
    found = ev.evaluate(
        labels, probabilities, probabilities >= 0.35, ["A", "A", "B", "A", "B", "C"], folds=5
    )
    assert found.auc.value == pytest.approx(7 / 9)
    assert (
        found.sensitivity.value,
        found.specificity.value,
        found.accuracy.value,
    ) == pytest.approx((2 / 3, 2 / 3, 4 / 6))
    assert found.brier == pytest.approx(brier_score_loss(labels, probabilities))
    assert {site: e.value for site, e in found.auc_by_site.items()} == {
        "A": 1.0,
        "B": 0.0,
        "C": None,
    }
    assert found.auc_by_site["C"].reason == "all patients are of one class"


@given(judged(), st.randoms())
@settings(max_examples=30)
def test_13_an_evaluation_does_not_depend_on_the_order_of_patients(case, random):
    labels, scores = case
    sites = [f"S{i % 2}" for i in range(labels.size)]
    order = random.sample(range(labels.size), labels.size)
    one = ev.evaluate(labels, scores, scores >= 0.5, sites, folds=5)
    two = ev.evaluate(
        labels[order], scores[order], scores[order] >= 0.5, [sites[i] for i in order], folds=5
    )
    assert (one.sensitivity, one.specificity, one.accuracy, one.roc) == (
        two.sensitivity,
        two.specificity,
        two.accuracy,
        two.roc,
    )
    assert one.brier == pytest.approx(two.brier, abs=1e-12)
    assert one.auc_by_site.keys() == two.auc_by_site.keys()


@pytest.mark.parametrize(("auc", "verdict"), [(0.90, "raised"), (0.95, "raised"), (0.899, "quiet")])
def test_14_too_good_a_model_raises_the_leakage_alarm(auc, verdict):
    found = ev.leakage_verdict(auc, 0.90)
    assert found.verdict == verdict
    assert "0.9" in found.detail


@pytest.mark.parametrize(
    ("estimate", "verdict"),
    [
        (Estimate(0.45, 0.3, 0.6), "pass"),
        (Estimate(0.3, 0.2, 0.4), "pass"),
        (Estimate(0.7, 0.55, 0.85), "fail"),
        (Estimate(0.5, reason="no variance"), "cannot_evaluate"),
    ],
)
def test_15_a_control_that_tells_the_classes_apart_fails(estimate, verdict):
    assert ev.control_verdict(estimate).verdict == verdict
