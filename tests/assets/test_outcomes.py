"""Best responses follow the courses."""

from __future__ import annotations

from tests.trial import Stage


def test_responders_are_those_who_respond(opened: Stage) -> None:
    found = dict(opened.table("outcomes").select("patient", "responder").iter_rows())
    assert found == {patient: truth["responder"] for patient, truth in opened.trial.everyone()}


def test_progression_is_an_event_on_the_day_of_the_scan(opened: Stage) -> None:
    events = opened.table("outcomes").filter(pfs_event=True)
    expected = {
        patient: truth["visits"]["T2"]["day"]
        for patient, truth in opened.trial.everyone()
        if truth["course"] == "late_progressor"
    }
    found = {row["patient"]: row["pfs_days"] for row in events.iter_rows(named=True)}
    assert set(found) == set(expected)
    assert all(abs(found[patient] - day) <= 1 for patient, day in expected.items())


def test_nobody_here_pseudoprogressed(opened: Stage) -> None:
    assert set(opened.table("outcomes")["pseudoprogression"]) == {False}
