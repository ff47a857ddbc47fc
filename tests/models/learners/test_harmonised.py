"""ComBat sees the training patients of its fold alone.

It is refused where it cannot be fitted, and never becomes the candidate.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dagster_project.radiomics.harmonisation import HarmonisationError, apply_combat, fit_combat
from dagster_project.simulation.tables import Truth, simulate_tables
from models.data.datasets import TASKS, DatasetError, build_dataset
from models.evaluation.explanation import attribution_rows, contributions, held_out_attributions
from models.evaluation.training import best_model, hold_out_sites, train
from models.learners.harmonised import (
    NAME,
    OF_CHANGES,
    BatchCorrection,
    Harmonised,
    HarmonisedModel,
)
from models.learners.model_catalogue import choose_learners
from tests.models.cohorts import SECTION

SEEN = SECTION["network_features"][:4]
QUICK = {
    **SECTION,
    "network_features": SEEN,
    "harmonise": "combat",
    "folds": 2,
    "inner_folds": 2,
    "network_patients_minimum": 1000,
}
TABLES = simulate_tables(Truth(), SEEN, patients=150, sites=3, seed=2)
KERNELS = TABLES.patients.select("site", "patient").with_columns(
    kernel=pl.when(pl.col("site") == "SITE3").then(None).otherwise(pl.lit("B30f"))
)
DATA = build_dataset(TASKS["T1"], **TABLES.of_dataset(), kernels=KERNELS)
RADIOMICS = DATA.of_blocks(("radiomics",))
KNOWN = ~np.isnan(RADIOMICS.X).all(axis=0)


@pytest.fixture(scope="module")
def trained():
    learners, left_out = choose_learners(DATA, QUICK)
    assert NAME not in left_out
    return {
        t.name: t
        for t in train(
            [m for m in learners if m.name in {"clinical", NAME}], DATA, QUICK, QUICK["seed"]
        )
    }


def test_1_the_correction_is_combats_of_the_training_patients():
    assert set(DATA.batches) == {"SITE1 B30f", "SITE2 B30f", "SITE3 unknown"}
    rows = np.arange(150) % 3 > 0
    found = BatchCorrection.fitted(RADIOMICS.take(rows)).apply(RADIOMICS.take(~rows))
    x = RADIOMICS.X[:, KNOWN]
    x = np.where(np.isnan(x), np.nanmedian(x[rows], axis=0), x)
    batches = np.array(DATA.batches)
    wanted = apply_combat(
        fit_combat(x[rows], batches[rows].tolist()), x[~rows], batches[~rows].tolist()
    )
    assert pytest.approx(wanted) == found.X[:, KNOWN]
    assert np.isnan(found.X[:, ~KNOWN]).all()


def test_2_held_out_values_change_nothing_of_their_folds_correction(trained):
    fold = trained[NAME].fold
    shaken = replace(RADIOMICS, X=np.where((fold == 0)[:, None], RADIOMICS.X * 5 + 3, RADIOMICS.X))
    one, two = (
        Harmonised().fit(d.take(fold != 0), QUICK, 1).model.tensors() for d in (RADIOMICS, shaken)
    )
    assert all(np.array_equal(one[k], two[k]) for k in one)


def test_3_hospitals_lie_closer_together_behind_it():
    def spread(x):
        x = x[:, KNOWN]
        means = np.array(
            [np.nanmean(x[np.array(DATA.sites) == s], axis=0) for s in sorted(set(DATA.sites))]
        )
        return float((means.std(axis=0) / np.nanstd(x, axis=0)).mean())

    assert spread(BatchCorrection.fitted(RADIOMICS).apply(RADIOMICS).X) < 0.3 * spread(RADIOMICS.X)


def test_4_it_is_trained_beside_the_others_and_never_the_candidate(trained):
    found = trained[NAME]
    assert found.appraisal.tables["folds"]["batches"].to_list() == [3.0, 3.0]
    assert found.evaluation.auc.value is not None
    winner = replace(
        found, evaluation=replace(found.evaluation, auc=replace(found.evaluation.auc, value=0.99))
    )
    assert best_model([*trained.values(), winner]).name != NAME
    assert NAME not in {m.name for m in choose_learners(DATA, {**QUICK, "harmonise": "none"})[0]}


def test_5_a_small_batch_and_unknown_kernels_are_refused_with_the_reason():
    few = KERNELS.with_columns(
        kernel=pl.when(pl.int_range(pl.len()) < 9).then(pl.lit("B70f")).otherwise("kernel")
    )
    small = build_dataset(TASKS["T1"], **TABLES.of_dataset(), kernels=few)
    assert "fewer than 20 training patients" in choose_learners(small, QUICK)[1][NAME]
    assert "not known" in choose_learners(replace(DATA, batches=None), QUICK)[1][NAME]
    assert "single batch" in choose_learners(replace(DATA, batches=("A",) * 150), QUICK)[1][NAME]
    with pytest.raises(HarmonisationError, match="fewer than 20 lesions"):
        BatchCorrection.fitted(small.of_blocks(("radiomics",)))


def test_6_a_hospital_that_was_left_out_has_no_parameters():
    assert "no parameters for the batches SITE1 B30f" in hold_out_sites(
        Harmonised(), DATA, QUICK, 1
    )
    with pytest.raises(DatasetError, match="hand over `kernels`"):
        BatchCorrection.fitted(replace(RADIOMICS, batches=None))


def test_7_a_stored_model_gives_the_same_bits(trained):
    model = trained[NAME].final.model
    again = HarmonisedModel.from_tensors(model.tensors(), model.config())
    assert again.probabilities(DATA).tolist() == model.probabilities(DATA).tolist()


def test_7b_changes_are_harmonised_too_and_never_become_the_candidate(trained):
    learners = {m.name: m for m in choose_learners(DATA, QUICK)[0]}
    assert {NAME, OF_CHANGES} <= set(learners)
    found = train([learners["clinical"], learners[OF_CHANGES]], DATA, QUICK, QUICK["seed"])[1]
    winner = replace(
        found, evaluation=replace(found.evaluation, auc=replace(found.evaluation.auc, value=0.99))
    )
    assert best_model([*trained.values(), winner]).name == "clinical"
    hospitals = np.array(DATA.sites)
    before, after = (found.dataset.X, found.final.model.correction.apply(found.dataset).X)

    def apart(x):
        known = ~np.isnan(found.dataset.X).all(axis=0)
        means = [np.nanmean(x[hospitals == s][:, known], axis=0) for s in sorted(set(DATA.sites))]
        return float((np.ptp(means, axis=0) / np.nanstd(x[:, known], axis=0)).mean())

    assert apart(after) < apart(before)


def test_7c_the_protocol_may_name_a_reference_and_take_out_the_level_alone():
    section = {**QUICK, "harmonise": "combat_mean_only", "harmonise_reference": "SITE1 B30f"}
    learner = next(m for m in choose_learners(DATA, section)[0] if m.name == NAME).learner
    model = learner.fit(RADIOMICS, section, 1).model
    own = np.array(DATA.batches) == "SITE1 B30f"
    complete = replace(RADIOMICS, X=np.where(np.isnan(RADIOMICS.X), 0.0, RADIOMICS.X))
    assert np.array_equal(model.correction.apply(complete).X[own], complete.X[own])
    assert {float(v) for scale in model.correction.combat.scale.values() for v in scale} == {1.0}
    again = HarmonisedModel.from_tensors(model.tensors(), model.config())
    assert again.probabilities(DATA).tolist() == model.probabilities(DATA).tolist()
    refused = choose_learners(DATA, {**section, "harmonise_reference": "SITE9 B30f"})[1][NAME]
    assert (
        "harmonise_reference is 'SITE9 B30f', "
        "and the batches are SITE1 B30f, SITE2 B30f, SITE3 unknown" in refused
    )


def logit_of(model, data, x):
    p = model.probabilities(replace(data, X=x))
    return np.log(p / (1 - p))


def raw_baseline(model, data):
    """The uncorrected values that correction maps onto the training patients' mean.

    The correction is that of each patient's batch. Columns without a weight have the patient's own
    values.
    """
    at_zero, at_one = (
        model.correction.apply(replace(data, X=np.full_like(data.X, v))).X for v in (0.0, 1.0)
    )
    start, place = data.X.copy(), [data.feature_names.index(n) for n in model.linear.features]
    start[:, place] = (model.linear.means - at_zero[:, place]) / (at_one - at_zero)[:, place]
    return start


def integrated_gradients(model, data, start):
    """Integrated gradients by central differences along the straight line from `start`.

    They are those of the whole model, in the columns as they come.
    """
    total, way, steps = np.zeros_like(data.X), data.X - start, 3
    for t in (np.arange(steps) + 0.5) / steps:
        for j in range(data.X.shape[1]):
            h = np.zeros(data.X.shape[1])
            h[j] = 1e-3 * max(data.X[:, j].std(), 1e-6)
            slope = (
                logit_of(model, data, start + t * way + h)
                - logit_of(model, data, start + t * way - h)
            ) / (2 * h[j])
            total[:, j] += slope * way[:, j] / steps
    return total


@pytest.fixture(scope="module")
def held_out(trained):
    """The model of the first fold, and the patients that it has not seen.

    Missing values are 0, so that every value is known.
    """
    found, data = trained[NAME], RADIOMICS.take(trained[NAME].fold == 0)
    return found.fits[0].model, replace(data, X=np.where(np.isnan(data.X), 0.0, data.X))


def test_8_contributions_are_the_integrated_gradients_of_the_whole_model_and_complete(held_out):
    model, data = held_out
    start = raw_baseline(model, data)
    wanted = integrated_gradients(model, data, start)
    parts = contributions(model, data)
    found = np.column_stack(
        [parts.get(("feature", name), np.zeros((1, data.y.size)))[0] for name in data.feature_names]
    )
    assert np.count_nonzero(np.abs(found).max(axis=0)) >= 2
    assert found == pytest.approx(wanted, abs=1e-5)
    gained = logit_of(model, data, data.X) - logit_of(model, data, start)
    assert parts["block", "radiomics"][0] == pytest.approx(gained, abs=1e-9)
    assert logit_of(model, data, start) == pytest.approx(
        np.full(data.y.size, model.linear.intercept[0]), abs=1e-9
    )


def test_9_contributions_reach_each_column_with_a_weight_and_no_other(held_out, trained):
    model, data = held_out
    weighed = {
        n for n, w in zip(model.linear.features, model.linear.coefficients, strict=True) if w
    }
    for asked in (data, DATA.take(trained[NAME].fold == 0)):
        parts = contributions(model, asked)
        assert {
            item for scope, item in parts if scope == "feature" and parts[scope, item].any()
        } == weighed
        assert {item for scope, item in parts if scope == "block"} == {"radiomics"}
        assert {item for scope, item in parts if scope == "visit"} == {"T0"}
        by_region = sum(v for (scope, _), v in parts.items() if scope == "region")
        assert by_region == pytest.approx(parts["block", "radiomics"])


def test_10_a_missing_value_counts_as_the_median_that_the_correction_learnt(held_out):
    model, data = held_out
    name = max(zip(np.abs(model.linear.coefficients), model.linear.features, strict=True))[1]
    j, median = (
        data.feature_names.index(name),
        model.correction.medians[model.correction.columns.index(name)],
    )
    gone, filled = data.X.copy(), data.X.copy()
    gone[::2, j], filled[::2, j] = np.nan, median
    one, two = (contributions(model, replace(data, X=x)) for x in (gone, filled))
    assert all(one[key] == pytest.approx(two[key]) for key in two)
    assert (one["feature", name] != contributions(model, data)["feature", name]).any()


def test_11_rows_of_attributions_are_of_the_fold_that_held_the_patient_out_and_survive_storage(
    trained,
):
    found = trained[NAME]
    rows = held_out_attributions(found)
    assert set(rows["patient"]) == set(RADIOMICS.patients)
    total = dict(rows.filter(scope="block").select("patient", "value").iter_rows())
    intercept = np.array([f.model.linear.intercept[0] for f in found.fits])[found.fold]
    z = np.log(found.probabilities / (1 - found.probabilities)) - intercept
    assert [total.get(p, 0.0) for p in found.dataset.patients] == pytest.approx(
        z.tolist(), abs=1e-9
    )
    again = HarmonisedModel.from_tensors(found.final.model.tensors(), found.final.model.config())
    assert attribution_rows(again, RADIOMICS).equals(attribution_rows(found.final.model, RADIOMICS))
