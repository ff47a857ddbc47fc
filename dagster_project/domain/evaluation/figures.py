"""One figure of the evaluation, and what the number of events allows to be said."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dagster_project.domain.response.findings import Rules
from dagster_project.statistics.binomial import proportion
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.jackknife import jackknife_reach

ALL_SITES = "*"

TOO_FEW = "not estimable: {fewer} of the rarer outcome among {n}, at least {minimum} are needed"
FEW_EVENTS = "not estimable: {events} events of {n}, at least {minimum} are needed"
NOBODY = "not estimable: nobody is of this population"
FEW_PATIENTS = "not estimable: n = {n}, at least {minimum} are needed"


@dataclass(frozen=True, slots=True)
class Population:
    """Whom a figure is over: visits or blocks, of one hospital or of all."""

    question: str
    name: str = "all"
    site: str = ALL_SITES


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of `dynamic_evaluation`; of `n` visits or blocks `events` have the event."""

    population: Population
    comparator: str
    statistic: str
    unit: str
    found: Estimate
    n: int
    events: int | None = None

    @property
    def estimable(self) -> bool:
        """Whether there is a value."""
        return self.found.value is not None


def withheld(
    population: Population, comparator: str, statistic: str, unit: str, reason: str, n: int = 0
) -> Figure:
    """A figure that cannot be given, with its reason."""
    return Figure(population, comparator, statistic, unit, Estimate(None, reason=reason), n)


def share(population: Population, comparator: str, statistic: str, count: int, n: int) -> Figure:
    """A proportion with its exact interval; any n above 0 allows it, the interval says how much."""
    found = proportion(count, n) if n else Estimate(None, reason=NOBODY)
    return Figure(population, comparator, statistic, "share", found, n, count)


def mean_days(
    population: Population, comparator: str, statistic: str, days: Sequence[float], rules: Rules
) -> Figure:
    """Mean over patients with Student's interval; not of fewer than events are needed."""
    unit, n, minimum = "d", len(days), rules["events_minimum"]
    if n < minimum:
        why = FEW_PATIENTS.format(n=n, minimum=minimum) if n else NOBODY
        return withheld(population, comparator, statistic, unit, why, n)
    return Figure(population, comparator, statistic, unit, mean_of(np.array(days, float)), n)


def mean_of(values: np.ndarray) -> Estimate:
    """Mean of two values or more with Student's interval, by leaving out each in turn."""
    without = (values.sum() - values) / (values.size - 1)
    reach = float(jackknife_reach(without))
    mean = float(values.mean())
    return Estimate(mean, mean - reach, mean + reach)


def too_few(n: int, events: int, rules: Rules) -> str | None:
    """Why two outcomes cannot be told apart by so few; None where they can."""
    fewer = min(events, n - events)
    if not n:
        return NOBODY
    minimum = rules["events_minimum"]
    return TOO_FEW.format(fewer=fewer, n=n, minimum=minimum) if fewer < minimum else None


def too_few_events(n: int, events: int, rules: Rules) -> str | None:
    """Why times cannot be put in order by so few events; None where they can."""
    if not n:
        return NOBODY
    minimum = rules["events_minimum"]
    return FEW_EVENTS.format(events=events, n=n, minimum=minimum) if events < minimum else None


def judged(
    population: Population,
    comparator: str,
    statistic: str,
    compute: Callable[[], Estimate],
    counts: tuple[int, int],
    why: str | None,
) -> Figure:
    """A figure without a unit, of n rows with so many events; not computed where `why` is given."""
    found = Estimate(None, reason=why) if why else compute()
    return Figure(population, comparator, statistic, "1", found, *counts)


def folds_of(patients: Sequence[tuple[str, str]], folds: int) -> np.ndarray:
    """The fold of each row, all rows of a patient in one; by the order of their names' digests.

    Parameters
    ----------
    patients
        The patient of each row.
    folds
        Number of folds; fewer where there are fewer patients.

    Returns
    -------
    int array (rows,)
    """
    order = sorted(set(patients), key=_digest)
    number = {patient: place % folds for place, patient in enumerate(order)}
    return np.array([number[p] for p in patients], dtype=np.int64)


def _digest(patient: tuple[str, str]) -> str:
    return hashlib.sha256("/".join(patient).encode()).hexdigest()
