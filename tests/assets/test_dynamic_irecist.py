"""State and advice stand beside iRECIST and change nothing of it."""

from __future__ import annotations

from tests.trial import Stage


def test_states_are_those_of_the_responses(grown: Stage) -> None:
    names = ["site", "patient", "visit", "overall_response", "irecist_response"]
    graded = grown.table("responses").filter(evaluator="accepted").select(names).sort(names)
    assert grown.table("dynamic_irecist").select(names).sort(names).equals(graded)


def test_an_open_block_has_its_window(opened: Stage) -> None:
    rows = opened.table("dynamic_irecist").filter(irecist_response="iUPD")
    assert set(rows["state"]) == {"open"}
    assert rows["advice_from_day"].null_count() == 0
