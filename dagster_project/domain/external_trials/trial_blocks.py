"""Blocks of unconfirmed progression of another trial, by subject and evaluator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from dagster_project.domain.external_trials.trial_findings import Who
from dagster_project.domain.external_trials.trial_rows import TrialRow, complete_date, subject_of
from dagster_project.domain.external_trials.trial_visits import TrialCourse
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.irecist_blocks import Event, ProgressionBlock, find_blocks

BLOCKS: Mapping[str, Any] = {
    "subject": pl.String,
    "evaluator": pl.String,
    "block": pl.Int64,
    "opened_visit": pl.String,
    "opened_day": pl.Int64,
    "categories": pl.List(pl.String),
    "at_first_visit": pl.Boolean,
    "rescanned": pl.Boolean,
    "outcome": pl.String,
    "resolved_visit": pl.String,
    "resolved_day": pl.Int64,
    "resolved_by": pl.String,
    "nadir_mm": pl.Float64,
    "sum_at_open_mm": pl.Float64,
    "smallest_since_mm": pl.Float64,
    "confirm_from_day": pl.Int64,
    "confirm_to_day": pl.Int64,
    "confirm_if_sum_mm": pl.Float64,
    "reset_below_mm": pl.Float64,
    "confirms_also": pl.List(pl.String),
    "reason": pl.String,
}
"""Columns of the table of blocks: days from baseline; an outcome is as of the last row."""

_SAME = (
    "categories",
    "rescanned",
    "outcome",
    "resolved_by",
    "nadir_mm",
    "sum_at_open_mm",
    "smallest_since_mm",
    "confirm_if_sum_mm",
    "reset_below_mm",
    "confirms_also",
)

_DAYS = ("opened_day", "resolved_day", "confirm_from_day", "confirm_to_day")


def blocks_of_trial(
    courses: Mapping[Who, TrialCourse], dm: Sequence[TrialRow], recist: Rules, irecist: Rules
) -> pl.DataFrame:
    """Blocks of every course with a baseline, by `find_blocks`; deaths are those of DM.

    `rescanned` says that any later CT lies in the block, one too early to confirm included.
    """
    dates = ((subject_of(row), complete_date(row("DTHDTC", "DTHDT"))) for row in dm)
    died = {subject: date.toordinal() for subject, date in dates if date is not None}
    rows = [
        row
        for who, course in courses.items()
        for row in _rows(who, course, died.get(who[0]), recist, irecist)
    ]
    return pl.DataFrame(rows, schema=dict(BLOCKS)).sort(
        "subject", "evaluator", "block", maintain_order=True
    )


def _rows(
    who: Who, course: TrialCourse, died: int | None, recist: Rules, irecist: Rules
) -> Iterator[dict[str, Any]]:
    ready = course.for_engines()
    if ready is None or course.baseline is None:
        return
    dated = course.baseline.first_date is not None
    events = [Event("death", died)] if died is not None and dated else []
    names = {visit.key: visit.name for visit in course.later}
    for block in find_blocks(*ready, events, None, recist=recist, irecist=irecist):
        yield _row(who, block, names, course.baseline.day)


def _row(
    who: Who, block: ProgressionBlock, names: Mapping[str, str], zero: int | None
) -> dict[str, Any]:
    days = {name: getattr(block, name) for name in _DAYS}
    return {
        "subject": who[0],
        "evaluator": who[1],
        "block": block.number,
        "opened_visit": names[block.opened_visit],
        "at_first_visit": block.first_visit,
        "resolved_visit": names.get(block.resolved_visit or ""),
        **{name: None if d is None or zero is None else d - zero for name, d in days.items()},
        **{name: getattr(block, name) for name in _SAME},
        "reason": "; ".join(dict.fromkeys(block.why.values())) or None,
    }
