"""Every rule with its figure and limit, of the snapshot it looked at."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage


def test_a_verdict_follows_from_figure_and_limit(closed: Stage, opened: Stage) -> None:
    at_least = (
        "icc_raw",
        "icc_resolved",
        "icc_lower_bound",
        "minimum_patients",
        "minimum_responders",
        "minimum_non_responders",
    )
    for stage in (closed, opened):
        for row in (
            stage.table("quality_verdicts")
            .filter((pl.col("kind") == "cohort") & pl.col("statistic").is_not_null())
            .iter_rows(named=True)
        ):
            holds = (
                row["statistic"] >= row["threshold"]
                if row["rule"] in at_least
                else row["statistic"] <= row["threshold"]
            )
            assert holds == (row["verdict"] in {"pass", "warn"}), row["rule"]


def test_row_rules_count_whom_they_leave_out(closed: Stage) -> None:
    counted = dict(
        closed.table("quality_verdicts")
        .filter(pl.col("kind") == "row")
        .select("rule", "statistic")
        .iter_rows()
    )
    assert {rule: n for rule, n in counted.items() if n} == {
        "slice_thickness": 1,
        "missing_visit": 1,
    }


def test_a_verdict_that_stays_keeps_its_time(closed: Stage, repeated: Stage, opened: Stage) -> None:
    before, same, now = (
        dict(
            s.table("quality_verdicts")
            .select(pl.concat_str("rule", "scope", separator="@"), "evaluated_at")
            .iter_rows()
        )
        for s in (closed, repeated, opened)
    )
    assert same == before
    assert now["open_arbitrations@SHPH"] > before["open_arbitrations@SHPH"]
    assert now["open_arbitrations@BJCH"] == before["open_arbitrations@BJCH"]
