"""Courses of another trial's subjects for the evaluation of the dynamic standard."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from dagster_project.domain.evaluation.courses import Course
from dagster_project.domain.external_trials.trial_grading import Graded
from dagster_project.domain.external_trials.trial_rows import TrialRow, complete_date, subject_of
from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.response.endpoints import Record, follow_up_of
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.progression_free import Survival, survival_or_reason

SITE = "trial"
"""In place of a hospital: tables of tumours name none."""

EPOCH = dt.date(2000, 1, 1)
"""Stands for the day of baseline of every subject, since only differences of days are used."""

Row = Mapping[str, Any]


class SeveralEvaluators(ValueError):
    """A trial whose visits several evaluators have graded, of whom one has to be chosen."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"the tables have assessments of {len(names)} evaluators: {_listed(names)}; choose one"
        )


class UnknownEvaluator(ValueError):
    """An evaluator that the tables do not have."""

    def __init__(self, name: str, names: Sequence[str]) -> None:
        super().__init__(f"no visit was graded by {name!r}; the tables have {_listed(names)}")


def _listed(names: Sequence[str]) -> str:
    """Names in quotation marks, since they hold commas."""
    return ", ".join(repr(name) for name in names)


def courses_of_trial(
    graded: Graded, dm: Sequence[TrialRow], endpoints: Rules, evaluator: str | None = None
) -> list[Course]:
    """Courses of one evaluator's subjects; days count from baseline.

    1. visits without a day from baseline are left out, and so are subjects without any other
    2. what a visit was graded is what was known then; blocks are as of today, and no CT is planned
    3. progression-free survival by RECIST 1.1 from baseline, deaths of DM; without one for any
       subject there is no overall survival

    Raises
    ------
    SeveralEvaluators
        Where there are several and none is named.
    UnknownEvaluator
        Where the one that is named has graded nothing.
    """
    chosen = _chosen(graded.visits["evaluator"].unique().sort().to_list(), evaluator)
    visits = graded.visits.filter(evaluator=chosen).drop_nulls(
        ["days_from_baseline", "overall_response"]
    )
    blocks = graded.blocks.filter(evaluator=chosen)
    of_blocks = blocks.partition_by("subject", as_dict=True)
    starts = _starts(graded.visits)
    deaths = _deaths(dm, starts)
    found = []
    for (subject,), rows in visits.sort("days_from_baseline").group_by(
        ["subject"], maintain_order=True
    ):
        own = [_visit(row) for row in rows.iter_rows(named=True)]
        of_subject = of_blocks.get((subject,))
        found.append(
            Course(
                patient=(SITE, str(subject)),
                visits=own,
                blocks=[] if of_subject is None else [_block(r) for r in of_subject.to_dicts()],
                baseline_day=0,
                progression=_progression(own, deaths.get(str(subject)), endpoints),
                death=_survival(own, deaths, str(subject)),
            )
        )
    return found


def _chosen(names: Sequence[str], evaluator: str | None) -> str:
    if evaluator is not None:
        if evaluator not in names:
            raise UnknownEvaluator(evaluator, names)
        return evaluator
    if len(names) > 1:
        raise SeveralEvaluators(names)
    return names[0] if names else ""


def _visit(row: Row) -> Row:
    """In the columns of `responses`; the day counts from baseline, on which treatment is taken."""
    day = row["days_from_baseline"]
    return {
        "visit": row["visit"],
        "day": day,
        "scan_date": EPOCH + dt.timedelta(day),
        "overall_response_as_of_visit": row["overall_response"],
        **{
            name: row[name]
            for name in (
                "overall_response",
                "irecist_response",
                "sum_mm",
                "baseline_sum_mm",
                "nadir_mm",
            )
        },
    }


def _block(row: Row) -> Row:
    """In the columns of `irecist_blocks`; without a day of today an open one has no status."""
    return {**row, "status": row["outcome"]}


def _starts(visits: pl.DataFrame) -> dict[str, dt.date]:
    """Date of baseline of each subject whose visits have dates."""
    dated = visits.drop_nulls(["first_date", "days_from_baseline"])
    return {
        subject: date - dt.timedelta(days)
        for subject, date, days in dated.select("subject", "date", "days_from_baseline").iter_rows()
    }


def _deaths(dm: Sequence[TrialRow], starts: Mapping[str, dt.date]) -> dict[str, int]:
    """Day of death from baseline."""
    dates = ((subject_of(row), complete_date(row("DTHDTC", "DTHDT"))) for row in dm)
    return {
        subject: (date - starts[subject]).days
        for subject, date in dates
        if date is not None and subject in starts
    }


def _progression(visits: Sequence[Row], died: int | None, endpoints: Rules) -> Survival | None:
    events = [] if died is None else [{"event": "death", "day": died, "event_date": EPOCH}]
    days = {BASELINE: 0, **{v["visit"]: v["day"] for v in visits}}
    record = Record(visits, days, treated=True, events=events)
    return survival_or_reason(follow_up_of(record, None), endpoints)[0]


def _survival(visits: Sequence[Row], deaths: Mapping[str, int], subject: str) -> Survival | None:
    if not deaths:
        return None
    if subject in deaths:
        return Survival(deaths[subject], event=True, reason="death")
    return Survival(visits[-1]["day"], event=False, reason="alive")
