"""Risk of progression or death after a visit, by size alone: one model of all landmarks.

Every visit at which the disease is controlled is a landmark, and all landmarks of all patients are
stacked (van Houwelingen, Scand J Stat 2007; 34:70-85). It is the floor for any other model. One
score of features may be a further column; each model is given the score that its own rows teach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dagster_project.domain.evaluation.comparators import (
    VISIT,
    Floats,
    columns_of_size,
    days_of,
    has_sizes,
    predict,
    put_together,
)
from dagster_project.domain.evaluation.courses import Landmark
from dagster_project.domain.evaluation.figures import folds_of, mean_of
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.jackknife import held_out_bounds
from dagster_project.statistics.survival import kaplan_meier
from dagster_project.statistics.time_dependent import horizon_weights

Bools = npt.NDArray[np.bool_]

LATER_VISIT = 3
"""Visits from this one on are one group where the censoring of a landmark is estimated."""

CONTROLLED = "controlled"
"""State of the visits that are landmarks."""

WITH_FEATURES = "size_and_features"
"""Name of the model that has a score of features beside size."""

Score = Callable[[Bools], Floats]
"""Of the rows that may be learnt from: a score of every row of a stack.

Rows that are learnt from have it by a fit without their own patient, the others by the fit of all
that are; so its coefficient in a model of these rows is not flattered.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Landmarks one below the other.

    Attributes
    ----------
    columns : float array (rows, k)
        ln(S / S0), ln(S / nadir) and days since baseline; a further column may follow.
    days : float array (rows,)
        To progression, death or the end of follow-up; NaN where nothing is known after the visit.
    events : bool array (rows,)
    folds : int array (rows,)
        All landmarks of a patient are in one fold.
    visits : int array (rows,)
        Number of the visit after baseline, at most `LATER_VISIT`.
    weights : float array (rows,)
        What a row counts in the fit.
    score
        Of features, one column more; None for size alone.
    """

    columns: Floats
    days: Floats
    events: Bools
    folds: npt.NDArray[np.int64]
    visits: npt.NDArray[np.int64]
    weights: Floats
    score: Score | None = None

    @property
    def followed(self) -> Bools:
        """Rows that can be learnt from."""
        return ~np.isnan(self.days)

    def weighted(self, weights: Floats) -> Stack:
        """The same rows with other weights."""
        return replace(self, weights=weights)

    def columns_by(self, seen: Bools) -> Floats:
        """Columns for a model of the rows `seen`, with the score where there is one."""
        if self.score is None:
            return self.columns
        return np.column_stack([self.columns, self.score(seen)])


class FeatureSource(Protocol):
    """Features of visits, of which one penalised score is made."""

    def knows(self, landmark: Landmark) -> bool:
        """Whether the visit has features."""

    def score(self, landmarks: Sequence[Landmark], stack: Stack, horizon: float) -> Score:
        """The score of the stack of these landmarks, learnt from their events by a horizon."""


def is_landmark(landmark: Landmark) -> bool:
    """Whether a visit is of the population: controlled, with all sums."""
    return landmark.state == CONTROLLED and has_sizes(landmark)


def stack_with_features(
    landmarks: Sequence[Landmark],
    features: FeatureSource,
    folds: int,
    horizon: float,
    dating: str = VISIT,
) -> Stack:
    """`stack_landmarks` of landmarks that have features, with their score."""
    stack = stack_landmarks(landmarks, folds, dating)
    return replace(stack, score=features.score(landmarks, stack, horizon))


def stack_landmarks(landmarks: Sequence[Landmark], folds: int, dating: str = VISIT) -> Stack:
    """Landmarks that are of the population, each row once, with a weight of 1.

    Parameters
    ----------
    landmarks
        Of `is_landmark`.
    folds
        Number of folds of patients.
    dating
        How a progression is dated (`comparators.times_of`).
    """
    days = [days_of(r, dating) for r in landmarks]
    return Stack(
        columns_of_size(landmarks),
        np.array([np.nan if d is None else d for d in days], dtype=np.float64),
        np.array([bool(r.event) for r in landmarks], dtype=bool),
        folds_of([r.patient for r in landmarks], folds),
        np.array([min(r.number, LATER_VISIT) for r in landmarks], dtype=np.int64),
        np.ones(len(landmarks)),
    )


def risks_of_stack(stack: Stack, horizon: float) -> Floats:
    """Risk of an event within a horizon of each landmark, by a model that lacks its patient's fold.

    1. A row is a case with an event by the horizon, a control followed beyond it; who is censored
       by then is neither, and the others count by the inverse of the probability of not being
       censored, estimated within landmarks of the same visit (IPCW).
    2. One logistic regression of all rows outside the fold gives the risk directly (Scheike et al.,
       Biometrika 2008; 95:205-220); elapsed days are a column, so that the risk moves with them.
    3. Where these rows have one outcome alone their Kaplan-Meier risk is given to everybody.

    Returns
    -------
    float array (rows,)
        Also of landmarks without any follow-up.
    """
    return put_together(
        stack.folds, lambda fold: risks_by(stack, horizon, stack.folds != fold, stack.folds == fold)
    )


def bounds_of_stack(stack: Stack, horizon: float, risks: Floats) -> tuple[Floats, Floats]:
    """95 % bounds of `risks_of_stack` by models that lack one fold more (`held_out_bounds`)."""
    return held_out_bounds(
        lambda seen, held: risks_by(stack, horizon, seen, held), stack.folds, risks
    )


def risks_by(stack: Stack, horizon: float, seen: Bools, held: Bools) -> Floats:
    """Risks of the rows `held` by a model of the rows `seen`.

    Raises
    ------
    ValueError
        Where no row of `seen` has any follow-up.
    """
    used = seen & stack.followed
    if not used.any():
        raise ValueError("risks_by: no landmark with follow-up to learn from")
    case, control = weights_at(stack, used, horizon)
    if not case.any() or not control.any():
        curve = kaplan_meier(stack.days[used].tolist(), stack.events[used].tolist())
        return np.full(int(held.sum()), 1 - curve.survival_at(horizon))
    weights = (case + control)[used] * stack.weights[used]
    columns = stack.columns_by(used)
    return predict(columns[used], case[used] > 0, weights, columns[held])


def brier_gained(
    stack: Stack,
    patients: Sequence[tuple[str, str]],
    risks: Floats,
    reference: Floats,
    horizon: float,
) -> Estimate:
    """By how much the Brier score of risks is lower than that of others, over all landmarks.

    Both are cross-fitted. Rows are weighted by IPCW within their visit; the interval is of
    patients, each with all landmarks, and has the variance for folds.

    Parameters
    ----------
    patients
        The patient of each row.
    reference : float array (rows,)
        The other risks.
    """
    case, control = weights_at(stack, stack.followed, horizon)
    gains = case * ((1 - reference) ** 2 - (1 - risks) ** 2) + control * (reference**2 - risks**2)
    names = {p: n for n, p in enumerate(dict.fromkeys(patients))}
    sums = np.bincount([names[p] for p in patients], gains, len(names))
    folds = len(set(stack.folds.tolist()))
    if len(names) < 2 or folds < 2 or not stack.followed.any():
        return Estimate(None, reason=ONE_FOLD)
    gain = mean_of(sums * len(names) / int(stack.followed.sum()))
    return of_folds(gain, folds, -1.0, 1.0)


ONE_FOLD = "not estimable: two folds of patients are needed"


def weights_at(stack: Stack, used: Bools, horizon: float) -> tuple[Floats, Floats]:
    """Weight of each row as case and as control, censoring being estimated by visit.

    Returns
    -------
    tuple of float arrays (rows,)
        0 for rows that are not used; see `time_dependent.horizon_weights`.
    """
    case, control = np.zeros(len(stack.days)), np.zeros(len(stack.days))
    for visit in sorted(set(stack.visits[used].tolist())):
        own = used & (stack.visits == visit)
        case[own], control[own] = horizon_weights(stack.days[own], stack.events[own], horizon)
    return case, control
