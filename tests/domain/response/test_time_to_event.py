"""Survival times side by side, one numbered case a rule."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.domain.response.time_to_event import derive_time_to_event
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import TIME_TO_EVENT
from tests.domain.courses import ENDPOINTS
from tests.domain.records import VISIT_DAYS, cycles, follow_up, responses, table, timepoints

EVERY = ("T0", "T1", "T2", "V1", "V2")
"""Days -7, 56, 98, 160, 220."""


def times(graded, *events, treated=True):
    """{(endpoint, version, origin): (days, event)} of the one patient.

    The patient has no scan after a death.
    """
    died = min((day for event, day in events if event == "death" and day is not None), default=999)
    scanned = [v for v in EVERY if VISIT_DAYS[v] <= max(died, -7)]
    found = derive_time_to_event(
        responses(*(g.split() for g in graded)),
        cycles(0) if treated else cycles(),
        follow_up(*events),
        table("patients", {}),
        timepoints(*scanned),
        ENDPOINTS,
    )
    assert found.schema == polars_schema(TIME_TO_EVENT)
    return {
        (r["endpoint"], r["version"], r["origin"]): (r["days"], r["event"])
        for r in found.iter_rows(named=True)
    }


PFS = {
    # visits                                              events
    # version: days from the first cycle, event
    "1 a new therapy before progression": (
        ["T1 SD iSD", "T2 SD iSD", "V1 PD iUPD"],
        [("new_therapy", 120)],
        {"main": (98, False), "new_therapy_event": (120, True)},
    ),
    "2 progression that no image shows": (
        ["T1 SD iSD", "T2 SD iSD"],
        [("progression_clinical", 120)],
        {"main": (98, False), "clinical_progression_event": (120, True)},
    ),
    "3 progression after two missed visits": (
        ["T1 SD iSD", "V2 PD iUPD"],
        [],
        {"main": (56, False), "missed_visits_event": (220, True)},
    ),
    "4 a progression that was not confirmed": (
        ["T1 PD iUPD", "T2 PR iPR", "V1 PR iPR"],
        [],
        {"main": (56, True), "irecist": (160, False)},
    ),
    "5 confirmed: the first of the block": (
        ["T1 SD iSD", "T2 PD iUPD", "V1 PD iCPD"],
        [],
        {"main": (98, True), "irecist": (98, True)},
    ),
    "6 confirmed after a reset: the block that was": (
        ["T1 PD iUPD", "T2 PR iPR", "V1 PD iUPD", "V2 PD iCPD"],
        [],
        {"main": (56, True), "irecist": (160, True)},
    ),
    "7 unconfirmed, then dead": (
        ["T1 SD iSD", "T2 PD iUPD"],
        [("death", 130)],
        {"main": (98, True), "irecist": (98, True)},
    ),
    "8 unconfirmed, waits for the next CT": (
        ["T1 SD iSD", "T2 PD iUPD"],
        [],
        {"main": (98, True), "irecist": (98, False)},
    ),
}


@pytest.mark.parametrize(("graded", "events", "expected"), PFS.values(), ids=PFS)
def test_versions_of_progression_free_survival(graded, events, expected):
    found = times(graded, *events)
    assert {version: found["pfs", version, "first_cycle"] for version in expected} == expected


def test_each_version_stands_again_from_t2():
    found = times(["T1 SD iSD", "T2 SD iSD", "V1 PD iUPD"])
    assert {key[1]: value for key, value in found.items() if key[2] == "T2"} == {
        "main": (62, True),
        "new_therapy_event": (62, True),
        "clinical_progression_event": (62, True),
        "missed_visits_event": (62, True),
        "irecist": (62, False),
    }
    assert times(["T1 PD iUPD", "T2 PD iCPD"])["pfs", "main", "T2"] == (None, None)


@pytest.mark.parametrize(
    ("graded", "events", "expected"),
    [
        pytest.param(
            ["T1 PR iPR", "T2 PR iPR", "V1 PD iUPD"], [], (104, True), id="1 until progression"
        ),
        pytest.param(
            ["T1 SD iSD", "T2 PR iPR", "V1 PR iPR"], [], (62, False), id="2 until last seen"
        ),
        pytest.param(["T1 SD iSD", "T2 PR iPR"], [("death", 150)], (52, True), id="3 until death"),
        pytest.param(
            ["T1 SD iSD", "T2 PD iUPD", "V1 PR iPR"],
            [],
            None,
            id="4 a response after progression is none",
        ),
    ],
)
def test_duration_of_response(graded, events, expected):
    assert times(graded, *events).get(("dor", "main", "response")) == expected


def test_duration_of_an_immune_response_begins_at_it():
    assert times(["T1 PD iUPD", "T2 PR iPR", "V1 PD iUPD", "V2 PD iCPD"])[
        "dor", "irecist", "response"
    ] == (62, True)


def test_overall_survival():
    assert times(["T1 SD iSD"], ("death", 400))["os", "main", "first_cycle"] == (400, True)
    assert times(["T1 SD iSD"], ("alive", 300))["os", "main", "first_cycle"] == (300, False)


def test_a_cycle_is_heard_of_too():
    found = derive_time_to_event(
        responses(), cycles(0, 21, 42), follow_up(), table("patients", {}), timepoints(), ENDPOINTS
    )
    assert found.filter(endpoint="os").select("days", "event").rows() == [(42, False)]


def test_without_a_first_cycle_there_is_no_time_and_it_is_said():
    found = times(["T1 SD iSD"], treated=False)
    assert set(found.values()) == {(None, None)}
    assert {version for _, version, _ in found} == {
        "main",
        "new_therapy_event",
        "clinical_progression_event",
        "missed_visits_event",
        "irecist",
    }


def test_a_death_on_the_day_of_the_first_cycle_is_an_event_of_the_first_day():
    found = times([], ("death", 0))
    assert found["os", "main", "first_cycle"] == found["pfs", "main", "first_cycle"] == (1, True)


@pytest.mark.parametrize("event", [("death", -223), ("death", None)])
def test_a_death_on_a_day_that_cannot_be_or_is_not_known_gives_no_time(event):
    found = times(["T1 SD iSD", "T2 SD iSD"], event)
    assert (
        found["os", "main", "first_cycle"]
        == found["pfs", "main", "first_cycle"]
        == found["pfs", "irecist", "T2"]
        == (None, None)
    )


EVENTS = st.tuples(
    st.sampled_from(
        ["alive", "progression_clinical", "death", "new_therapy", "lost", "off_treatment"]
    ),
    st.none() | st.integers(-400, 900),
)
VISITS = st.lists(
    st.tuples(
        st.integers(-60, 900),
        st.sampled_from(["CR iCR", "PR iPR", "SD iSD", "PD iUPD", "PD iCPD", "NE iNE"]),
    ),
    max_size=6,
)


@given(VISITS, st.lists(EVENTS, max_size=6), st.booleans())
def test_no_time_is_negative_or_longer_than_anything_that_is_known_whatever_the_dates_say(
    visits, events, scanned
):
    days = {"T0": -7} if scanned else {}
    days |= {f"V{n}": day for n, (day, _) in enumerate(sorted(visits), start=1)}
    seen = responses(
        *((f"V{n}", *words.split()) for n, (_, words) in enumerate(sorted(visits), start=1)),
        days=days,
    )
    found = derive_time_to_event(
        seen,
        cycles(0),
        follow_up(*dict.fromkeys(events)),
        table("patients", {}),
        timepoints(*days, days=days),
        ENDPOINTS,
    )
    known = [d for d in (*days.values(), *(d for _, d in events)) if d is not None]
    for row in found.iter_rows(named=True):
        assert (row["days"] is None) == (row["event"] is None), row
        assert row["reason"]
        if row["days"] is not None:
            assert int(row["event"]) <= row["days"] <= max([1, *known]), row
    died = [d for e, d in events if e == "death"]
    whole = found.filter(pl.col("endpoint") == "os").row(0, named=True)
    assert (
        whole["event"] == (None if None in died or min(died) < max([0, *days.values()]) else True)
        if died
        else whole["event"] is False
    )
