"""Dynamic iRECIST: state, block and advice of each visit, which need no model and no gate.

It advises when to look again and never changes a response.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.response.dynamic_standard import Standard
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.irecist_blocks import FINAL, window_of
from dagster_project.domain.response.responses import ACCEPTED
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import DYNAMIC_IRECIST

ADVICE = {
    "controlled": "as_scheduled",
    "reset": "as_scheduled",
    "open": "ct_from_day_to_day",
    "confirmed": "bring_to_board",
    "closed": "none",
    "not_gradable": "none",
}
"""What is due in each state: the next CT and nothing of treatment."""

IN_BLOCK = ("iUPD", "iCPD", "iNE")
"""Responses that a visit within a block may have."""

NO_DAYS = "no date of a first cycle: no day is counted"

Row = Mapping[str, Any]
Patient = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a patient stands after a visit, by what was known then.

    `window` are the first and last day of an open block's window, from the first cycle.
    """

    state: str
    block: str | None = None
    window: tuple[int | None, int | None] = (None, None)


def derive_dynamic_irecist(
    responses: pl.DataFrame,
    blocks: pl.DataFrame,
    dhi: pl.DataFrame,
    sections: Mapping[str, Rules],
    standard: Standard,
) -> pl.DataFrame:
    """One row per patient and visit of the accepted responses.

    1. state and block status by `situations_of`, as of the visit; advice by ADVICE, that of an open
       block with the days of its window
    2. evidence: change of the sum from baseline; DHI from T0 to this visit

    The responses are copied. Probabilities are in dynamic_risk.

    Returns
    -------
    pl.DataFrame
        The table dynamic_irecist.
    """
    heterogeneity = {
        (h["site"], h["patient"], h["to_visit"]): h["dhi"]
        for h in dhi.iter_rows(named=True)
        if h["scope"] == "patient" and h["from_visit"] == BASELINE
    }
    own_blocks = _by_patient(blocks.filter(evaluator=ACCEPTED).sort("block"))
    accepted = responses.filter(evaluator=ACCEPTED).sort("scan_date", "visit", nulls_last=True)
    rows = []
    for who, visits in sorted(_by_patient(accepted).items()):
        situations = situations_of(visits, own_blocks[who], sections["irecist"])
        for visit, situation in zip(visits, situations, strict=True):
            evidence = heterogeneity.get((*who, visit["visit"]))
            rows.append(_row(visit, situation) | {"dhi": evidence})
    stamped = [
        {**row, "standard_version": standard.version, "standard_digest": standard.digest}
        for row in rows
    ]
    return pl.DataFrame(stamped, schema=polars_schema(DYNAMIC_IRECIST), orient="row")


def _by_patient(frame: pl.DataFrame) -> dict[Patient, list[Row]]:
    found: dict[Patient, list[Row]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        found[row["site"], row["patient"]].append(row)
    return found


def situations_of(visits: Sequence[Row], blocks: Sequence[Row], irecist: Rules) -> list[Situation]:
    """State of one patient after each visit, from that visit and earlier ones alone.

    1. a block that was open until this visit: confirmed by iCPD, reset by another response
    2. a block that an event closed before this visit: closed; after loss or the end of treatment
       a response ends that
    3. an open block: open; waiting at the iUPD and at a CT too early to confirm, unreadable where
       the visit is iNE, else standing
    4. no block: controlled; confirmed after iCPD; not_gradable where the visit is iNE or there was
       no disease; closed where it progressed after a death or a new therapy
    """
    return [
        _situation(visit, visits[: place + 1], blocks, irecist)
        for place, visit in enumerate(visits)
    ]


def _situation(
    visit: Row, so_far: Sequence[Row], blocks: Sequence[Row], irecist: Rules
) -> Situation:
    seen, response = {v["visit"] for v in so_far}, visit["irecist_response"]
    begun = [b for b in blocks if b["opened_visit"] in seen]
    block = begun[-1] if begun else None
    if block is not None and block["resolved_visit"] in seen:
        if block["outcome"] == "confirmed":
            return Situation("confirmed", "confirmed")
        if block["resolved_visit"] == visit["visit"]:
            return Situation("reset", "reset")
    elif block is not None and (response in IN_BLOCK or block["resolved_by"] in FINAL):
        return _within(visit, so_far, block, irecist)
    if response in {"iUPD", "iCPD"}:
        return Situation("closed", "closed")
    return Situation("not_gradable" if response in {"iNE", "iNED"} else "controlled")


def _within(visit: Row, so_far: Sequence[Row], block: Row, irecist: Rules) -> Situation:
    """A visit of a block that nothing has resolved yet."""
    day, ended = visit["day"], block["resolved_day"]
    if block["outcome"] == "closed" and (ended is None or day is None or ended < day):
        return Situation("closed", "closed")
    opened = next(v for v in so_far if v["visit"] == block["opened_visit"])
    early = _is_early(opened, visit, irecist)
    window = _window(opened, so_far, irecist)
    if early:
        return Situation("open", "waiting", window)
    status = "unreadable" if visit["irecist_response"] == "iNE" else "standing"
    return Situation("open", status, window)


def _is_early(opened: Row, visit: Row, irecist: Rules) -> bool:
    first, _ = window_of(0, 0, irecist)
    return bool((visit["scan_date"] - opened["scan_date"]).days < first)


def _window(opened: Row, so_far: Sequence[Row], irecist: Rules) -> tuple[int | None, int | None]:
    """Days in which the next CT confirms or resets, not before the visit that was just read.

    Past the window they are the day of the visit alone: the CT is overdue.
    """
    if opened["day"] is None:
        return None, None
    since = so_far[so_far.index(opened) :]
    counted = [
        v["day"]
        for v in since
        if v["irecist_response"] == "iUPD"
        and not (v is not opened and _is_early(opened, v, irecist))
    ]
    first, last = window_of(opened["day"], max(counted), irecist)
    soonest = max(first, so_far[-1]["day"])
    return soonest, max(soonest, last)


def _row(visit: Row, situation: Situation) -> dict[str, Any]:
    advice = ADVICE[situation.state]
    no_days = advice == "ct_from_day_to_day" and None in situation.window
    return {
        **{name: visit[name] for name in ("site", "patient", "visit", "day", "simulated")},
        "overall_response": visit["overall_response_as_of_visit"],
        "irecist_response": visit["irecist_response"],
        "state": situation.state,
        "block_status": situation.block,
        "advice": advice,
        "advice_from_day": situation.window[0],
        "advice_to_day": situation.window[1],
        "change_from_baseline_percent": visit["change_from_baseline_percent"],
        "reason": NO_DAYS if no_days else None,
    }
