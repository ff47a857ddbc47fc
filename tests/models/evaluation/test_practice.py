"""Probabilities in practice of models that were trained on a balanced cohort, through the pipeline.

The cohort is enrolled by outcome, 250 and 250; practice has another share of responders.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dagster_project.domain.evaluation.risk_answers import Shares, answer_by_model
from dagster_project.lake.tables import MODEL_RUNS
from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.statistics.predictive_values import outcome_weights
from dagster_project.study import load_study
from models.data.datasets import TASKS, build_dataset
from models.evaluation.training import derive_predictions, train
from models.learners.baselines import Baseline
from tests.models.cohorts import SECTION

STUDY = load_study()
FEATURES = tuple(SECTION["network_features"][:3])
ENROLLED = 250
"""Patients of each outcome."""

QUICK = {**SECTION, "folds": 5, "inner_folds": 3, "leave_site_out_for": "none"}
LEARNERS = (
    Baseline("clinical_size", ("clinical", "pd_l1", "size"), "ridge"),
    Baseline("delta_radiomics", ("delta",), "elastic_net"),
)


def balanced(seed=5):
    """As many responders as others, of a larger simulated cohort."""
    drawn = simulate_tables(Truth(), FEATURES, patients=700, sites=3, seed=seed)
    kept = pl.concat(
        drawn.cohort.filter(label=label).head(ENROLLED) for label in (True, False)
    ).sort("site", "patient")
    assert kept.height == 2 * ENROLLED
    return build_dataset(TASKS["T1"], **replace(drawn, cohort=kept).of_dataset())


@pytest.fixture(scope="module")
def answers():
    """Predictions of both models, and their runs, as the lake has them."""
    trained = train(LEARNERS, balanced(), {**QUICK, "held_out_intervals": "none"}, seed=3)
    names = pl.DataFrame({"model": [t.name for t in trained]})
    runs = names.with_columns(
        task=pl.lit("T1"), model_version=pl.lit("1"), alias=pl.lit(None, pl.String)
    )
    return derive_predictions(trained, runs, QUICK), runs


@pytest.mark.parametrize("practice", [0.1, 0.3, STUDY.section("endpoints")["target_prevalence"]])
@pytest.mark.parametrize("model", [learner.name for learner in LEARNERS])
def test_the_mean_in_practice_is_the_share_of_practice(answers, model, practice):
    """Patients weighted by outcome to the share of practice have it as their mean probability."""
    rows, runs = answers
    alias = STUDY.section("model")["champion_alias"]
    mine = runs.filter(model=model).with_columns(alias=pl.lit(alias), trained_at=None)
    missing = [c for c in MODEL_RUNS.names if c not in mine.columns]
    whole = mine.with_columns(pl.lit(None).alias(c) for c in missing)
    answer = answer_by_model(
        "T1", rows, whole.select(MODEL_RUNS.names), None, Shares(0.5, practice), STUDY.sections
    )
    assert answer.base_rate == 0.5
    labels = rows.filter(model=model).select("site", "patient", "observed_response")
    known = {(s, p, "T1"): responds for s, p, responds in labels.iter_rows()}
    assert known.keys() == answer.given.keys()
    weights = outcome_weights(list(known.values()), practice)
    shown = [answer.given[place].in_practice[0] for place in known]
    assert np.average(shown, weights=weights) == pytest.approx(practice, abs=0.03)
    enrolled = [answer.given[place].probability for place in known]
    assert np.mean(enrolled) == pytest.approx(0.5, abs=0.03)
