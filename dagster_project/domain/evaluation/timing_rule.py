"""When an earlier CT is worth it: a threshold on a marker by net benefit, else the calendar.

The exchange rate between an extra CT and a progression found earlier stands in the protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt

from dagster_project.domain.evaluation.figures import mean_of
from dagster_project.domain.response.findings import Rules
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.estimate import Estimate
from dagster_project.study import digest_of

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Folds = npt.NDArray[np.int64]

NOT_BEATEN = "the calendar is not beaten: everybody is scanned by the calendar"


@dataclass(frozen=True, slots=True)
class TimingRule:
    """Who is scanned by the calendar: a marker of at least `threshold`; None for everybody.

    `gain` is the net benefit over the calendar, of inner folds that the threshold was not fitted
    on; `digest` is of threshold and exchange rate.
    """

    threshold: float | None
    gain: Estimate
    digest: str

    def scans_early(self, markers: Floats) -> Bools:
        """Whether each progression is scanned by the calendar."""
        if self.threshold is None:
            return np.ones(len(markers), dtype=bool)
        return np.asarray(markers >= self.threshold)


def is_signed(risk: Rules) -> bool:
    """Whether somebody has signed the exchange rate, with a date."""
    return bool(risk["rate_signed_by"] and risk["rate_signed_on"])


def net_values(earlier: Bools, extra: Bools, rate: float) -> Floats:
    """What scanning each progression by the calendar is worth, in progressions found earlier.

    1 where it finds one earlier, -1 / rate where it is an extra CT, 0 where it is neither. Their
    mean is the net benefit of the calendar (Vickers & Elkin, Med Decis Making 2006; 26:565-574).

    Parameters
    ----------
    rate
        Extra CTs that one progression found earlier is worth.

    Examples
    --------
    >>> net_values(np.array([True, False, False]), np.array([False, True, False]), 4.0).tolist()
    [1.0, -0.25, 0.0]
    """
    return earlier.astype(np.float64) - extra / rate


def fit_rule(markers: Floats, values: Floats, folds: Folds, rate: float) -> TimingRule:
    """A threshold on a marker, where it has more net benefit than the calendar.

    1. in each inner fold the threshold of the others is applied: what it leaves to the planned CT
       loses its value
    2. the mean gain over the calendar, with its interval for folds
    3. a threshold, of all rows, only where that interval lies above 0

    Parameters
    ----------
    markers : float array (rows,)
        The higher, the likelier a true progression.
    values : float array (rows,)
        `net_values`.
    folds : int array (rows,)
        Inner folds, by patient.
    rate
        The exchange rate; it enters the digest alone.
    """
    gains = np.zeros(len(values))
    for fold in sorted(set(folds.tolist())):
        held = folds == fold
        others = best_threshold(markers[~held], values[~held])
        gains[held] = np.where(markers[held] < others, -values[held], 0.0)
    number = len(set(folds.tolist()))
    gain = Estimate(0.0, reason=NOT_BEATEN)
    if number > 1 and gains.any():
        gain = of_folds(mean_of(gains), number)
    beats = gain.lower is not None and gain.lower > 0
    threshold = best_threshold(markers, values) if beats else None
    threshold = threshold if threshold is not None and isfinite(threshold) else None
    found = None if threshold is None else f"{threshold:.6g}"
    return TimingRule(threshold, gain, digest_of([found, rate]))


def best_threshold(markers: Floats, values: Floats) -> float:
    """The marker from which on the sum of values is greatest; the lowest of equal ones.

    Minus infinity where everybody is best scanned by the calendar.

    Examples
    --------
    >>> best_threshold(np.array([1.0, 2.0, 3.0]), np.array([-0.2, 0.1, 1.0]))
    2.0
    >>> best_threshold(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    -inf
    """
    candidates = np.unique(markers)
    sums = np.array([values[markers >= c].sum() for c in candidates])
    if not len(sums) or sums.max() <= values.sum():
        return float("-inf")
    return float(candidates[int(sums.argmax())])
