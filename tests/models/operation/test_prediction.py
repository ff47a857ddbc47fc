"""What a registered model says of a new patient, and refusals that say why.

A prediction has bounds, ood_score and what it is based on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from models.data.datasets import TASKS, build_inference_set
from models.evaluation.training import train_baselines
from models.evaluation.training_distribution import TrainingDistribution
from models.operation.prediction import ChampionUnusable, ServedModel, input_digests, predict
from tests.models.cohorts import SECTION, dataset, simulate

DATA = dataset(effect=0.3)
OUT = pl.col("patient").is_in(["NORTH-000", "EAST-002"])


@pytest.fixture(scope="module")
def served() -> ServedModel:
    trained = next(
        t for t in train_baselines(DATA, SECTION, seed=11) if t.name == "delta_radiomics_dhi"
    )
    facts = {"name": trained.name, "task": "T1", "cutoff": 0.5}
    return ServedModel(
        trained.final.model,
        tuple(f.model for f in trained.fits),
        TrainingDistribution.fitted(trained.dataset),
        facts,
        "3",
        "champion",
    )


@pytest.fixture(scope="module")
def others():
    made = simulate(effect=0.3)
    why = (
        pl.when(pl.col("patient") == "NORTH-000")
        .then(pl.lit("progressed_by_T1"))
        .when(OUT)
        .then(pl.lit("artifact"))
    )
    tables = made.replace(cohort=made.cohort.with_columns(included=~OUT, exclusion=why))
    assert build_inference_set(TASKS["T1"], **vars(made), radiomic_features=None) is None
    return build_inference_set(TASKS["T1"], **tables, radiomic_features=None)


def test_1_eligible_patients_outside_the_cohort_are_predicted_without_fold_and_label(
    served, others
):
    found = predict(served, others, SECTION)
    assert found["patient"].to_list() == ["NORTH-000"]
    assert found.select("observed_response", "fold", "ensemble_sd", "abstained").row(0) == (
        None,
        None,
        None,
        None,
    )
    assert found["probability"].to_list() == served.model.probabilities(others).tolist()
    assert found.select("alias", "model_version").row(0) == ("champion", "3")
    assert found["lower"].item() < found["probability"].item() < found["upper"].item()
    assert 0 < found["ood_score"].item() < 20


def test_4_columns_that_are_gone_are_named_with_the_version_that_asks_for_them(served, others):
    name = served.model.features[0]
    keep = np.array([c != name for c in others.feature_names])
    narrow = replace(
        others, X=others.X[:, keep], columns=tuple(c for c in others.columns if c.name != name)
    )
    with pytest.raises(
        ChampionUnusable,
        match=r"champion version 3 \(delta_radiomics_dhi, task T1\) cannot be asked: "
        r".*asks for 1 columns that are not there, first",
    ):
        predict(served, narrow, SECTION)


def test_5_a_digest_changes_with_the_patients_own_inputs_and_no_others():
    before = input_digests(DATA)
    assert len(set(before)) == len(DATA.patients)
    X = DATA.X.copy()
    X[3, np.flatnonzero(~np.isnan(X[3]))[0]] += 1
    now = input_digests(replace(DATA, X=X))
    assert [a == b for a, b in zip(before, now, strict=True)] == [
        i != 3 for i in range(len(before))
    ]
    assert input_digests(DATA.take(np.arange(24) > 20)) == before[21:]


def test_6_strangeness_rests_on_the_training_patients_alone(served):
    far = replace(DATA, X=DATA.X + 50)
    assert (served.reference.ood_score(far) > 5 * np.median(served.reference.ood_score(DATA))).all()
    again = TrainingDistribution.from_tensors(served.reference.names, served.reference.tensors())
    assert again.ood_score(DATA).tolist() == served.reference.ood_score(DATA).tolist()
    assert served.reference.ood_score(DATA.take(np.arange(24) == 5)).item() == pytest.approx(
        served.reference.ood_score(DATA)[5]
    )
