"""Each patient is predicted once a model, by folds that held the patient out."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage


def test_one_fold_holds_a_patient_out_for_all_models(opened: Stage) -> None:
    rows = opened.table("predictions")
    assert rows.group_by("patient").agg(pl.col("fold").n_unique())["fold"].unique().to_list() == [1]
    assert rows["fold"].n_unique() == 3


def test_labels_are_those_of_the_cohort(opened: Stage) -> None:
    cohort = dict(opened.table("training_cohort").filter(included=True).select("patient", "label").iter_rows())
    rows = opened.table("predictions")
    assert {tuple(r) for r in rows.select("patient", "label").unique().iter_rows()} == set(cohort.items())
