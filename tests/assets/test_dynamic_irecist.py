"""The risk layer stands beside iRECIST and changes nothing of it."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage


def test_states_are_those_of_the_responses(grown: Stage) -> None:
    names = ["site", "patient", "visit", "overall_response", "irecist_response"]
    graded = grown.table("responses").filter(evaluator="accepted").select(names).sort(names)
    assert grown.table("dynamic_irecist").select(names).sort(names).equals(graded)


def test_a_probability_is_that_of_the_model_which_bears_the_alias(opened: Stage) -> None:
    chosen = (
        opened.table("model_runs").filter(pl.col("alias").is_not_null(), task="T1")["model"].item()
    )
    expected = dict(
        opened.table("predictions")
        .filter(task="T1", model=chosen)
        .select("patient", "probability")
        .iter_rows()
    )
    told = opened.table("dynamic_irecist").filter(pl.col("probability").is_not_null())
    assert set(told["visit"]) == {"T1"}
    assert dict(told.select("patient", "probability").iter_rows()) == expected


def test_who_was_not_learnt_from_has_a_reason_instead(opened: Stage) -> None:
    rows = opened.table("dynamic_irecist")
    silent = rows.filter(pl.col("probability").is_null())
    assert set(silent["dynamic_label"]) == {"no_prediction"}
    assert silent["reason"].null_count() == 0
