"""Each patient is predicted once a model, by folds that held the patient out."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage


def test_one_fold_holds_a_patient_out_for_all_models(opened: Stage) -> None:
    rows = opened.table("predictions").filter(pl.col("fold").is_not_null())
    assert rows.group_by("patient").agg(pl.col("fold").n_unique())["fold"].unique().to_list() == [1]
    assert rows["fold"].n_unique() == 3


def test_labels_are_those_of_the_cohort(opened: Stage) -> None:
    cohort = dict(opened.table("training_cohort").filter(included=True).select("patient", "label").iter_rows())
    rows = opened.table("predictions").filter(pl.col("fold").is_not_null())
    assert {tuple(r) for r in rows.select("patient", "label").unique().iter_rows()} == set(cohort.items())


def test_the_chosen_model_is_asked_about_eligible_patients_it_was_not_trained_on(opened: Stage) -> None:
    """Decided by the visit, or without a later one: they have a probability, and neither fold nor label."""
    cohort = opened.table("training_cohort").filter(included=False)
    asked = cohort.filter(pl.col("exclusion").str.contains("^(progressed|responded|no_response)_"))["patient"].to_list()
    rows = opened.table("predictions").filter(pl.col("fold").is_null())
    assert sorted(rows["patient"]) == sorted(asked)
    assert rows["label"].is_null().all()
    chosen = opened.table("model_runs").filter(pl.col("alias") == "candidate")["model"].to_list()
    assert set(rows["model"]) <= set(chosen)


def test_the_alias_is_told_of_the_one_model_that_holds_it(opened: Stage) -> None:
    named = opened.table("model_runs").drop_nulls("alias").select("model", "model_version", "alias")
    assert opened.table("predictions").drop_nulls("alias").select("model", "model_version", "alias").unique().equals(named)
