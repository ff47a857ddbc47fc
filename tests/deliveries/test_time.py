"""Dates that cannot be true.

The cell is refused, nothing is counted from it, and no time is negative.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.deliveries.conftest import Deliveries

CYCLES, EVENTS = "clinical/treatments.csv", "clinical/follow_up.csv"


def cells(home: Deliveries, site: str, file: str) -> set[int]:
    """Rows of a file whose date was refused."""
    places = [text.partition(":")[0] for text in home.refused(site, "case_report")]
    return {
        int(p.removeprefix(f"{file} row ").removesuffix(" column date"))
        for p in places
        if p.startswith(file)
    }


def times(home: Deliveries, site: str, number: str) -> dict[str, dict[str, Any]]:
    """Overall and main progression-free survival of a patient."""
    statement = (
        "SELECT * FROM time_to_event WHERE site = ? AND patient = ? "
        "AND version = 'main' AND origin = 'first_cycle'"
    )
    return {r["endpoint"]: r for r in home.ask(statement, site, home.pseudonym(site, number))}


def visits(home: Deliveries, site: str, number: str) -> dict[str, dict[str, Any]]:
    """The timepoints of a patient by name."""
    return {
        r["visit"]: r
        for r in home.ask(
            "SELECT * FROM timepoints WHERE site = ? AND patient = ?",
            site,
            home.pseudonym(site, number),
        )
    }


# ── follow-up ──


@pytest.mark.real_data
def test_events_that_contradict_each_other_are_refused_by_cell(landed: Deliveries) -> None:
    assert cells(landed, "K34", EVENTS) == {2, 3, 4, 5, 6, 7}


@pytest.mark.real_data
@pytest.mark.parametrize("number", ["934001", "934002", "934003"])
def test_a_death_that_contradicts_another_date_gives_no_survival_time(
    landed: Deliveries, number: str
) -> None:
    found = times(landed, "K34", number)
    assert {(r["days"], r["event"], r["reason"]) for r in found.values()} == {
        (None, None, "death on a day that is not known")
    }


@pytest.mark.real_data
def test_a_contact_after_the_cut_off_is_no_contact_and_the_control_is_counted(
    landed: Deliveries,
) -> None:
    (future,) = [r for r in landed.refused("K34") if "cut-off" in r]
    assert future == f"{EVENTS} row 7 column date: lies after the data cut-off; correct the date"
    assert (
        times(landed, "K34", "934004")["os"]["days"],
        times(landed, "K34", "934004")["os"]["event"],
    ) == (105, False), "the last cycle"
    assert (
        times(landed, "K34", "934005")["os"]["days"],
        times(landed, "K34", "934005")["os"]["event"],
    ) == (143, True)


# ── cycles ──


@pytest.mark.real_data
def test_cycles_out_of_order_are_refused_both(landed: Deliveries) -> None:
    assert cells(landed, "K35", CYCLES) == {3, 4, 10, 11}


@pytest.mark.real_data
def test_visits_rest_on_the_cycles_that_are_left(landed: Deliveries) -> None:
    first, second = (visits(landed, "K35", number) for number in ("935001", "935002"))
    assert {v: r["day"] for v, r in first.items()} == {
        "T0": 0,
        "T2": 101,
        "V1": -5,
        "V2": 51,
        "V3": 357,
    }
    assert {v: r["day"] for v, r in second.items()} == {
        "T0": 0,
        "V1": -5,
        "V2": 51,
        "V3": 101,
        "V4": 357,
    }
    assert "no T1: the date of cycle 3 is not known" in first["V2"]["selection_reason"]
    assert (
        "no T1: the date of cycle 4 is not known; no T2: the date of cycle 5 is not known"
        in second["V2"]["selection_reason"]
    )


@pytest.mark.real_data
def test_a_visit_that_cannot_be_told_is_unknown_and_not_missing(landed: Deliveries) -> None:
    found = landed.ask(
        "SELECT DISTINCT verdict FROM eligibility WHERE site = 'K35' AND criterion = 'I4'"
    )
    assert found == [{"verdict": "unknown"}]


@pytest.mark.real_data
def test_no_duration_is_negative_and_nothing_lies_after_today(landed: Deliveries) -> None:
    assert landed.ask("SELECT * FROM time_to_event WHERE days < 0 OR (event AND days < 1)") == []
    assert landed.ask("SELECT * FROM outcomes WHERE pfs_days < 0 OR pfs_from_t2_days < 0") == []
