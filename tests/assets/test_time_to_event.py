"""The main version is the one that outcomes holds; every patient has each version."""

from __future__ import annotations

from tests.trial import Stage


def test_the_main_version_is_that_of_outcomes(opened: Stage) -> None:
    main = (
        opened.table("time_to_event")
        .filter(endpoint="pfs", version="main", origin="first_cycle")
        .select("patient", pfs_days="days", pfs_event="event")
    )
    assert main.sort("patient").equals(
        opened.table("outcomes").select("patient", "pfs_days", "pfs_event").sort("patient")
    )


def test_responders_have_a_duration_of_response(opened: Stage) -> None:
    lasting = opened.table("time_to_event").filter(endpoint="dor", version="main")
    assert set(lasting["patient"]) == {
        patient for patient, truth in opened.trial.everyone() if truth["responder"]
    }
