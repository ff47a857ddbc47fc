"""The dynamic layer: the block decides, whatever came before or comes later."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.domain.response.dynamic import NO_DAYS, derive_dynamic_irecist
from dagster_project.domain.response.dynamic_standard import Standard
from dagster_project.domain.response.irecist import assess_irecist
from dagster_project.domain.response.irecist_blocks import Event, find_blocks
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import DYNAMIC_IRECIST
from tests.domain.courses import IRECIST, RECIST, STUDY, course
from tests.domain.records import DAY_ZERO, table
from tests.domain.test_response_invariants import drawn_courses

EARLY = IRECIST["confirmation_earliest_days"] - IRECIST["confirmation_tolerance_days"]
LATE = IRECIST["confirmation_latest_days"] + IRECIST["confirmation_tolerance_days"]


def rows_of(baseline, visits, events=()):
    """Rows of responses and irecist_blocks as the lake has them: V1 is T1, V2 is T2, V3 is V3."""
    names = {v.name: f"T{n}" if n <= 2 else f"V{n}" for n, v in enumerate(visits, start=1)}
    graded = assess_irecist(baseline, visits, RECIST, IRECIST)
    responses = [
        {
            "visit": names[a.visit],
            "evaluator": "accepted",
            "day": a.day,
            "scan_date": DAY_ZERO + timedelta(a.day),
            "irecist_response": a.response,
            "overall_response_as_of_visit": "SD",
        }
        for a in graded
    ]
    found = find_blocks(baseline, visits, events, None, recist=RECIST, irecist=IRECIST)
    blocks = [
        {
            "evaluator": "accepted",
            "block": b.number,
            "opened_visit": names[b.opened_visit],
            "opened_day": b.opened_day,
            "outcome": b.outcome,
            "resolved_visit": names.get(b.resolved_visit),
            "resolved_day": b.resolved_day,
            "resolved_by": b.resolved_by,
        }
        for b in found
    ]
    return table("responses", *responses), table("irecist_blocks", *blocks)


def derive(drawn=None, events=(), without_days=False):
    responses, blocks = rows_of(*(drawn or course(L1=[100, 95])), events)
    if without_days:
        responses = responses.with_columns(day=pl.lit(None, pl.Int32))
    dhi = table(
        "dhi",
        {"scope": "patient", "lesion": "*", "from_visit": "T0", "to_visit": "T1", "dhi": 1.4},
        {"scope": "lesion", "lesion": "L1", "from_visit": "T0", "to_visit": "T1", "dhi": 9.0},
    )
    found = derive_dynamic_irecist(responses, blocks, dhi, STUDY.sections, Standard("1", "d" * 16))
    assert found.schema == polars_schema(DYNAMIC_IRECIST)
    return {row["visit"]: row for row in found.to_dicts()}


def states(written, events=()):
    found = derive(course(**written), [Event(*e) for e in events])
    return [(r["state"], r["block_status"], r["advice"]) for r in found.values()]


CONTROLLED = ("controlled", None, "as_scheduled")
WAITING = ("open", "waiting", "ct_from_day_to_day")
STANDING = ("open", "standing", "ct_from_day_to_day")
UNREADABLE = ("open", "unreadable", "ct_from_day_to_day")
RESET = ("reset", "reset", "as_scheduled")
CONFIRMED = ("confirmed", "confirmed", "bring_to_board")
CLOSED = ("closed", "closed", "none")
NOT_GRADABLE = ("not_gradable", None, "none")


@pytest.mark.parametrize(
    ("written", "events", "expected"),
    [
        ({"L1": [100, 95, 60]}, (), [CONTROLLED, CONTROLLED]),
        ({"L1": [100, 130, 131, 140]}, (), [WAITING, STANDING, CONFIRMED]),
        ({"L1": [100, 130, 136, 90]}, (), [WAITING, CONFIRMED, CONFIRMED]),
        ({"L1": [100, 130, 60, 60]}, (), [WAITING, RESET, CONTROLLED]),
        ({"L1": [100, 130, None, 131]}, (), [WAITING, UNREADABLE, STANDING]),
        ({"L1": [100, 130, 60, 140]}, (), [WAITING, RESET, WAITING]),
        ({"L1": [100, None]}, (), [NOT_GRADABLE]),
        ({"L1": [100, 130, 131], "days": [0, 42, 50]}, (), [WAITING, WAITING]),
        ({"L1": [100, 130, 131]}, [("lost", 60)], [WAITING, CLOSED]),
        ({"L1": [100, 130, 95]}, [("lost", 60)], [WAITING, CONTROLLED]),
        ({"L1": [100, 130, 95]}, [("new_therapy", 60)], [WAITING, CLOSED]),
        ({"L1": [100, 100, 130]}, [("new_therapy", 60)], [CONTROLLED, CLOSED]),
    ],
)
def test_state_block_and_advice(written, events, expected):
    assert states(written, events) == expected


def test_the_days_of_the_next_ct_are_those_of_the_window_as_of_the_visit():
    found = derive(course(L1=[100, 130, 131, 132]))
    days = [(r["advice_from_day"], r["advice_to_day"]) for r in found.values()]
    assert days == [(42 + EARLY, 42 + LATE), (84, 84 + LATE), (126, 126 + LATE)]
    assert derive()["T1"]["advice_from_day"] is None


def test_a_ct_that_cannot_be_read_past_the_window_asks_for_the_next_one_at_once():
    found = derive(course(L1=[100, 130, None], days=[0, 42, 42 + LATE + 5]))["T2"]
    assert (found["block_status"], found["advice_from_day"], found["advice_to_day"]) == (
        "unreadable",
        42 + LATE + 5,
        42 + LATE + 5,
    )


def test_change_and_dhi_from_baseline_stand_beside_it():
    assert derive()["T1"]["dhi"] == 1.4


def test_without_a_first_cycle_there_are_no_days_and_a_reason():
    found = derive(course(L1=[100, 130]), without_days=True)["T1"]
    assert (found["advice"], found["advice_from_day"]) == ("ct_from_day_to_day", None)
    assert NO_DAYS in found["reason"]


EVENTS = st.lists(
    st.builds(
        Event, st.sampled_from(["death", "new_therapy", "lost"]), st.integers(0, 500), st.none()
    ),
    max_size=2,
)


@settings(deadline=None, max_examples=60)
@given(drawn_courses(), EVENTS)
def test_an_open_block_reads_neither_as_response_nor_as_scheduled(drawn, events):
    found = derive(drawn, events)
    responses, _ = rows_of(*drawn, events)
    for row in responses.iter_rows(named=True):
        reading = found[row["visit"]]
        assert reading["irecist_response"] == row["irecist_response"]
        if reading["state"] == "open":
            assert row["irecist_response"] in {"iUPD", "iNE"}
            assert reading["advice"] == "ct_from_day_to_day"
            assert reading["advice_from_day"] <= reading["advice_to_day"]
        if row["irecist_response"] in {"iUPD", "iCPD"}:
            assert reading["state"] in {"open", "confirmed", "closed"}
            assert reading["advice"] != "as_scheduled"


@settings(deadline=None, max_examples=40)
@given(drawn_courses(), st.integers(1, 5))
def test_a_visit_knows_nothing_of_later_ones(drawn, n):
    baseline, visits = drawn
    names = ("state", "block_status", "advice", "advice_from_day", "advice_to_day")
    whole, part = derive(drawn), derive((baseline, visits[:n]))
    assert {v: [part[v][c] for c in names] for v in part} == {
        v: [whole[v][c] for c in names] for v in part
    }
