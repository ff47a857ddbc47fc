"""How well a probability of an event by a day foresaw it, where some times are censored.

Who is censored before that day counts nothing, and others like them the more: weights by the
inverse of the probability of not being censored (IPCW).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dagster_project.statistics.bootstrap import drawn_counts, percentile_bounds
from dagster_project.statistics.estimate import Estimate

Floats = npt.NDArray[np.float64]

ONE_CLASS = "nobody has, or everybody has, an event by then"
FOLLOWED_TOO_SHORT = "nobody is followed to this day"


def horizon_weights(days: np.ndarray, events: np.ndarray, horizon: float) -> tuple[Floats, Floats]:
    """Weight of each patient as a case, and as a control, of a horizon.

    A case has an event by the horizon and the weight 1 / G(T-); a control is followed beyond it and
    has 1 / G(horizon). G is the Kaplan-Meier curve of being censored; at equal times events come
    before censoring. Who is censored by the horizon has neither.

    Parameters
    ----------
    days : float array (n,)
    events : bool array (n,)
    horizon
        In the unit of `days`.

    Returns
    -------
    tuple of float arrays (n,)
        Weights as case and as control.

    Examples
    --------
    >>> case, control = horizon_weights(np.array([1.0, 2, 3, 4]), np.array([1, 0, 1, 0]) > 0, 3)
    >>> case.round(2).tolist(), control.round(2).tolist()
    ([1.0, 0.0, 1.5, 0.0], [0.0, 0.0, 0.0, 1.5])
    """
    order, case, control = _weights(np.ones((1, len(days))), days, events, horizon)
    back = np.argsort(order)
    return case[0, back], control[0, back]


def _weights(
    counts: Floats, days: np.ndarray, events: np.ndarray, horizon: float
) -> tuple[npt.NDArray[np.intp], Floats, Floats]:
    """Order of the patients by time, and weights (draws, n) in it, times how often each is drawn.

    Tied censored times take their steps one after another, which gives the same product.
    """
    order = np.lexsort((~events, days))
    time, event, drawn = days[order], events[order], counts[:, order]
    at_risk = np.cumsum(drawn[:, ::-1], axis=1)[:, ::-1]
    lost = np.where(event, 0.0, drawn)
    steps = 1 - np.divide(lost, at_risk, out=np.zeros_like(lost), where=at_risk > 0)
    after = np.cumprod(steps, axis=1)
    before = np.column_stack([np.ones(len(counts)), after[:, :-1]])
    within = int((time <= horizon).sum())
    at_horizon = after[:, within - 1] if within else np.ones(len(counts))
    case = np.where(event & (time <= horizon), drawn, 0.0)
    control = np.where(time > horizon, drawn, 0.0)
    return (
        order,
        np.divide(case, before, out=np.zeros_like(case), where=before > 0),
        np.divide(
            control, at_horizon[:, None], out=np.zeros_like(control), where=at_horizon[:, None] > 0
        ),
    )


def auc_at(
    days: np.ndarray,
    events: np.ndarray,
    risks: np.ndarray,
    horizon: float,
    *,
    draws: int = 1000,
    seed: int = 1,
) -> Estimate:
    """Cumulative/dynamic AUC at a horizon, by IPCW, with the percentile interval over patients.

    The probability that a patient with an event by the horizon has a higher risk than one who is
    followed beyond it without; ties count half (Uno et al., JASA 2007; 102:527-537; Blanche et al.,
    Stat Med 2013; 32:5381-5397). The weights are those of each draw.

    Parameters
    ----------
    days : float array (n,)
    events : bool array (n,)
    risks : float array (n,)
        The higher, the sooner the event should be.
    horizon
        In the unit of `days`.
    draws, seed
        See `bootstrap.drawn_counts`.

    Returns
    -------
    Estimate
        Without a value where there is no case or no control.
    """
    counts = np.vstack([np.ones(len(days)), drawn_counts(len(days), draws, seed)])
    order, case, control = _weights(counts, days, events, horizon)
    if not case[0].any() or not control[0].any():
        return Estimate(None, reason=ONE_CLASS)
    risk = risks[order]
    higher = (risk[:, None] > risk[None]) + 0.5 * (risk[:, None] == risk[None])
    right = ((case @ higher) * control).sum(axis=1)
    pairs = case.sum(axis=1) * control.sum(axis=1)
    found = np.divide(right, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)
    return Estimate(float(found[0]), *percentile_bounds(found[1:]))


def brier_at(
    days: np.ndarray,
    events: np.ndarray,
    probabilities: np.ndarray,
    horizon: float,
    *,
    reference: np.ndarray | None = None,
    draws: int = 1000,
    seed: int = 1,
) -> Estimate:
    """Brier score at a horizon by IPCW (Graf et al., Stat Med 1999; 18:2529-2545), with its bounds.

    The mean of w (y - p)^2, y being 1 for a case and 0 for a control; percentiles of patients drawn
    with replacement, with the weights of each draw.

    Parameters
    ----------
    days : float array (n,)
    events : bool array (n,)
    probabilities : float array (n,)
        Of an event by the horizon.
    horizon
        In the unit of `days`.
    reference : float array (n,), optional
        Other probabilities: the score is then by how much the Brier score of `probabilities` is
        lower than theirs.
    draws, seed
        See `bootstrap.drawn_counts`.

    Returns
    -------
    Estimate
        Without a value where nobody has an event by the horizon or is followed beyond it.
    """
    counts = np.vstack([np.ones(len(days)), drawn_counts(len(days), draws, seed)])
    order, case, control = _weights(counts, days, events, horizon)
    if not (case[0].any() or control[0].any()):
        return Estimate(None, reason=FOLLOWED_TOO_SHORT)
    own = _squares(case, control, probabilities[order])
    found = own if reference is None else _squares(case, control, reference[order]) - own
    return Estimate(float(found[0]), *percentile_bounds(found[1:]))


def _squares(case: Floats, control: Floats, p: Floats) -> Floats:
    return np.asarray((case @ (1 - p) ** 2 + control @ p**2) / len(p), dtype=np.float64)
