"""Logits and probabilities against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from dagster_project.statistics.logistic import LEAST_PROBABILITY, logit, sigmoid


def test_logit_and_sigmoid_are_scipys_within_the_range():
    p = np.linspace(0.001, 0.999, 50)
    assert logit(p) == pytest.approx(special.logit(p))
    assert sigmoid(logit(p)) == pytest.approx(p)
    assert sigmoid(np.array([-1000.0, 1000.0])) == pytest.approx([0.0, 1.0])


def test_no_logit_is_infinite():
    assert logit(np.array([0.0, 1.0])) == pytest.approx(
        special.logit([LEAST_PROBABILITY, 1 - LEAST_PROBABILITY])
    )
