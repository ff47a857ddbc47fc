"""Figures read from counts to which noise was added.

Counts with noise are no whole numbers and may be negative; few, wide cells lose least. What a
figure owes to noise is not in the intervals that the study's statistics would give, so that curves
and areas come without bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dagster_project.federated.counts import CountsByArm, DayGrid, ScoreBins
from dagster_project.federated.fixed_point import Floats
from dagster_project.statistics.estimate import Estimate, normal_quantile

NOISE = "noise was added to the counts: an interval would leave it out"
NO_CLASS = "of one class no patients are left above the noise"


def read_counts(query: CountsByArm, total: Floats, sd: float) -> dict[str, dict[str, Estimate]]:
    """Patients by hospital and arm, each with the interval that the noise leaves.

    Parameters
    ----------
    query
        That the sum is of.
    total : float array (length,)
    sd
        Standard deviation of the noise on the sum (`noise.noise_of_sum`).

    Returns
    -------
    dict
        As `CountsByArm.read` has it; values may be negative, and are not rounded.
    """
    reach = normal_quantile() * sd
    rows = total.reshape(-1, len(query.arms)).tolist()
    return {
        name: {
            arm: Estimate(n, n - reach, n + reach) for arm, n in zip(query.arms, row, strict=True)
        }
        for name, row in zip(query.hospitals or ("all",), rows, strict=True)
    }


@dataclass(frozen=True)
class NoisyCurve:
    """Survival at the ends of the grid's cells; without bounds, for `reason`."""

    days: tuple[float, ...]
    survival: tuple[float, ...]
    reason: str = NOISE


def read_survival(query: DayGrid, total: Floats) -> Mapping[str, NoisyCurve]:
    """Kaplan-Meier curves of each group.

    1. At risk in a cell are all from it on, events and censored; the noise of later cells cancels
       in part.
    2. Events below 0 count as 0, and at most all at risk have one.
    3. Where nobody is left above the noise the curve ends.

    Parameters
    ----------
    query
        That the sum is of.
    total : float array (length,)

    Returns
    -------
    mapping
        Of each group; a group without anybody at risk has an empty curve.
    """
    counts = total.reshape(len(query.groups), 2, query.days.size)
    return {
        name: _curve(query.days, events, events + censored)
        for name, (events, censored) in zip(query.groups, counts, strict=True)
    }


def _curve(days: Floats, events: Floats, ended: Floats) -> NoisyCurve:
    at_risk = np.cumsum(ended[::-1])[::-1]
    cells = int(np.argmax(np.append(at_risk < 1, True)))
    share = np.clip(events[:cells] / at_risk[:cells], 0.0, 1.0)
    survival = np.cumprod(1.0 - share)
    return NoisyCurve(tuple(days[:cells].tolist()), tuple(survival.tolist()))


def read_auc(query: ScoreBins, total: Floats) -> Estimate:
    """Area under the ROC curve of the bins, cut to [0, 1].

    Counts below 0 stay: the noise of the classes is independent, so that pairs are right on
    average. With 0 in their place the noise would count as patients in every bin, and the area
    tend to 0.5. Of 500 patients at ε = 1 ten bins do best: the area is off by 0.03 (root mean
    square); fewer count too many ties, more add too much noise.

    Parameters
    ----------
    query
        That the sum is of.
    total : float array (length,)

    Returns
    -------
    Estimate
        Without bounds, or without a value where a class has nobody left.
    """
    negative, positive = total.reshape(2, query.bins)
    if not (negative.sum() > 0 and positive.sum() > 0):
        return Estimate(None, reason=NO_CLASS)
    below = np.cumsum(negative) - negative / 2
    area = float(positive @ below) / float(negative.sum() * positive.sum())
    return Estimate(min(1.0, max(0.0, area)), reason=NOISE)
