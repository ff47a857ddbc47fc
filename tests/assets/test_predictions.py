"""Each patient is predicted once a model, by folds that held the patient out."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage


def test_one_fold_holds_a_patient_out_for_all_models(opened: Stage) -> None:
    rows = opened.table("predictions").filter(pl.col("fold").is_not_null())
    assert rows.group_by("task", "patient").agg(pl.col("fold").n_unique())[
        "fold"
    ].unique().to_list() == [1]
    assert rows["fold"].n_unique() == 3


def test_labels_are_those_of_the_cohort(opened: Stage) -> None:
    rows = opened.table("predictions").filter(pl.col("fold").is_not_null())
    cohort = opened.table("training_cohort").filter(
        pl.col("included"), pl.col("task").is_in(rows["task"].unique().to_list())
    )
    assert set(rows.select("task", "patient", "observed_response").iter_rows()) == set(
        cohort.select("task", "patient", "label").iter_rows()
    )


def test_the_chosen_model_is_asked_about_eligible_patients_it_was_not_trained_on(
    opened: Stage,
) -> None:
    """Patients decided by the visit, or without a later one, have a probability.

    They have neither fold nor label.
    """
    learnt = opened.table("model_runs")["task"].unique().to_list()
    cohort = opened.table("training_cohort").filter(
        ~pl.col("included"), pl.col("task").is_in(learnt)
    )
    asked = cohort.filter(
        pl.col("exclusion").str.contains("^(progressed|responded|no_response|short_follow_up)_")
    ).select("task", "patient")
    rows = opened.table("predictions").filter(pl.col("fold").is_null())
    assert sorted(rows.select("task", "patient").iter_rows()) == sorted(asked.iter_rows())
    assert rows["observed_response"].is_null().all()
    chosen = opened.table("model_runs").filter(pl.col("alias") == "candidate")
    assert set(rows.select("task", "model").iter_rows()) <= set(
        chosen.select("task", "model").iter_rows()
    )


def test_the_alias_is_told_of_the_one_model_that_holds_it(opened: Stage) -> None:
    version = ["task", "model", "model_version", "alias"]
    named, told = (
        opened.table(name).drop_nulls("alias").select(version).unique().sort(version)
        for name in ("model_runs", "predictions")
    )
    assert told.equals(named)
    assert named["task"].is_unique().all()


def test_every_row_says_that_the_gate_is_open_and_by_which_decisions(opened: Stage) -> None:
    """The small study of these tests is looser than the registration, by recorded decisions."""
    for name in ("predictions", "attributions", "dynamic_risk"):
        rows = opened.table(name)
        assert set(rows["gate"]) == {"open"}, name
    for text in set(opened.table("predictions")["amendments"]) | set(
        opened.table("model_runs")["amendments"]
    ):
        assert "agreement.pairs_minimum = 12 (registered: at least 30), PI, 2026-01-05" in text
    cards = [p.read_text(encoding="utf-8") for p in opened.trial.home.mlflow.rglob("model_card.md")]
    assert cards
    assert all("looser than the registration, by recorded decision" in card for card in cards)
    assert "gate.minimum_patients = 6 (registered: at least 12)" in (
        opened.trial.home.reports / "study_report.html"
    ).read_text(encoding="utf-8")
    assert "Looser than registered: agreement.pairs_minimum = 12" in " ".join(
        opened.trial.call("status").output.split()
    )
