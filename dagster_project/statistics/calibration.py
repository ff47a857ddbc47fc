"""Whether probabilities mean what they say: intercept, slope and curve of calibration."""

from __future__ import annotations

from math import sqrt

import numpy as np

from dagster_project.statistics.binomial import proportion
from dagster_project.statistics.estimate import Estimate, normal_quantile


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float | None, float | None]:
    """Calibration intercept (calibration-in-the-large) and slope.

    Slope: b of logit P(y) = a + b logit p. Intercept: a with b fixed at 1. Both by Newton's method
    (Cox 1958; Van Calster et al. 2019).

    Parameters
    ----------
    labels : bool array (n,)
    probabilities : float array (n,)

    Returns
    -------
    tuple of float or None
        Intercept and slope; None where p does not vary or separates the classes.
    """
    intercept, slope = calibration_estimates(labels, probabilities)
    return intercept.value, slope.value


def calibration_estimates(
    labels: np.ndarray, probabilities: np.ndarray
) -> tuple[Estimate, Estimate]:
    """`calibration` with Wald's 95 % bounds, from the inverse of the information.

    Parameters
    ----------
    labels : bool array (n,)
    probabilities : float array (n,)

    Returns
    -------
    tuple of Estimate
        Intercept and slope; without a value where p does not vary or separates the classes.
    """
    z = np.log(np.clip(probabilities, 1e-9, 1 - 1e-9) / np.clip(1 - probabilities, 1e-9, 1))
    intercept = _newton(np.ones((z.size, 1)), labels, offset=z)
    design = np.column_stack([np.ones(z.size), z])
    varies = np.ptp(z) > 1e-9
    slope = _newton(design, labels, offset=np.zeros(z.size)) if varies else None
    return _wald(intercept, 0), _wald(slope, 1)


def _wald(found: tuple[np.ndarray, np.ndarray] | None, place: int) -> Estimate:
    if found is None:
        return Estimate(None, reason="the probabilities do not vary, or separate the classes")
    value, reach = float(found[0][place]), normal_quantile() * sqrt(found[1][place, place])
    return Estimate(value, value - reach, value + reach)


def _newton(
    design: np.ndarray, labels: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Maximum-likelihood logistic coefficients and their covariance; None where none exist."""
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


def calibration_curve(
    labels: np.ndarray, probabilities: np.ndarray, groups: int = 10
) -> list[dict[str, float]]:
    """Mean probability and share of responders, with its exact bounds, by group of patients.

    Parameters
    ----------
    labels : bool array (n,)
    probabilities : float array (n,)
    groups
        Groups of equal size, by ascending probability; fewer where there are fewer patients.

    Returns
    -------
    list of dict
        `mean_probability`, `share`, `lower`, `upper` and `n` of each group.
    """
    order = np.argsort(probabilities, kind="stable")
    parts = [p for p in np.array_split(order, min(groups, labels.size)) if p.size]
    shares = [proportion(int(labels[p].sum()), p.size) for p in parts]
    return [
        {
            "mean_probability": float(probabilities[p].mean()),
            "share": float(labels[p].mean()),
            "lower": float(s.lower or 0.0),
            "upper": float(1.0 if s.upper is None else s.upper),
            "n": p.size,
        }
        for p, s in zip(parts, shares, strict=True)
    ]
