"""Which rows of another trial belong to one assessment.

Visits that share a number or a name are separated by their dates.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dagster_project.domain.external_trials.trial_rows import (
    SEPARATED,
    Flags,
    TrialRow,
    complete_date,
    date_text,
    evaluator_of,
    lesion_label,
    subject_of,
    visit_key,
    visit_name,
)

Shared = tuple[str, str, str]
"""Subject, evaluator and what identifies the visit."""

ONE_ASSESSMENT_DAYS = 14
"""Most days from the first to the last image of one unscheduled assessment.

A CT and a bone scan lie closer, two assessments farther.
"""

UNSCHEDULED = re.compile(r"UNSCH|UNPLAN|INTERIM|EXTRA|计划外", re.IGNORECASE)


def is_unscheduled(row: TrialRow) -> bool:
    """Whether the visit has no place in the schedule: no number, or a name that says so."""
    return not row("VISITNUM") or bool(UNSCHEDULED.search(visit_name(row)))


def separate_visits(flags: Flags, *domains: Sequence[TrialRow]) -> list[list[TrialRow]]:
    """The rows of TU, TR and RS, with visits that are several in truth separated.

    Rows of such a visit have its date as identity (`SEPARATED`).

    Rows of one subject and evaluator under one number (else name) are several assessments, each
    from one date to the next, where

    1. one lesion has one test on two dates; or
    2. the visit is unscheduled, and the dates lie more than `ONE_ASSESSMENT_DAYS` apart.

    Rows without a complete date stay with the first of them. A row belongs to the last assessment
    that began by its date; one without an evaluator to those of any evaluator. SDTMIG: unplanned
    visits may have no VISITNUM; the date identifies them.
    """
    starts: dict[Shared, list[dt.date]] = {}
    for (subject, evaluator, visit), rows in sorted(_by_visit(domains).items()):
        found = _starts(rows)
        if len(found) > 1:
            starts[subject, evaluator, visit] = found
            starts.setdefault((subject, "", visit), found)
            what = f"{len(found)} assessments under one visit: identified by their dates"
            flags.add("visit_separated", rows[0], what)
    return [[_separated(row, starts) for row in rows] for rows in domains]


def _by_visit(domains: Iterable[Sequence[TrialRow]]) -> Mapping[Shared, list[TrialRow]]:
    found: dict[Shared, list[TrialRow]] = defaultdict(list)
    for rows in domains:
        for row in rows:
            found[_shared(row)].append(row)
    return found


def _shared(row: TrialRow) -> Shared:
    return (subject_of(row), evaluator_of(row), visit_key(row))


def _starts(rows: Sequence[TrialRow]) -> list[dt.date]:
    """The first date of each assessment among the rows of a visit, in order."""
    by_date: dict[dt.date, list[TrialRow]] = defaultdict(list)
    for row in rows:
        date = complete_date(date_text(row))
        if date is not None:
            by_date[date].append(row)
    starts: list[dt.date] = []
    seen: set[tuple[str, ...]] = set()
    for date, own in sorted(by_date.items()):
        measured = {_measurement(row) for row in own} - {()}
        apart = starts and (date - starts[-1]).days > ONE_ASSESSMENT_DAYS and is_unscheduled(own[0])
        if not starts or apart or measured & seen:
            starts.append(date)
            seen = set()
        seen |= measured
    return starts


def _measurement(row: TrialRow) -> tuple[str, ...]:
    """Lesion and test of a row of TR, or the test of a row of RS.

    Nothing of a row of TU, which may name a lesion again.
    """
    test = row("TRTESTCD", "RSTESTCD")
    return (lesion_label(row), test, row("RSCAT")) if test else ()


def _separated(row: TrialRow, starts: Mapping[Shared, list[dt.date]]) -> TrialRow:
    own = starts.get(_shared(row))
    if own is None:
        return row
    date = complete_date(date_text(row))
    began = [start for start in own if date is not None and start <= date] or own[:1]
    name = f"{visit_key(row)} {began[-1].isoformat()}"
    return replace(row, cells={**row.cells, SEPARATED: name})
