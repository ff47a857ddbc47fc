"""Survival curves by Kaplan and Meier, and their comparison by the log-rank test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dagster_project.statistics.estimate import CONFIDENCE, normal_quantile

TRANSFORM = "log-log"
"""The transform of the confidence band.

R's default is log, which gives other bounds (lung data: 285-363 instead of 284-361).
"""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class KaplanMeier:
    """A Kaplan-Meier curve: a value a distinct time.

    Bounds are None where the log-log band does not exist (S = 0). `at_risk` counts the patients
    whose time is not shorter, `events` those whose time ends there in an event.
    """

    time: tuple[float, ...]
    survival: tuple[float, ...]
    at_risk: tuple[int, ...]
    events: tuple[int, ...]
    lower: tuple[float | None, ...]
    upper: tuple[float | None, ...]
    median: float | None
    median_lower: float | None
    median_upper: float | None
    transform: str = TRANSFORM

    def survival_at(self, time: float) -> float:
        """S(t): the survival at the last time that is not later."""
        return next(
            (
                s
                for t, s in zip(reversed(self.time), reversed(self.survival), strict=True)
                if t <= time
            ),
            1.0,
        )

    def at_risk_at(self, time: float) -> int:
        """Patients whose time is not shorter than this one."""
        return next((n for t, n in zip(self.time, self.at_risk, strict=True) if t >= time), 0)

    @property
    def n(self) -> int:
        """Patients."""
        return self.at_risk[0]

    @property
    def censored(self) -> tuple[float, ...]:
        """Times that end without an event, one a patient, ascending."""
        after = (*self.at_risk[1:], 0)
        steps = zip(self.time, self.at_risk, after, self.events, strict=True)
        return tuple(t for t, n, left, died in steps for _ in range(n - left - died))


def kaplan_meier(
    days: Sequence[float], events: Sequence[bool], *, confidence: float = CONFIDENCE
) -> KaplanMeier:
    """Kaplan-Meier estimate with Greenwood's variance and a log-log band.

    S = prod(1 - d/n), V = S^2 sum d/(n(n - d)). The band is S^exp(+-z sqrt(V)/(S log S)). The
    median is the first time with S <= 0.5; its bounds are the first times at which the lower and
    upper band are (Brookmeyer and Crowley); None where never.

    Parameters
    ----------
    days
        Time of each patient.
    events
        Whether it ends in an event.
    confidence
        Two-sided level of the band.

    Returns
    -------
    KaplanMeier

    Raises
    ------
    ValueError
        Where there is no patient, or not one event mark a time.

    Examples
    --------
    >>> kaplan_meier([1, 2, 3, 4], [True, True, False, True]).median
    2.0
    """
    times, died = np.asarray(days, dtype=np.float64), np.asarray(events, dtype=bool)
    if not len(times) or len(times) != len(died):
        raise ValueError("kaplan_meier: pass at least one patient, and one event mark a time")
    distinct = np.unique(times)
    at_risk, deaths = _at_risk(distinct, times), _deaths(distinct, times, died)
    survival: Floats = np.cumprod(1.0 - deaths / at_risk).astype(np.float64)
    lower, upper = _log_log_band(survival, at_risk, deaths, confidence)
    return KaplanMeier(
        time=tuple(distinct.tolist()),
        survival=tuple(survival.tolist()),
        at_risk=tuple(int(n) for n in at_risk),
        events=tuple(int(d) for d in deaths),
        lower=lower,
        upper=upper,
        median=_first_below(distinct, survival.tolist()),
        median_lower=_first_below(distinct, lower),
        median_upper=_first_below(distinct, upper),
    )


def _at_risk(distinct: Floats, times: Floats) -> Floats:
    return (len(times) - np.searchsorted(np.sort(times), distinct, side="left")).astype(np.float64)


def _deaths(distinct: Floats, times: Floats, died: npt.NDArray[np.bool_]) -> Floats:
    return np.bincount(np.searchsorted(distinct, times[died]), minlength=len(distinct)).astype(
        np.float64
    )


def _log_log_band(
    survival: Floats, at_risk: Floats, deaths: Floats, confidence: float
) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    z, alive = normal_quantile(confidence), at_risk > deaths
    greenwood = np.cumsum(
        np.divide(deaths, at_risk * (at_risk - deaths), out=np.zeros_like(deaths), where=alive)
    )
    bounds = [_bounds(s, g, z) for s, g in zip(survival.tolist(), greenwood.tolist(), strict=True)]
    return tuple(b[0] for b in bounds), tuple(b[1] for b in bounds)


def _bounds(survival: float, greenwood: float, z: float) -> tuple[float | None, float | None]:
    if survival >= 1.0:
        return 1.0, 1.0
    if survival <= 0.0:
        return None, None
    width = z * np.sqrt(greenwood) / abs(np.log(survival))
    return float(survival ** np.exp(width)), float(survival ** np.exp(-width))


def _first_below(times: Floats, curve: Sequence[float | None], level: float = 0.5) -> float | None:
    return next(
        (
            float(t)
            for t, s in zip(times, curve, strict=True)
            if s is not None and s <= level + 1e-12
        ),
        None,
    )


@dataclass(frozen=True, slots=True)
class LogRank:
    """Log-rank test: chi-square statistic, its degrees of freedom, p."""

    statistic: float
    degrees: int
    p: float


def log_rank(days: Sequence[float], events: Sequence[bool], groups: Sequence[object]) -> LogRank:
    """Compare the survival of two or more groups, unweighted (Mantel).

    At each time with an event: observed minus expected events of each group under one common
    hazard, with the hypergeometric covariance; the statistic is U' V^-1 U over all groups but one.
    Not to be used where the curves cross, or to adjust for anything.

    Parameters
    ----------
    days
        Time of each patient.
    events
        Whether it ends in an event.
    groups
        Group of each patient, distinguished by its text.

    Returns
    -------
    LogRank

    Raises
    ------
    ValueError
        Where there are fewer than two groups, or no event.
    """
    times, died = np.asarray(days, dtype=np.float64), np.asarray(events, dtype=bool)
    names, group = np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)
    if len(names) < 2 or not died.any():
        raise ValueError("log_rank: pass at least two groups and one event")
    difference, covariance = _score(times, died, group, len(names))
    statistic = float(difference[:-1] @ np.linalg.pinv(covariance[:-1, :-1]) @ difference[:-1])
    return LogRank(statistic, len(names) - 1, float(stats.chi2.sf(statistic, len(names) - 1)))


def _score(
    times: Floats, died: npt.NDArray[np.bool_], group: npt.NDArray[np.intp], k: int
) -> tuple[Floats, Floats]:
    difference, covariance = np.zeros(k), np.zeros((k, k))
    for time in np.unique(times[died]):
        n = np.bincount(group[times >= time], minlength=k).astype(np.float64)
        d = np.bincount(group[(times == time) & died], minlength=k).astype(np.float64)
        share, total, deaths = n / n.sum(), n.sum(), d.sum()
        difference += d - deaths * share
        spread = deaths * (total - deaths) / max(total - 1.0, 1.0)
        covariance += spread * (np.diag(share) - np.outer(share, share))
    return difference, covariance
