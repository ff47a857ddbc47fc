"""Blocks of unconfirmed progression of the whole cohort, for the accepted read and each reader.

Brings the lake's rows to irecist_blocks.py and back.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dagster_project.domain.response.dynamic_standard import Standard
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.irecist_blocks import (
    NOT_READ,
    Event,
    ProgressionBlock,
    find_blocks,
)
from dagster_project.domain.response.planned_scans import NO_CYCLES, planned_scan_day
from dagster_project.domain.response.responses import ACCEPTED, Course, read_courses
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import IRECIST_BLOCKS

ENDED = "the block has ended: no CT is planned for it"
NO_FIRST_CYCLE = "no date of a first cycle: no day is counted"
FEW_READERS = "fewer readers than the protocol asks for have read the patient"

Row = Mapping[str, Any]
Patient = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Known:
    """What the lake holds of one patient beside the reads: events, cycles, and the day it is."""

    events: tuple[Row, ...]
    cycles: tuple[Row, ...]
    as_of: dt.date


def derive_irecist_blocks(
    reads: Mapping[str, pl.DataFrame],
    timepoints: pl.DataFrame,
    follow_up: pl.DataFrame,
    treatments: pl.DataFrame,
    clinical_status: pl.DataFrame,
    clock: pl.DataFrame,
    sections: Mapping[str, Rules],
    standard: Standard,
) -> pl.DataFrame:
    """One row per patient, evaluator and block.

    1. blocks by `find_blocks`, as of the patient's day; where the clock has none, as of the last
       day of which anything is known
    2. a reader's blocks only where as many readers as the protocol requires have read the patient
    3. `readers_agree`: each of these readers has a block of the same visit with the same outcome
    4. days from the first cycle; NULL, with the reason, where that has no date

    Parameters
    ----------
    reads
        Lesions by evaluator: `accepted`, and each reader's locked read.
    timepoints, follow_up, treatments, clinical_status
        Those tables.
    clock
        site, patient, as_of_date: the day of the run, shifted as the patient's dates.
    sections
        Sections of the protocol by name.
    standard
        Version and digest of the standard.

    Returns
    -------
    pl.DataFrame
        The table irecist_blocks.
    """
    known = _known(timepoints, follow_up, treatments, clock)
    courses = {
        name: read_courses(
            rows,
            timepoints,
            evaluator=name,
            irecist=sections["irecist"],
            clinical_status=clinical_status,
        )
        for name, rows in reads.items()
    }
    rows: list[dict[str, Any]] = []
    for patient in sorted({p for own in courses.values() for p in own}):
        own = {name: found[patient] for name, found in courses.items() if patient in found}
        rows += _rows_of(patient, own, known[patient], sections)
    stamped = [
        {**row, "standard_version": standard.version, "standard_digest": standard.digest}
        for row in rows
    ]
    return pl.DataFrame(stamped, schema=polars_schema(IRECIST_BLOCKS), orient="row")


def _known(
    timepoints: pl.DataFrame, follow_up: pl.DataFrame, treatments: pl.DataFrame, clock: pl.DataFrame
) -> dict[Patient, Known]:
    scans, events, cycles, days = (
        _by_patient(frame) for frame in (timepoints, follow_up, treatments, clock)
    )
    return {
        p: Known(
            tuple(events[p]), tuple(cycles[p]), _day_of(days[p], scans[p], events[p], cycles[p])
        )
        for p in scans
    }


def _by_patient(frame: pl.DataFrame) -> dict[Patient, list[Row]]:
    found: dict[Patient, list[Row]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        found[row["site"], row["patient"]].append(row)
    return found


def _day_of(
    clock: Sequence[Row], scans: Sequence[Row], events: Sequence[Row], cycles: Sequence[Row]
) -> dt.date:
    """The day of the run, else the last day of which anything is known."""
    if clock:
        return clock[0]["as_of_date"]
    days = [
        *(row["scan_date"] for row in scans),
        *(row["event_date"] for row in events),
        *(row["treatment_date"] for row in cycles),
    ]
    return max((day for day in days if day is not None), default=dt.date.min)


def _rows_of(
    patient: Patient, courses: Mapping[str, Course], known: Known, sections: Mapping[str, Rules]
) -> list[dict[str, Any]]:
    blocks = {name: _blocks_of(course, known, sections) for name, course in courses.items()}
    readers = [own for name, own in blocks.items() if name != ACCEPTED]
    enough = len(readers) >= sections["reads"]["blinded_readers"]
    shown = {name: own for name, own in blocks.items() if enough or name == ACCEPTED}
    return [
        {
            "site": patient[0],
            "patient": patient[1],
            "evaluator": name,
            **_row(block, courses[name], known, sections, readers if enough else ()),
        }
        for name, own in shown.items()
        for block in own
    ]


def _blocks_of(
    course: Course, known: Known, sections: Mapping[str, Rules]
) -> list[ProgressionBlock]:
    """Days are counted from the scan at T0, as the course counts them."""
    zero = course.baseline["scan_date"]
    events = [Event(e["event"], _days(e["event_date"], zero), e["detail"]) for e in known.events]
    return find_blocks(
        course.first,
        course.later,
        events,
        (known.as_of - zero).days,
        recist=sections["recist"],
        irecist=sections["irecist"],
    )


def _days(date: dt.date | None, zero: dt.date) -> int | None:
    return None if date is None else (date - zero).days


def _row(
    block: ProgressionBlock,
    course: Course,
    known: Known,
    sections: Mapping[str, Rules],
    readers: Sequence[Sequence[ProgressionBlock]],
) -> dict[str, Any]:
    offset = course.baseline["day"]
    planned, why_not_planned = _planned(block, course, known, sections)
    agree = _agree(block, readers) if readers else None
    reasons = [
        *block.why.values(),
        *([NO_FIRST_CYCLE] if offset is None else [why_not_planned]),
        *([FEW_READERS] if agree is None else []),
        *([NOT_READ] if _is_unread(block, course, known) else []),
    ]
    return {
        **{name: getattr(block, name) for name in _COPIED},
        **{name: _from_first_cycle(getattr(block, name), offset) for name in _DAYS},
        "block": block.number,
        "planned_scan_day": planned,
        "planned_inside": _is_inside(planned, block, offset),
        "readers_agree": agree,
        "as_of_date": known.as_of,
        "reason": "; ".join(dict.fromkeys(filter(None, reasons))) or None,
        "simulated": course.baseline["simulated"],
    }


_DAYS = ("opened_day", "resolved_day", "confirm_from_day", "confirm_to_day")

_COPIED = (
    "opened_visit",
    "categories",
    "outcome",
    "status",
    "resolved_visit",
    "resolved_by",
    "days_open",
    "nadir_mm",
    "sum_at_open_mm",
    "smallest_since_mm",
    "confirm_if_sum_mm",
    "reset_below_mm",
    "confirms_also",
)


def _from_first_cycle(day: int | None, offset: int | None) -> int | None:
    return None if day is None or offset is None else day + offset


def _planned(
    block: ProgressionBlock, course: Course, known: Known, sections: Mapping[str, Rules]
) -> tuple[int | None, str | None]:
    """Day of the next planned CT, or why there is none."""
    if block.outcome != "open":
        return None, ENDED
    offset = course.baseline["day"]
    if offset is None:
        return None, NO_FIRST_CYCLE
    seen = [row for row in course.rows if row["scan_date"] <= known.as_of]
    day = planned_scan_day(
        {
            c["cycle"]: c["day"]
            for c in known.cycles
            if c["day"] is not None and c["treatment_date"] <= known.as_of
        },
        {row["visit"] for row in seen},
        max((row["day"] for row in seen), default=offset),
        offset + (known.as_of - course.baseline["scan_date"]).days,
        timepoints=sections["timepoints"],
        endpoints=sections["endpoints"],
    )
    return day, NO_CYCLES if day is None else None


def _is_inside(planned: int | None, block: ProgressionBlock, offset: int | None) -> bool | None:
    first, last = block.confirm_from_day, block.confirm_to_day
    if planned is None or first is None or last is None or offset is None:
        return None
    return first <= planned - offset <= last


def _agree(block: ProgressionBlock, readers: Iterable[Sequence[ProgressionBlock]]) -> bool:
    same = (block.opened_visit, block.outcome)
    return all(same in {(b.opened_visit, b.outcome) for b in own} for own in readers)


def _is_unread(block: ProgressionBlock, course: Course, known: Known) -> bool:
    """Whether the last CT of an open block has no findings yet."""
    seen = [row["visit"] for row in course.rows if row["scan_date"] <= known.as_of]
    return block.outcome == "open" and bool(seen) and seen[-1] not in course.read
