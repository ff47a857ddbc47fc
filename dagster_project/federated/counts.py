"""Counts that add up over hospitals, and the figures that are read from their sum.

Each query says how long its vector is, how a hospital fills it, and what a sum means. A sum is read
by the same statistics that the study uses for its own tables (`dagster_project.statistics`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from dagster_project.federated.fixed_point import Floats
from dagster_project.federated.refusals import NotCounts, UnknownGroup
from dagster_project.federated.rows import as_flags, same_rows
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.roc import auc_delong
from dagster_project.statistics.survival import KaplanMeier, LogRank, kaplan_meier, log_rank

Counts = npt.NDArray[np.int64]


def whole_numbers(total: Floats) -> Counts:
    """A sum of counts as counts.

    Raises
    ------
    NotCounts
        Where a value is negative or no whole number: somebody summed something else, or noise was
        added.
    """
    counts = np.rint(total).astype(np.int64)
    if (counts < 0).any() or not np.array_equal(counts, total):
        raise NotCounts
    return counts


def rows_of(slots: Counts, length: int) -> Floats:
    """One row per patient with 1 in the patient's slot: what is handed over where noise is added.

    A row has the norm 1, which is what a patient may move a sum by.

    Parameters
    ----------
    slots : int array (patients,)
        Below `length`.
    length
        Values of a vector.

    Returns
    -------
    float array (patients, length)
    """
    rows = np.zeros((slots.size, length))
    rows[np.arange(slots.size), slots] = 1.0
    return rows


def _summed(slots: Counts, length: int) -> Floats:
    return np.bincount(slots, minlength=length).astype(np.float64)


@dataclass(frozen=True)
class CountsByArm:
    """Patients of each arm; with `hospitals` those of each hospital apart, in slots of its own."""

    arms: tuple[str, ...]
    hospitals: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Values of a vector."""
        return len(self.arms) * max(1, len(self.hospitals))

    def vector(self, hospital: str, arms: Sequence[str]) -> Floats:
        """A hospital's vector: patients by slot (`slots`)."""
        return _summed(self.slots(hospital, arms), self.length)

    def slots(self, hospital: str, arms: Sequence[str]) -> Counts:
        """The slot of each patient (patients,).

        Parameters
        ----------
        hospital
            Its code.
        arms
            Of each patient.

        Raises
        ------
        UnknownGroup
            Where an arm or the hospital is not in the plan.
        """
        row = _positions([hospital], self.hospitals)[0] if self.hospitals else 0
        return row * len(self.arms) + np.array(_positions(arms, self.arms), dtype=np.int64)

    def read(self, total: Floats) -> dict[str, dict[str, int]]:
        """Patients by hospital and arm; of all hospitals together under the name `all`.

        Raises
        ------
        NotCounts
        """
        rows = whole_numbers(total).reshape(-1, len(self.arms)).tolist()
        names = self.hospitals or ("all",)
        return {
            name: dict(zip(self.arms, row, strict=True))
            for name, row in zip(names, rows, strict=True)
        }


def _positions(values: Sequence[str], known: Sequence[str]) -> list[int]:
    where = {name: i for i, name in enumerate(known)}
    unknown = sum(value not in where for value in values)
    if unknown:
        raise UnknownGroup(unknown)
    return [where[value] for value in values]


@dataclass(frozen=True)
class SurvivalOfGroups:
    """A Kaplan-Meier curve a group with patients, and the log-rank test where it exists."""

    curves: Mapping[str, KaplanMeier]
    log_rank: LogRank | None


@dataclass(frozen=True)
class DayGrid:
    """Times to an event on a grid of days, by group.

    1. A time is taken to the end of its cell: day d, in cells of `width` days, counts as
       ceil(d / width) · width; with a width of 1 and whole days nothing changes.
    2. Who is observed beyond `last_day` is censored there.
    """

    groups: tuple[str, ...]
    last_day: int
    width: int = 1

    @property
    def days(self) -> Floats:
        """The ends of the cells, from 0."""
        return np.arange(ceil(self.last_day / self.width) + 1, dtype=np.float64) * self.width

    @property
    def length(self) -> int:
        """Values of a vector: of each group, events and then censored times by cell."""
        return len(self.groups) * 2 * self.days.size

    def vector(self, days: npt.ArrayLike, events: npt.ArrayLike, groups: Sequence[str]) -> Floats:
        """A hospital's vector: patients by slot (`slots`)."""
        return _summed(self.slots(days, events, groups), self.length)

    def slots(self, days: npt.ArrayLike, events: npt.ArrayLike, groups: Sequence[str]) -> Counts:
        """The slot of each patient (n,).

        Parameters
        ----------
        days : float array (n,)
            0 or more.
        events : bool array (n,)
        groups
            Of each patient.

        Raises
        ------
        UnknownGroup
            Where a group is not in the plan.
        RowsApart
            Where an event is neither true nor false, or there is not one a time.
        ValueError
            Where a time is negative or no number.
        """
        cells, died = self.on_grid(days, events)
        same_rows(cells, died, groups)
        group = np.array(_positions(groups, self.groups), dtype=np.int64)
        return (2 * group + ~died) * self.days.size + cells

    def on_grid(
        self, days: npt.ArrayLike, events: npt.ArrayLike
    ) -> tuple[Counts, npt.NDArray[np.bool_]]:
        """Cell of each time, and whether it ends in an event within the grid."""
        times = np.asarray(days, dtype=np.float64)
        if not (np.isfinite(times) & (times >= 0)).all():
            raise ValueError("a time to an event is a number of days, 0 or more")
        marks = as_flags(events)
        same_rows(times, marks)
        cells = np.ceil(times / self.width).astype(np.int64)
        beyond = cells >= self.days.size
        died = marks & ~beyond
        return np.minimum(cells, self.days.size - 1), died

    def read(self, total: Floats) -> SurvivalOfGroups:
        """Curves and log-rank test, as `statistics.survival` has them of the times on the grid.

        Raises
        ------
        NotCounts
        """
        counts = whole_numbers(total).reshape(len(self.groups), 2, self.days.size)
        group, censored, cell = (
            np.repeat(i, counts.ravel()) for i in np.indices(counts.shape).reshape(3, -1)
        )
        days, events = self.days[cell], censored == 0
        curves = {
            name: kaplan_meier(days[group == i], events[group == i])
            for i, name in enumerate(self.groups)
            if (group == i).any()
        }
        testable = len(curves) > 1 and bool(events.any())
        test = log_rank(days.tolist(), events.tolist(), group.tolist()) if testable else None
        return SurvivalOfGroups(curves, test)


@dataclass(frozen=True)
class BinnedAuc:
    """The AUC of scores in bins, and how far it can be from that of the scores themselves.

    `reach` is half the share of pairs of a responder and a non-responder within one bin.
    """

    auc: Estimate
    reach: float | None


@dataclass(frozen=True)
class ScoreBins:
    """Scores from 0 to 1 in equal bins, by class, for the AUC with DeLong's interval.

    Patients of one bin count as ties. A single model must have given the scores, which had seen
    none of the patients.
    """

    bins: int = 2000

    @property
    def length(self) -> int:
        """Values of a vector: non-responders and then responders by bin."""
        return 2 * self.bins

    def vector(self, labels: npt.ArrayLike, scores: npt.ArrayLike) -> Floats:
        """A hospital's vector: patients by slot (`slots`)."""
        return _summed(self.slots(labels, scores), self.length)

    def slots(self, labels: npt.ArrayLike, scores: npt.ArrayLike) -> Counts:
        """The slot of each patient (n,).

        Parameters
        ----------
        labels : bool array (n,)
        scores : float array (n,)
            Within 0 and 1.

        Raises
        ------
        RowsApart
            Where a label is neither true nor false, or there is not one a score.
        ValueError
            Where a score is outside.
        """
        values = np.asarray(scores, dtype=np.float64)
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("a score is a number within 0 and 1")
        marks = as_flags(labels)
        same_rows(marks, values)
        return marks * self.bins + self.bin_of(values)

    def bin_of(self, scores: Floats) -> Counts:
        """The bin of each score; 1 is in the last."""
        return np.minimum((scores * self.bins).astype(np.int64), self.bins - 1)

    def read(self, total: Floats) -> BinnedAuc:
        """The AUC as `statistics.roc.auc_delong` has it of the bins' numbers.

        Raises
        ------
        NotCounts
        """
        counts = whole_numbers(total).reshape(2, self.bins)
        labels, bins = (
            np.repeat(i, counts.ravel()) for i in np.indices(counts.shape).reshape(2, -1)
        )
        pairs = int(counts[0].sum()) * int(counts[1].sum())
        reach = float(counts[0] @ counts[1]) / (2 * pairs) if pairs else None
        if not labels.size:
            return BinnedAuc(Estimate(None, reason="no patients"), None)
        return BinnedAuc(auc_delong(labels.astype(bool), bins.astype(np.float64)), reach)
