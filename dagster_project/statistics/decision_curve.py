"""What acting on a probability would gain, by the threshold at which one acts."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

import numpy as np

from dagster_project.statistics.binomial import wilson
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.estimate import Estimate

THRESHOLDS = tuple(t / 20 for t in range(1, 20))
"""Probabilities at which the decision curve asks what acting would gain."""


def net_benefit(
    labels: np.ndarray,
    probabilities: np.ndarray,
    folds: int,
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[dict[str, float]]:
    """Decision curve (Vickers & Elkin 2006): TP/n - FP/n * t/(1 - t).

    1. With the share π of responders, which enrolment fixes, it is π Se - (1 - π) o (1 - Sp) with
       o = t/(1 - t).
    2. Its bounds come from Wilson's of both rates, as those of a sum come from those of its terms
       (Zou & Donner, Stat Med 2008; 27:1693-1702), with the variance for folds. They are of one
       threshold, not of the whole curve.

    Parameters
    ----------
    labels : bool array (n,)
        Both classes.
    probabilities : float array (n,)
    folds
        How many folds' held-out parts the probabilities were put together from.
    thresholds
        Within 0 and 1.

    Returns
    -------
    list of dict
        `threshold`; the net benefit of acting on the `model` with its `lower` and `upper` bound,
        and on `all`; that of acting on nobody is 0.
    """
    prevalence, rows = float(labels.mean()), []
    for t in thresholds:
        called, odds = probabilities >= t, t / (1 - t)
        model = _net_benefit(called[labels], called[~labels], odds)
        bounds = of_folds(model, folds)
        treat_all = prevalence - (1 - prevalence) * odds
        rows.append(
            {
                "threshold": float(t),
                "model": float(bounds.value or 0.0),
                "lower": float(bounds.lower or 0.0),
                "upper": float(bounds.upper or 0.0),
                "all": treat_all,
            }
        )
    return rows


def _net_benefit(responders: np.ndarray, others: np.ndarray, odds: float) -> Estimate:
    """Of the calls on responders and on others, with bounds of models given beforehand."""
    n = responders.size + others.size
    gain, loss = responders.size / n, odds * others.size / n
    right, wrong = (wilson(int(calls.sum()), calls.size) for calls in (responders, others))
    value = gain * right.value - loss * wrong.value
    below = hypot(gain * (right.value - right.lower), loss * (wrong.upper - wrong.value))
    above = hypot(gain * (right.upper - right.value), loss * (wrong.value - wrong.lower))
    return Estimate(value, value - below, value + above)
