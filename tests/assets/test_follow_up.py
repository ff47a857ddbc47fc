"""Events keep their order and their distance from the first cycle."""

from __future__ import annotations

from tests.trial import Stage


def test_who_was_lost_was_lost_after_the_last_scan(closed: Stage) -> None:
    rows = closed.table("follow_up")
    lost = {
        patient: truth
        for patient, truth in closed.trial.everyone()
        if "missing_t2" in truth["troubles"]
    }
    assert set(rows.filter(event="lost")["patient"]) == set(lost)
    for patient, truth in lost.items():
        assert rows.filter(patient=patient, event="lost")["day"][0] > truth["visits"]["T1"]["day"]


def test_an_impossible_date_costs_its_row_alone(closed: Stage) -> None:
    patient = next(
        patient for patient, truth in closed.trial.everyone() if "bad_date" in truth["troubles"]
    )
    assert closed.table("follow_up").filter(patient=patient).height == 2
