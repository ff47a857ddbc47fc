"""How far two readers agree: limits of agreement of measurements, kappa of categories."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LIMITS_OF_AGREEMENT = 1.96
"""Standard deviations to either side of the bias (Bland & Altman 1986)."""


def bland_altman(values: np.ndarray) -> tuple[float, float | None, float | None]:
    """Mean difference, second minus first, and the limits that 95 % of differences should keep.

    Parameters
    ----------
    values : float array (n pairs, 2)
        In the measurement's unit; at least one pair.

    Returns
    -------
    tuple of float or None
        Bias, lower and upper limit; the limits are None for a single pair.

    Examples
    --------
    >>> bland_altman(np.array([[10.0, 11.0], [20.0, 21.0]]))
    (1.0, 1.0, 1.0)
    """
    difference = values[:, 1] - values[:, 0]
    bias = float(difference.mean())
    if difference.size < 2:
        return bias, None, None
    reach = LIMITS_OF_AGREEMENT * float(difference.std(ddof=1))
    return bias, bias - reach, bias + reach


def weighted_kappa(
    a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], n_categories: int
) -> float | None:
    """Cohen's kappa with linear weights (Cohen 1968).

    1 - Σ|i - j| observed / Σ|i - j| expected by chance.

    Parameters
    ----------
    a, b : int arrays (n,)
        Categories of both readers in their order, from 0.
    n_categories
        How many categories there are.

    Returns
    -------
    float or None
        None where chance explains all.

    Examples
    --------
    >>> weighted_kappa(np.array([0, 1, 2]), np.array([0, 1, 2]), 3)
    1.0
    """
    if not len(a):
        return None
    weights = np.abs(np.subtract.outer(np.arange(n_categories), np.arange(n_categories)))
    observed = np.zeros((n_categories, n_categories))
    np.add.at(observed, (a, b), 1 / len(a))
    chance = float((weights * np.outer(observed.sum(1), observed.sum(0))).sum())
    return 1 - float((weights * observed).sum()) / chance if chance > 0 else None
