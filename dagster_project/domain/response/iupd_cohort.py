"""What the next evaluable CT showed of each unconfirmed progression: the labels of that question.

They are hindsight, and no response: a state or page never reads them as such.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from dagster_project.domain.response.comparison_classes import (
    FIRST,
    LATER,
    Resolved,
    class_label,
    margin_class,
    opening_margin,
)
from dagster_project.domain.response.dynamic_standard import Standard
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.irecist import window_begins
from dagster_project.domain.response.responses import ACCEPTED
from dagster_project.domain.response.sum_error import ReaderError
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import IUPD_COHORT

Row = Mapping[str, Any]

NOT_BY_TARGETS = "progression did not begin in target lesions: it has no class"
CLOSED_BEFORE = "closed before an evaluable CT: {event}"
NOT_SCANNED = "no evaluable CT since the iUPD"


def derive_iupd_cohort(
    responses: pl.DataFrame,
    blocks: pl.DataFrame,
    error: ReaderError,
    sections: Mapping[str, Rules],
    standard: Standard,
) -> pl.DataFrame:
    """One row per block of the accepted read, whatever became of it.

    1. its margin in reader errors and its class, by what was known at the iUPD; none where it did
       not begin in targets
    2. the next evaluable CT (`next_evaluable`): its visit, day and response
    3. confirmed or reset where that CT ended the block, else open; NULL with the reason without one

    Returns
    -------
    pl.DataFrame
        The table iupd_cohort.
    """
    visits: dict[tuple[str, str], list[Row]] = defaultdict(list)
    accepted = responses.filter(evaluator=ACCEPTED).sort("scan_date", "visit", nulls_last=True)
    for row in accepted.iter_rows(named=True):
        visits[row["site"], row["patient"]].append(row)
    own = blocks.filter(evaluator=ACCEPTED).sort("site", "patient", "block")
    stamp = {"standard_version": standard.version, "standard_digest": standard.digest}
    rows = [
        _row(block, visits[block["site"], block["patient"]], error, sections) | stamp
        for block in own.iter_rows(named=True)
    ]
    return pl.DataFrame(rows, schema=polars_schema(IUPD_COHORT), orient="row")


def next_evaluable(block: Row, visits: Sequence[Row], irecist: Rules) -> Row | None:
    """The first CT after the iUPD that could tell what became of it; None without one.

    1. a CT that is iNE tells nothing
    2. a CT before the first day on which iRECIST confirms tells nothing, unless it ended the block
    3. a CT after the event that closed the block does not count

    Parameters
    ----------
    visits
        Rows of `responses` of one patient and read, in order of date.
    """
    place = next((n for n, v in enumerate(visits) if v["visit"] == block["opened_visit"]), None)
    if place is None or visits[place]["scan_date"] is None:
        return None
    opened = visits[place]["scan_date"]
    closed = block["resolved_day"] if block["outcome"] == "closed" else None
    for visit in visits[place + 1 :]:
        if closed is not None and visit["day"] is not None and visit["day"] > closed:
            return None
        if visit["irecist_response"] == "iNE" or visit["scan_date"] is None:
            continue
        early = (visit["scan_date"] - opened).days < window_begins(0, irecist)
        if not early or visit["visit"] == block["resolved_visit"]:
            return visit
    return None


def next_outcome(block: Row, visit: Row | None) -> str | None:
    """What the next evaluable CT made of a block: confirmed, reset, or still open."""
    if visit is None:
        return None
    ended = block["resolved_visit"] == visit["visit"]
    return str(block["outcome"]) if ended else "open"


def _row(
    block: Row, visits: Sequence[Row], error: ReaderError, sections: Mapping[str, Rules]
) -> dict[str, Any]:
    margin = opening_margin(block, error.value, sections["recist"])
    edges = sections["dynamic"]["class_edges"]
    number = None if margin is None else margin_class(margin, edges)
    at_first = bool(visits) and visits[0]["visit"] == block["opened_visit"]
    when = FIRST if at_first else LATER
    visit = next_evaluable(block, visits, sections["irecist"])
    days = None if visit is None else _days(visits, block, visit)
    return {
        **{n: block[n] for n in ("site", "patient", "block", "opened_visit", "opened_day")},
        "opened_at": when,
        "margin": margin,
        "margin_class": number,
        "class_label": None if number is None else class_label(number, when, edges),
        "next_visit": None if visit is None else visit["visit"],
        "days_to_next": days,
        "next_response": None if visit is None else visit["irecist_response"],
        "next_outcome": next_outcome(block, visit),
        "outcome": block["outcome"],
        "reason": "; ".join(_reasons(block, margin, visit)) or None,
        "simulated": block["simulated"],
    }


def _days(visits: Sequence[Row], block: Row, visit: Row) -> int:
    opened = next(v for v in visits if v["visit"] == block["opened_visit"])
    return int((visit["scan_date"] - opened["scan_date"]).days)


def _reasons(block: Row, margin: float | None, visit: Row | None) -> list[str]:
    found = [NOT_BY_TARGETS] if margin is None else []
    if visit is None:
        closed = block["outcome"] == "closed"
        found.append(CLOSED_BEFORE.format(event=block["resolved_by"]) if closed else NOT_SCANNED)
    return found


def labelled(cohort: pl.DataFrame) -> list[Resolved]:
    """The rows that have a class and a next evaluable CT, as comparison classes count them."""
    known = cohort.drop_nulls(["margin_class", "next_outcome"])
    names = ("site", "patient", "margin_class", "opened_at", "next_outcome")
    return [
        Resolved((site, patient), number, when, outcome)
        for site, patient, number, when, outcome in known.select(names).iter_rows()
    ]
