"""Figures of a model are those of its stored predictions."""

from __future__ import annotations

import polars as pl
import pytest

from dagster_project.study import load_study
from tests.trial import Stage


def test_auc_is_the_share_of_pairs_in_order(opened: Stage) -> None:
    """Counted pair by pair from the out-of-fold probabilities."""
    predictions = opened.table("predictions")
    for row in opened.table("model_runs").iter_rows(named=True):
        own = predictions.filter(
            pl.col("task") == row["task"],
            pl.col("model") == row["model"],
            pl.col("fold").is_not_null(),
        )
        sick, well = (
            own.filter(observed_response=True)["probability"],
            own.filter(observed_response=False)["probability"],
        )
        wins = sum((a > b) + (a == b) / 2 for a in sick for b in well)
        assert row["auc"] == pytest.approx(wins / (len(sick) * len(well)))
        assert (row["n_patients"], row["n_positive"]) == (own.height, len(sick))
        assert row["brier"] == pytest.approx(
            ((own["probability"] - own["observed_response"].cast(float)) ** 2).mean()
        )


def test_predictive_values_in_practice_are_bayes_at_the_protocols_share_where_the_label_is_response(
    opened: Stage,
) -> None:
    """Worked out from sensitivity and specificity; a task of progression has none."""
    share, runs = (
        load_study().section("endpoints")["target_prevalence"],
        opened.table("model_runs"),
    )
    assert set(runs.filter(pl.col("task") != "T2")["task"]) >= {"T1"}
    for row in runs.iter_rows(named=True):
        right, wrong = row["sensitivity"] * share, (1 - row["specificity"]) * (1 - share)
        told = row["task"] != "T2" and right + wrong > 0
        assert row["ppv_in_practice"] == (pytest.approx(right / (right + wrong)) if told else None)
        assert (
            not told
            or row["ppv_in_practice_lower"]
            <= row["ppv_in_practice"]
            <= row["ppv_in_practice_upper"]
        )


def test_a_second_run_on_the_same_rows_trains_nothing(opened: Stage, grown: Stage) -> None:
    """A scan that changes neither cohort nor features leaves the models as they are."""
    assert (
        grown.table("model_runs")["mlflow_run_id"].to_list()
        == opened.table("model_runs")["mlflow_run_id"].to_list()
    )
