"""A logistic model over hospitals: full-batch gradient descent on clipped gradients of patients.

With noise it is differentially private: each step is one sum to which a patient adds a vector of
norm at most `clip`, and `participant` adds one normal noise for all hospitals together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from dagster_project.federated.fixed_point import Floats
from dagster_project.federated.noise import clip_rows
from dagster_project.federated.rows import as_flags, as_table, check_units, same_rows
from dagster_project.statistics.logistic import sigmoid


@dataclass(frozen=True)
class LogisticPlan:
    """What all hospitals do alike.

    1. A column is taken about its centre in its unit, cut to ± `reach`; a missing value counts as
       the centre. Centres and units are the plan's: fitted on the patients they would cost privacy.
    2. From weights 0, `steps` times: w ← w − rate · (Σ g / patients + penalty · w), g each
       patient's gradient scaled to a norm of at most `clip`; the intercept has no penalty.
    3. The model is the mean of the weights over the last half of the steps, in which noise
       averages out.

    `patients` is a number that may be known, such as the planned one; the true one is not needed.
    """

    columns: tuple[str, ...]
    centres: tuple[float, ...]
    units: tuple[float, ...]
    patients: int
    steps: int
    clip: float
    rate: float
    penalty: float
    reach: float = 3.0

    def __post_init__(self) -> None:
        """Refuse settings with which no step is one."""
        check_units(self.units)
        above = (self.patients, self.steps, self.clip, self.rate, self.reach)
        sound = all(0 < v < np.inf for v in above) and 0 <= self.penalty < np.inf
        if not sound or not len(self.columns) == len(self.centres) == len(self.units):
            raise ValueError(
                "a logistic plan has a centre and a unit a column, and steps, clip, rate, reach "
                "and patients above 0; correct the plan"
            )

    @property
    def length(self) -> int:
        """Values of a vector: the intercept and each column."""
        return 1 + len(self.columns)

    def scaled(self, values: npt.ArrayLike) -> Floats:
        """Rows as the model takes them (patients, columns).

        Raises
        ------
        OtherColumns
        """
        table = (as_table(values, len(self.columns)) - self.centres) / self.units
        return np.clip(np.where(np.isnan(table), 0.0, table), -self.reach, self.reach)

    def probabilities(self, weights: Floats, values: npt.ArrayLike) -> Floats:
        """Of each patient (patients,)."""
        return sigmoid(weights[0] + self.scaled(values) @ weights[1:])


def gradients(
    plan: LogisticPlan, weights: Floats, values: npt.ArrayLike, labels: npt.ArrayLike
) -> Floats:
    """Each patient's gradient of the log loss, clipped (patients, length).

    Parameters
    ----------
    weights : float array (length,)
    values : float array (patients, columns)
        One row per patient: with several the bound would not hold.
    labels : bool array (patients,)

    Raises
    ------
    OtherColumns, RowsApart
    """
    marks, scaled = as_flags(labels), plan.scaled(values)
    same_rows(marks, scaled)
    design = np.hstack([np.ones((len(scaled), 1)), scaled])
    errors = sigmoid(design @ weights) - marks
    return clip_rows(errors[:, None] * design, plan.clip)


def step(plan: LogisticPlan, weights: Floats, total: Floats) -> Floats:
    """Weights after one step down the gradient of all hospitals."""
    penalised = np.concatenate([[0.0], weights[1:]])
    return weights - plan.rate * (total / plan.patients + plan.penalty * penalised)


def descent(plan: LogisticPlan) -> Generator[Floats, Floats, Floats]:
    """All steps of a plan: yields weights, gets the sum of all patients' gradients at them.

    Returns
    -------
    float array (length,)
        Intercept, then a weight a column, for scaled columns; the mean of the later half.
    """
    weights = np.zeros(plan.length)
    kept = []
    for _ in range(plan.steps):
        total = yield weights
        weights = step(plan, weights, total)
        kept.append(weights)
    return np.asarray(np.mean(kept[plan.steps // 2 :], axis=0), dtype=np.float64)


def descend(plan: LogisticPlan, total_of: Callable[[int, Floats], Floats]) -> Floats:
    """All steps of a plan; every hospital that has the same sums comes to the same model.

    Parameters
    ----------
    plan
        Allowed here. Each step is noted in the ledger before anything of it is sent.
    total_of
        Number of the step from 1, and weights → the sum of all patients' gradients (length,).

    Returns
    -------
    float array (length,)
        As `descent` has it.
    """
    steps = descent(plan)
    weights = next(steps)
    for number in count(1):
        total = total_of(number, weights)
        try:
            weights = steps.send(total)
        except StopIteration as done:
            return done.value
    raise AssertionError(plan.steps)
