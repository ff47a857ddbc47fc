"""Rank correlations: of two measurements, of two beside a third, and of many rankings."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import rankdata

from dagster_project.statistics.estimate import normal_quantile

FEWEST_PATIENTS = 10
"""Below that no correlation is given."""


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Spearman's correlation, ties at their mean rank.

    Parameters
    ----------
    x, y : arrays (n,)

    Returns
    -------
    float or None
        None below `FEWEST_PATIENTS`, and where one is constant.
    """
    a, b = (rankdata(np.asarray(v, float)) for v in (x, y))
    if a.size < FEWEST_PATIENTS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def partial_rank_correlation(
    x: np.ndarray, y: np.ndarray, given: np.ndarray
) -> tuple[float, float, float] | None:
    """Spearman's correlation of x and y with the ranks of a third held fixed, and its interval.

    r = (r_xy − r_xg r_yg) / √((1 − r_xg²)(1 − r_yg²)); the 95 % interval is by Fisher's z with the
    variance 1.06 / (n − 4). An association, neither a cause nor a prediction.

    Parameters
    ----------
    x, y, given : arrays (n,)

    Returns
    -------
    tuple of float, or None
        r, lower and upper bound; None below `FEWEST_PATIENTS`, where one is constant, or where the
        third explains one of the others wholly.
    """
    pairs = [rank_correlation(*pair) for pair in ((x, y), (x, given), (y, given))]
    if any(r is None for r in pairs):
        return None
    xy, xg, yg = (float(r) for r in pairs if r is not None)
    rest = (1 - xg**2) * (1 - yg**2)
    if rest < 1e-12:
        return None
    r = float(np.clip((xy - xg * yg) / math.sqrt(rest), -0.999999, 0.999999))
    half = normal_quantile() * math.sqrt(1.06 / (len(x) - 4))
    return r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def mean_rank_correlation(rows: np.ndarray) -> float:
    """Mean of Spearman's correlations between all pairs of rows.

    Parameters
    ----------
    rows : float array (k, n)
        At least two rows, none of them constant.

    Returns
    -------
    float
        Within -1 and 1.
    """
    correlation = np.corrcoef(rankdata(rows, axis=1))
    return float(correlation[np.triu_indices(len(rows), 1)].mean())
