"""Logits without overflow, and the logistic regression of weighted rows."""

from __future__ import annotations

import numpy as np

LEAST_PROBABILITY = 1e-6
"""How near to 0 or 1 a probability counts before its logit is taken."""


def logit(p: np.ndarray) -> np.ndarray:
    """ln(p / (1 - p)), p kept off 0 and 1 by `LEAST_PROBABILITY`.

    Parameters
    ----------
    p : float array of any shape
        Probabilities.

    Returns
    -------
    float array of the same shape
    """
    clipped = np.clip(p, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.log(clipped / (1 - clipped))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow.

    Parameters
    ----------
    logits : float array of any shape

    Returns
    -------
    float array of the same shape
        Probabilities.
    """
    return np.exp(-np.logaddexp(0.0, -logits))


STEPS = 100
"""Most steps of Newton's method."""


def fit_logistic(
    design: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, ridge: float | np.ndarray = 0.0
) -> np.ndarray:
    """Coefficients of a weighted logistic regression with an L2 penalty, by Newton's method.

    Minimises -sum w (y ln p + (1 - y) ln(1 - p)) + 1 / 2 * sum ridge b^2; the intercept, which is
    the first coefficient, is not penalised. With a penalty the coefficients exist for separated
    classes as well.

    Parameters
    ----------
    design : float array (n, k)
        Without a column for the intercept.
    labels : bool array (n,)
        Both classes.
    weights : float array (n,)
        At least 0.
    ridge : float or float array (k,)
        Strength of the penalty, of all columns or of each.

    Returns
    -------
    float array (k + 1,)
        The intercept first.

    Raises
    ------
    ValueError
        Where Newton's method does not end: one class alone, or separated classes without a penalty.

    Examples
    --------
    >>> found = fit_logistic(np.zeros((4, 1)), np.arange(4) > 0, np.ones(4), ridge=1.0)
    >>> [round(float(b), 3) for b in found]
    [1.099, 0.0]
    """
    rows = np.column_stack([np.ones(len(labels)), design])
    penalty = np.diag([0.0, *np.broadcast_to(ridge, rows.shape[1] - 1)])
    found = np.zeros(rows.shape[1])
    for _ in range(STEPS):
        p = sigmoid(rows @ found)
        gradient = rows.T @ (weights * (labels - p)) - penalty @ found
        information = rows.T @ (rows * (weights * p * (1 - p))[:, None]) + penalty
        if np.linalg.cond(information) > 1 / np.finfo(float).eps:
            break
        step = np.linalg.solve(information, gradient)
        found = found + step
        if np.abs(step).max() < 1e-10:
            return found
    raise ValueError("fit_logistic: one class alone, or classes that are separated; add a penalty")
