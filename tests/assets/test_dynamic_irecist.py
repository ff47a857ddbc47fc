"""The risk layer stands beside iRECIST and changes nothing of it."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage


def test_states_are_those_of_the_responses(grown: Stage) -> None:
    names = ["site", "patient", "visit", "overall_response", "irecist_response"]
    graded = grown.table("responses").filter(evaluator="accepted").select(names).sort(names)
    assert grown.table("dynamic_irecist").select(names).sort(names).equals(graded)


def test_a_probability_that_is_shown_is_that_of_the_model_which_bears_the_alias(
    opened: Stage,
) -> None:
    chosen = (
        opened.table("model_runs").filter(pl.col("alias").is_not_null(), task="T1")["model"].item()
    )
    expected = dict(
        opened.table("predictions")
        .filter(task="T1", model=chosen)
        .select("patient", "probability")
        .iter_rows()
    )
    shown = opened.table("dynamic_irecist").filter(pl.col("probability").is_not_null())
    found = dict(shown.select("patient", "probability").iter_rows())
    assert set(shown["visit"]) <= {"T1"}
    assert found == {patient: expected[patient] for patient in found}
    assert set(shown["state"]) <= {"controlled"}


def test_what_is_not_shown_has_a_reason(opened: Stage) -> None:
    rows = opened.table("dynamic_irecist")
    assert rows.height
    assert rows.filter(pl.col("probability").is_null())["reason"].null_count() == 0


def test_an_open_block_has_its_window(opened: Stage) -> None:
    rows = opened.table("dynamic_irecist").filter(irecist_response="iUPD")
    assert set(rows["state"]) == {"open"}
    assert rows["advice_from_day"].null_count() == 0
