"""Whether probabilities mean what they say, what acting on them would gain, and whether they order survival."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from models.evaluation import Estimate, auc_of_folds, proportion


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float | None, float | None]:
    """Calibration intercept (calibration-in-the-large) and slope (Cox 1958; Van Calster et al. 2019).

    Slope: b of logit P(y) = a + b logit p. Intercept: a with b fixed at 1. Both by Newton's method; None where p does not vary or
    separates the classes.
    """
    intercept, slope = calibration_estimates(labels, probabilities)
    return intercept.value, slope.value


def calibration_estimates(labels: np.ndarray, probabilities: np.ndarray) -> tuple[Estimate, Estimate]:
    """`calibration` with Wald's 95 % bounds, from the inverse of the information."""
    z = np.log(np.clip(probabilities, 1e-9, 1 - 1e-9) / np.clip(1 - probabilities, 1e-9, 1))
    intercept = _newton(np.ones((z.size, 1)), labels, offset=z)
    slope = _newton(np.column_stack([np.ones(z.size), z]), labels, offset=np.zeros(z.size)) if np.ptp(z) > 1e-9 else None
    return _wald(intercept, 0), _wald(slope, 1)


def _wald(found: tuple[np.ndarray, np.ndarray] | None, place: int) -> Estimate:
    if found is None:
        return Estimate(None, reason="the probabilities do not vary, or separate the classes")
    value, reach = float(found[0][place]), 1.959963984540054 * sqrt(found[1][place, place])
    return Estimate(value, value - reach, value + reach)


def _newton(design: np.ndarray, labels: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Maximum-likelihood logistic coefficients and their covariance; None where they do not exist."""
    theta = np.zeros(design.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ theta + offset, -500, 500)))
        information = design.T @ (design * (p * (1 - p))[:, None])
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (labels - p))
        theta = theta + step
        if np.abs(step).max() < 1e-12:
            return theta, np.linalg.inv(information)
    return None


def calibration_curve(labels: np.ndarray, probabilities: np.ndarray, groups: int = 10) -> list[dict[str, float]]:
    """Mean probability and share of responders, with its exact bounds, in groups of equal size, by ascending probability."""
    parts = [p for p in np.array_split(np.argsort(probabilities, kind="stable"), min(groups, labels.size)) if p.size]
    shares = [proportion(int(labels[p].sum()), p.size) for p in parts]
    return [{"mean_probability": float(probabilities[p].mean()), "share": float(labels[p].mean()), "lower": float(s.lower or 0.0),
             "upper": float(1.0 if s.upper is None else s.upper), "n": p.size} for p, s in zip(parts, shares, strict=True)]


def net_benefit(labels: np.ndarray, probabilities: np.ndarray, thresholds: Sequence[float]) -> list[dict[str, float]]:
    """Decision curve (Vickers & Elkin 2006): TP/n - FP/n * t/(1 - t), for the model and for treating all; treating none is 0."""
    n, prevalence = labels.size, float(labels.mean())
    rows = []
    for t in thresholds:
        called, odds = probabilities >= t, t / (1 - t)
        model = float((called & labels).sum() / n - (called & ~labels).sum() / n * odds)
        rows.append({"threshold": float(t), "model": model, "all": prevalence - (1 - prevalence) * odds})
    return rows


def concordance(days: np.ndarray, events: np.ndarray, scores: np.ndarray) -> float | None:
    """Harrell's C: of the pairs whose order of events is known, the share where the longer survivor has the higher score; ties count half.

    A pair is usable where the shorter time is an event, and at equal times where just one of the two is; two events at one time are
    left out. None without a usable pair.
    """
    usable, right = concordance_pairs(days, events, scores)
    return float(right.sum() / usable.sum()) if usable.any() else None


def concordance_pairs(days: np.ndarray, events: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each pair (i, j), with i the shorter: 1 where it is usable, and 1, 0.5 or 0 as the scores agree; see `concordance`."""
    shorter = (days[:, None] < days[None]) & events[:, None]
    shorter |= (days[:, None] == days[None]) & events[:, None] & ~events[None]
    difference = scores[None] - scores[:, None]
    return shorter.astype(np.float64), shorter * np.where(difference > 0, 1.0, np.where(difference == 0, 0.5, 0.0))


def bootstrap_mean(values: np.ndarray, *, draws: int = 1000, seed: int = 1) -> Estimate:
    """Mean over patients with the percentile interval over patients drawn with replacement."""
    times = np.random.default_rng(seed).multinomial(values.size, np.full(values.size, 1 / values.size), size=draws)
    low, high = np.quantile(times @ values / values.size, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def subgroup_aucs(labels: np.ndarray, probabilities: np.ndarray, groups: dict[str, np.ndarray], folds: int) -> dict[str, dict[str, object]]:
    """AUC of each subgroup with its counts and bounds for folds; one mask per name."""
    return {name: {"n": int(mask.sum()), "n_positive": int(labels[mask].sum()), "auc": auc_of_folds(labels[mask], probabilities[mask], folds)}
            for name, mask in groups.items() if mask.any()}
