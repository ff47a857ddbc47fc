"""What acting on a probability would gain, by the threshold at which one acts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

THRESHOLDS = tuple(t / 20 for t in range(1, 20))
"""Probabilities at which the decision curve asks what acting would gain."""


def net_benefit(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> list[dict[str, float]]:
    """Decision curve (Vickers & Elkin 2006): TP/n - FP/n * t/(1 - t).

    Parameters
    ----------
    labels : bool array (n,)
    probabilities : float array (n,)
    thresholds
        Within 0 and 1.

    Returns
    -------
    list of dict
        `threshold`, and the net benefit of acting on the `model` and on `all`; that of acting on
        nobody is 0.
    """
    n, prevalence = labels.size, float(labels.mean())
    rows = []
    for t in thresholds:
        called, odds = probabilities >= t, t / (1 - t)
        model = float((called & labels).sum() / n - (called & ~labels).sum() / n * odds)
        treat_all = prevalence - (1 - prevalence) * odds
        rows.append({"threshold": float(t), "model": model, "all": treat_all})
    return rows
