"""ComBat sees the training patients of its fold alone, is refused where it cannot be fitted, and never becomes the candidate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dagster_project.radiomics.harmonisation import HarmonisationError, apply_combat, fit_combat
from dagster_project.simulation.tables import Truth, simulate_tables
from models.datasets import TASKS, DatasetError, build_dataset
from models.harmonised import NAME, BatchCorrection, Harmonised, HarmonisedModel
from models.roster import choose_learners
from models.training import best_model, hold_out_sites, train
from tests.models.cohorts import SECTION

SEEN = SECTION["network_features"][:4]
QUICK = {**SECTION, "network_features": SEEN, "harmonise": "combat", "folds": 2, "inner_folds": 2, "network_patients_minimum": 1000}
TABLES = simulate_tables(Truth(), SEEN, patients=150, sites=3, seed=2)
KERNELS = TABLES.patients.select("site", "patient").with_columns(kernel=pl.when(pl.col("site") == "SITE3").then(None).otherwise(pl.lit("B30f")))
DATA = build_dataset(TASKS["T1"], **TABLES.of_dataset(), kernels=KERNELS)
RADIOMICS = DATA.of_blocks(("radiomics",))
KNOWN = ~np.isnan(RADIOMICS.X).all(axis=0)


@pytest.fixture(scope="module")
def trained():
    learners, left_out = choose_learners(DATA, QUICK)
    assert NAME not in left_out
    return {t.name: t for t in train([m for m in learners if m.name in {"clinical", NAME}], DATA, QUICK, QUICK["seed"])}


def test_1_the_correction_is_combats_of_the_training_patients():
    assert set(DATA.batches) == {"SITE1 B30f", "SITE2 B30f", "SITE3 unknown"}
    rows = np.arange(150) % 3 > 0
    found = BatchCorrection.fitted(RADIOMICS.take(rows)).apply(RADIOMICS.take(~rows))
    x = RADIOMICS.X[:, KNOWN]
    x = np.where(np.isnan(x), np.nanmedian(x[rows], axis=0), x)
    batches = np.array(DATA.batches)
    wanted = apply_combat(fit_combat(x[rows], batches[rows].tolist()), x[~rows], batches[~rows].tolist())
    assert pytest.approx(wanted) == found.X[:, KNOWN]
    assert np.isnan(found.X[:, ~KNOWN]).all()


def test_2_held_out_values_change_nothing_of_their_folds_correction(trained):
    fold = trained[NAME].fold
    shaken = replace(RADIOMICS, X=np.where((fold == 0)[:, None], RADIOMICS.X * 5 + 3, RADIOMICS.X))
    one, two = (Harmonised().fit(d.take(fold != 0), QUICK, 1).model.tensors() for d in (RADIOMICS, shaken))
    assert all(np.array_equal(one[k], two[k]) for k in one)


def test_3_hospitals_lie_closer_together_behind_it():
    def spread(x):
        x = x[:, KNOWN]
        means = np.array([np.nanmean(x[np.array(DATA.sites) == s], axis=0) for s in sorted(set(DATA.sites))])
        return float((means.std(axis=0) / np.nanstd(x, axis=0)).mean())

    assert spread(BatchCorrection.fitted(RADIOMICS).apply(RADIOMICS).X) < 0.3 * spread(RADIOMICS.X)


def test_4_it_is_trained_beside_the_others_and_never_the_candidate(trained):
    found = trained[NAME]
    assert found.appraisal.tables["folds"]["batches"].to_list() == [3.0, 3.0]
    assert found.evaluation.auc.value is not None
    winner = replace(found, evaluation=replace(found.evaluation, auc=replace(found.evaluation.auc, value=0.99)))
    assert best_model([*trained.values(), winner]).name != NAME
    assert NAME not in {m.name for m in choose_learners(DATA, {**QUICK, "harmonise": "none"})[0]}


def test_5_a_small_batch_and_unknown_kernels_are_refused_with_the_reason():
    few = KERNELS.with_columns(kernel=pl.when(pl.int_range(pl.len()) < 9).then(pl.lit("B70f")).otherwise("kernel"))
    small = build_dataset(TASKS["T1"], **TABLES.of_dataset(), kernels=few)
    assert "fewer than 20 training patients" in choose_learners(small, QUICK)[1][NAME]
    assert "not known" in choose_learners(replace(DATA, batches=None), QUICK)[1][NAME]
    assert "single batch" in choose_learners(replace(DATA, batches=("A",) * 150), QUICK)[1][NAME]
    with pytest.raises(HarmonisationError, match="fewer than 20 lesions"):
        BatchCorrection.fitted(small.of_blocks(("radiomics",)))


def test_6_a_hospital_that_was_left_out_has_no_parameters():
    assert "no parameters for the batches SITE1 B30f" in hold_out_sites(Harmonised(), DATA, QUICK, 1)
    with pytest.raises(DatasetError, match="hand over `kernels`"):
        BatchCorrection.fitted(replace(RADIOMICS, batches=None))


def test_7_a_stored_model_gives_the_same_bits(trained):
    model = trained[NAME].final.model
    again = HarmonisedModel.from_tensors(model.tensors(), model.config())
    assert again.probabilities(DATA).tolist() == model.probabilities(DATA).tolist()
