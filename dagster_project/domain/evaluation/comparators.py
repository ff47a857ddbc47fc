"""What the standard is compared with: scores of a visit, and the risks that they give.

A score is the higher the better the outlook. Risks are cross-fitted: each patient's is from the
patients of the other folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dagster_project.domain.evaluation.courses import Landmark
from dagster_project.domain.evaluation.figures import folds_of
from dagster_project.statistics.logistic import fit_logistic, sigmoid
from dagster_project.statistics.survival import kaplan_meier
from dagster_project.statistics.time_dependent import horizon_weights

Floats = npt.NDArray[np.float64]

LEAST_SUM_MM = 1.0
"""A sum counts as at least so much where its logarithm is taken: a complete response has none."""

RIDGE = 0.1
"""Penalty on standardised columns, so that a fold with separated classes has coefficients."""

RECIST_RANKS = {"CR": 3.0, "PR": 2.0, "SD": 1.0, "NON_CR_NON_PD": 1.0, "NED": 1.0, "NE": 1.0}
"""Outlook by RECIST 1.1; what could not be evaluated counts as stable, and PD lowest."""

IRECIST_RANKS = {
    "iCR": 4.0,
    "iPR": 3.0,
    "iSD": 2.0,
    "iNON_CR_NON_PD": 2.0,
    "iNED": 2.0,
    "iNE": 2.0,
    "iUPD": 1.0,
}
"""Outlook by iRECIST; iCPD lowest."""


class Times(NamedTuple):
    """Times to an event, whether they end with one, and the fold of each patient."""

    days: Floats
    events: npt.NDArray[np.bool_]
    folds: npt.NDArray[np.int64]

    def others(self, fold: int) -> Times:
        """Those of the patients outside a fold."""
        mask = self.folds != fold
        return Times(self.days[mask], self.events[mask], self.folds[mask])


VISIT, EARLIEST, MIDPOINT = "visit", "earliest", "midpoint"
"""How a progression, which lies between two CTs, is dated."""


def times_of(landmarks: Sequence[Landmark], folds: int, dating: str = VISIT) -> Times:
    """Times to progression or death, of landmarks that have a time.

    1. visit: a progression is dated by the CT that shows it
    2. earliest: by the day after the last CT without it
    3. midpoint: by the middle of these two CTs

    A death has its own day.
    """
    days = [days_of(r, dating) or 0 for r in landmarks]
    return Times(
        np.array(days, dtype=np.float64),
        np.array([bool(r.event) for r in landmarks]),
        folds_of([r.patient for r in landmarks], folds),
    )


def days_of(landmark: Landmark, dating: str) -> float | None:
    """Days from a landmark to the event or the end of follow-up; None without follow-up."""
    if dating == VISIT or landmark.days is None or landmark.earliest_days is None:
        return landmark.days
    if dating == EARLIEST or landmark.earliest_days == landmark.days:
        return landmark.earliest_days
    return (landmark.earliest_days - 1 + landmark.days) / 2


def change_of_size(landmark: Landmark) -> float | None:
    """ln(S / S0); None without both sums."""
    return _log_ratio(landmark.sum_mm, landmark.baseline_sum_mm)


def _log_ratio(size: float | None, reference: float | None) -> float | None:
    if size is None or not reference:
        return None
    return log(max(size, LEAST_SUM_MM) / max(reference, LEAST_SUM_MM))


def has_sizes(landmark: Landmark) -> bool:
    """Whether the visit has everything that the comparators by size need."""
    changes = (change_of_size(landmark), _log_ratio(landmark.sum_mm, landmark.nadir_mm))
    return None not in changes and landmark.elapsed_days is not None


def columns_of_size(landmarks: Sequence[Landmark]) -> Floats:
    """ln(S / S0), ln(S / nadir) and days since baseline; of visits that `has_sizes`."""
    return np.array(
        [[change_of_size(r), _log_ratio(r.sum_mm, r.nadir_mm), r.elapsed_days] for r in landmarks],
        dtype=np.float64,
    ).reshape(len(landmarks), 3)


def risks_by_category(times: Times, categories: Sequence[str], horizon: float) -> Floats:
    """1 - S(horizon) of the patients of the same category in the other folds.

    Where these have none, of all patients there.
    """
    names = np.array(categories)

    def of_fold(fold: int) -> Floats:
        train, held = times.others(fold), names[times.folds == fold]
        of_train = names[times.folds != fold]
        base = _risk(train.days, train.events, horizon)
        known = {
            name: _risk(train.days[of_train == name], train.events[of_train == name], horizon)
            for name in set(of_train.tolist())
        }
        return np.array([known.get(name, base) for name in held.tolist()])

    return put_together(times.folds, of_fold)


def _risk(days: Floats, events: npt.NDArray[np.bool_], horizon: float) -> float:
    return 1 - kaplan_meier(days.tolist(), events.tolist()).survival_at(horizon)


def risks_by_columns(times: Times, columns: Floats, horizon: float) -> Floats:
    """Risk of an event by a horizon: logistic regression weighted by IPCW, in the other folds.

    Scheike et al., Biometrika 2008; 95:205-220 (direct binomial regression). A fold whose others
    have one outcome alone gets their risk.
    """

    def of_fold(fold: int) -> Floats:
        train, held = times.others(fold), columns[times.folds == fold]
        case, control = horizon_weights(train.days, train.events, horizon)
        used = columns[times.folds != fold]
        if not case.any() or not control.any():
            return np.full(len(held), _risk(train.days, train.events, horizon))
        return predict(used, case > 0, case + control, held)

    return put_together(times.folds, of_fold)


def chances_by_columns(
    labels: npt.NDArray[np.bool_], columns: Floats, folds: npt.NDArray[np.int64]
) -> Floats:
    """Probability of a label by logistic regression in the other folds."""

    def of_fold(fold: int) -> Floats:
        known, train, held = labels[folds != fold], columns[folds != fold], columns[folds == fold]
        if known.all() or not known.any():
            return np.full(len(held), float(known.mean()))
        return predict(train, known, np.ones(len(known)), held)

    return put_together(folds, of_fold)


def shares_of_others(labels: npt.NDArray[np.bool_], folds: npt.NDArray[np.int64]) -> Floats:
    """The base rate: share of the label in the other folds."""
    return put_together(
        folds, lambda fold: np.full(int((folds == fold).sum()), labels[folds != fold].mean())
    )


def predict(
    columns: Floats, labels: npt.NDArray[np.bool_], weights: Floats, held: Floats
) -> Floats:
    """Probabilities of held-out rows; columns are standardised by the training rows."""
    mean, deviation = columns.mean(axis=0), columns.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    found = fit_logistic((columns - mean) / scale, labels, weights, ridge=RIDGE)
    return np.asarray(sigmoid(found[0] + (held - mean) / scale @ found[1:]), dtype=np.float64)


def put_together(folds: npt.NDArray[np.int64], of_fold: Callable[[int], Floats]) -> Floats:
    """Values of all rows in their order, from a function that gives those of one fold."""
    found = np.zeros(len(folds))
    for fold in sorted(set(folds.tolist())):
        found[folds == fold] = of_fold(fold)
    return found
