"""Evaluation of the simulated cohort: of the lake's patients, unchanged by a quiet night."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage

WHO = ["site", "patient"]


def test_counts_are_those_of_the_lakes_blocks(opened: Stage) -> None:
    found = opened.table("dynamic_evaluation")
    waiting = opened.table("arbitrations").filter(status="open").select(WHO)
    blocks, seen = (
        opened.table(name).filter(evaluator="accepted").join(waiting, on=WHO, how="anti")
        for name in ("irecist_blocks", "responses")
    )
    shown = found.filter(statistic="patients_with_progression").row(0, named=True)
    assert (shown["events"], shown["n"]) == (
        blocks.select(WHO).unique().height,
        seen.select(WHO).unique().height,
    )
    by_site = found.filter(pl.col("site") != "*", statistic="rescanned")
    assert by_site["n"].sum() == blocks.height


def test_every_state_of_the_table_is_the_one_of_its_day(opened: Stage) -> None:
    shown = opened.table("dynamic_evaluation").filter(statistic="states_as_then")
    waiting = opened.table("arbitrations").filter(status="open").select(WHO)
    visits = opened.table("dynamic_irecist").join(waiting, on=WHO, how="anti")
    assert shown.select("events", "n").row(0) == (visits.height, visits.height)


def test_a_night_without_news_writes_nothing(closed: Stage, repeated: Stage) -> None:
    assert repeated.table("dynamic_evaluation").equals(closed.table("dynamic_evaluation"))


def test_a_closed_gate_takes_nothing_but_probabilities_away(closed: Stage) -> None:
    found = closed.table("dynamic_evaluation")
    assert found.filter(question="rescan", site="*").height > 0
    risks = found.filter(comparator="standard", statistic="auc")
    assert risks["reason"].null_count() == 0
