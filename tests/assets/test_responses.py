"""Responses of the accepted read are those that each simulated course is known to give."""

from __future__ import annotations

from tests.trial import Stage


def test_each_course_gives_its_expected_responses(opened: Stage) -> None:
    rows = opened.table("responses").filter(evaluator="accepted")
    for patient, truth in opened.trial.everyone():
        expected = {
            visit: answer for visit, answer in truth["expected_responses"].items() if visit != "V1"
        }
        assert (
            dict(rows.filter(patient=patient).select("visit", "overall_response").iter_rows())
            == expected
        ), truth["course"]


def test_readers_are_graded_beside_the_accepted_read(opened: Stage) -> None:
    assert set(opened.table("responses")["evaluator"]) == {"accepted", "R1", "R2"}


def test_progression_is_unconfirmed_until_it_is_confirmed(opened: Stage) -> None:
    progressed = opened.table("responses").filter(evaluator="accepted", overall_response="PD")
    assert progressed.height == 1
    assert progressed["irecist_response"].to_list() == ["iUPD"]
