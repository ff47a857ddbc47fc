"""Whether a score orders times to an event: Harrell's C."""

from __future__ import annotations

import numpy as np

from dagster_project.statistics.bootstrap import drawn_counts, percentile_bounds
from dagster_project.statistics.estimate import Estimate


def concordance_index(
    days: np.ndarray, events: np.ndarray, scores: np.ndarray, *, draws: int = 1000, seed: int = 1
) -> Estimate:
    """Harrell's C with the percentile interval over patients drawn with replacement.

    Of the pairs whose order of events is known, the share where the longer survivor has the higher
    score; ties count half. A draw counts each pair as often as both patients were drawn; pairs of
    a patient with itself are no pairs.

    Parameters
    ----------
    days : float array (n,)
        Times; patients whose time is NaN are left out.
    events : bool array (n,)
        Whether a time ends in an event.
    scores : float array (n,)
        The higher, the longer the time should be.
    draws, seed
        See `bootstrap.drawn_counts`.

    Returns
    -------
    Estimate
        Without a value where no pair is usable.
    """
    known = ~np.isnan(days)
    usable, right = concordance_pairs(days[known], events[known], scores[known])
    if not usable.any():
        return Estimate(None, reason="no pair of patients whose order of progression is known")
    times = drawn_counts(int(known.sum()), draws, seed)
    pairs = ((times @ usable) * times).sum(axis=1)
    agreeing = ((times @ right) * times).sum(axis=1)
    drawn = np.divide(agreeing, pairs, out=np.full(draws, np.nan), where=pairs > 0)
    return Estimate(float(right.sum() / usable.sum()), *percentile_bounds(drawn))


def concordance_pairs(
    days: np.ndarray, events: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of each pair (i, j), with i the shorter, whether it is usable and how far the scores agree.

    A pair is usable where the shorter time is an event, and at equal times where just one of the
    two is; two events at one time are left out.

    Parameters
    ----------
    days, events, scores : arrays (n,)

    Returns
    -------
    tuple of float arrays (n, n)
        1 where a pair is usable, and of these 1, 0.5 or 0 as the scores agree.
    """
    shorter = (days[:, None] < days[None]) & events[:, None]
    shorter |= (days[:, None] == days[None]) & events[:, None] & ~events[None]
    difference = scores[None] - scores[:, None]
    agree = np.where(difference > 0, 1.0, np.where(difference == 0, 0.5, 0.0))
    return shorter.astype(np.float64), shorter * agree
