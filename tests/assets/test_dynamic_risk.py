"""Risks of the simulated cohort: behind the gate, each question with a number or its reason."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage

WHO = ["site", "patient", "visit"]


def test_the_closed_gate_has_no_risk_and_leaves_state_and_evidence_whole(closed: Stage) -> None:
    assert closed.table("dynamic_risk").is_empty()
    assert closed.table("dynamic_irecist").height
    assert closed.table("dynamic_evidence").height


def test_every_visit_has_every_question_once(opened: Stage) -> None:
    rows, horizons = opened.table("dynamic_risk"), (90, 180)
    graded = opened.table("responses").filter(evaluator="accepted").select(WHO).sort(WHO)
    for question, horizon in (*(("progression", h) for h in horizons), ("confirmed", 0)):
        own = rows.filter(question=question, horizon_days=horizon).select(WHO).sort(WHO)
        assert own.equals(graded), question
    first = rows.filter(question="response_when_stable")
    assert set(first["visit"]) == {"T1"}
    assert set(rows.filter(question="response_from_baseline")["visit"]) == {"T0"}


def test_of_so_few_patients_nothing_is_said_and_every_row_has_its_reason(opened: Stage) -> None:
    """A dozen patients a site: no model has the events that the protocol asks for."""
    rows = opened.table("dynamic_risk")
    learnt = rows.filter(pl.col("question") != "confirmed")
    assert learnt["probability"].null_count() == learnt.height
    assert rows.filter("withheld")["reason"].null_count() == 0
    assert set(rows["gate"]) == {"open"}


def test_an_open_block_has_its_class_or_the_reason(opened: Stage) -> None:
    states = opened.table("dynamic_irecist").select(*WHO, "state")
    rows = opened.table("dynamic_risk").filter(question="confirmed").join(states, on=WHO)
    assert rows.filter(state="open").height
    shown = rows.filter(~pl.col("withheld"))
    assert set(shown["state"]) <= {"open"}
    assert set(shown["source"]) <= {"class"}
