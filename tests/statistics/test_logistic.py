"""Logits and probabilities against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from dagster_project.statistics.logistic import LEAST_PROBABILITY, fit_logistic, logit, sigmoid


def test_logit_and_sigmoid_are_scipys_within_the_range():
    p = np.linspace(0.001, 0.999, 50)
    assert logit(p) == pytest.approx(special.logit(p))
    assert sigmoid(logit(p)) == pytest.approx(p)
    assert sigmoid(np.array([-1000.0, 1000.0])) == pytest.approx([0.0, 1.0])


def test_no_logit_is_infinite():
    assert logit(np.array([0.0, 1.0])) == pytest.approx(
        special.logit([LEAST_PROBABILITY, 1 - LEAST_PROBABILITY])
    )


@pytest.mark.parametrize("ridge", [0.1, 3.0])
def test_the_regression_is_sklearns(ridge):
    random = np.random.default_rng(3)
    rows, weights = random.normal(size=(80, 3)), random.random(80)
    labels = random.random(80) < special.expit(rows[:, 0] - 0.5)
    theirs = LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=1000)
    theirs.fit(rows, labels, sample_weight=weights)
    found = fit_logistic(rows, labels, weights, ridge=ridge)
    assert found == pytest.approx([*theirs.intercept_, *theirs.coef_[0]], abs=1e-5)


def test_separated_classes_need_a_penalty():
    rows, labels = np.arange(6.0)[:, None], np.arange(6) > 2
    assert np.isfinite(fit_logistic(rows, labels, np.ones(6), ridge=0.1)).all()
    with pytest.raises(ValueError, match="penalty"):
        fit_logistic(rows, labels, np.ones(6))
