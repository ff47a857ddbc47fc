"""A baseline's numbers are those of its scikit-learn pipeline.

They are based on training patients alone.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dagster_project.statistics.roc import youden_cutoff
from models.data.datasets import DELTA, DatasetError, FeatureColumn
from models.data.splits import stratified_folds
from models.evaluation.training import cross_fit
from models.learners.baselines import BASELINES, Baseline, LinearModel, freeze
from tests.models.cohorts import SECTION, dataset

DATA = dataset(effect=0.3)
BY_NAME = {b.name: b for b in BASELINES}


def seen_by(learner: Baseline, data=DATA):
    return data.of_blocks(learner.blocks)


def test_1_the_order_of_the_baselines_is_the_order_of_what_must_be_beaten():
    assert [b.name for b in BASELINES] == [
        "clinical",
        "size_change",
        "delta_radiomics",
        "delta_radiomics_dhi",
        "negative_control",
    ]
    assert [b.name for b in BASELINES if b.negative_control] == ["negative_control"]


@pytest.mark.parametrize("learner", BASELINES, ids=lambda b: b.name)
def test_2_the_frozen_model_gives_the_pipelines_probabilities(learner):
    data = seen_by(learner)
    for pipeline in learner._path(data, SECTION, 1):
        frozen = freeze(pipeline, data.feature_names).probabilities(data)
        assert frozen == pytest.approx(pipeline.predict_proba(data.X)[:, 1], abs=1e-12)


@pytest.mark.parametrize("learner", BASELINES[:4], ids=lambda b: b.name)
def test_3_coefficients_meet_the_conditions_of_the_optimum(learner):
    """Gradient of mean log loss + lambda (l1 |w| + (1 - l1) w^2 / 2).

    It is zero where w is not, else within lambda l1.
    """
    data = seen_by(learner)
    for pipeline, strength in zip(
        learner._path(data, SECTION, 1), SECTION[f"{learner.penalty}_strengths"], strict=True
    ):
        Z, fitted = pipeline[:-1].transform(data.X), pipeline["logistic"]
        w, share = fitted.coef_[0], SECTION["l1_share"] if learner.penalty == "elastic_net" else 0.0
        score = Z.T @ (data.y - data.y.mean()) / data.y.size
        penalty = strength if learner.penalty == "ridge" else strength * np.abs(score).max() / share
        gradient = (
            Z.T @ (fitted.predict_proba(Z)[:, 1] - data.y) / data.y.size + penalty * (1 - share) * w
        )
        assert np.allclose(gradient[w != 0], -penalty * share * np.sign(w[w != 0]), atol=2e-5)
        assert (np.abs(gradient[w == 0]) <= penalty * share + 2e-5).all()


def test_4_an_elastic_net_always_keeps_a_column():
    for pipeline in BY_NAME["delta_radiomics"]._path(
        seen_by(BY_NAME["delta_radiomics"]), SECTION, 1
    ):
        assert np.count_nonzero(pipeline["logistic"].coef_) >= 1


def test_5_dhi_passes_the_filter_whole():
    learner = BY_NAME["delta_radiomics_dhi"]
    model = learner.fit(seen_by(learner), SECTION, 1).model
    observed = {
        c.name
        for c, x in zip(DATA.columns, DATA.X.T, strict=True)
        if c.block == "dhi" and not np.isnan(x).all()
    }
    assert observed <= set(model.features)
    assert len(model.features) == SECTION["univariate_keep"] + len(observed)


def test_6_a_missing_value_counts_as_the_training_median():
    learner = BY_NAME["size_change"]
    data = seen_by(learner)
    model = learner.fit(data, SECTION, 1).model
    place = [data.feature_names.index(name) for name in model.features]
    holes, filled = data.X.copy(), data.X.copy()
    holes[0, place], filled[0, place] = np.nan, np.nanmedian(data.X[:, place], axis=0)
    assert (
        model.probabilities(replace(data, X=holes))[0]
        == model.probabilities(replace(data, X=filled))[0]
    )


def test_7_a_patients_probability_is_the_same_bits_alone_and_among_others():
    learner = BY_NAME["delta_radiomics_dhi"]
    model = learner.fit(seen_by(learner), SECTION, 1).model
    together = model.probabilities(DATA)
    alone = [model.probabilities(DATA.take(np.arange(24) == i))[0] for i in range(24)]
    assert together.tolist() == alone


@pytest.mark.parametrize("learner", BASELINES[:4], ids=lambda b: b.name)
def test_8_held_out_values_change_no_number_of_their_folds_model(learner):
    """Nonsense in the held-out fold changes no number.

    Imputation, scaling, filter, strength and cut-off are based on the training folds.
    """
    fold = stratified_folds(DATA.patients, DATA.sites, DATA.y, folds=5, seed=1, scope="")
    absurd = replace(
        DATA,
        X=np.where((fold == 2)[:, None], 1e6 + np.arange(DATA.X.shape[1]), DATA.X),
        y=np.where(fold == 2, ~DATA.y, DATA.y),
    )
    one, two = (
        learner.fit(seen_by(learner, data).take(fold != 2), SECTION, 1) for data in (DATA, absurd)
    )
    assert one.cutoff == two.cutoff
    assert one.model.features == two.model.features
    assert all(
        (one.model.tensors()[name] == two.model.tensors()[name]).all()
        for name in one.model.tensors()
    )


def pure_noise(seed: int, n: int = 40, p: int = 1500):
    columns = tuple(FeatureColumn(f"n{k}", DELTA, ("T0", "T1")) for k in range(p))
    return replace(
        dataset(n=n, n_features=2, seed=seed),
        X=np.random.default_rng(seed).normal(size=(n, p)),
        columns=columns,
    )


def test_9_a_filter_within_the_folds_finds_nothing_in_noise_where_one_before_them_would():
    within, before = [], []
    for seed in range(4):
        data = pure_noise(seed)
        fold = stratified_folds(data.patients, data.sites, data.y, folds=5, seed=seed, scope="")
        within.append(cross_fit(BY_NAME["delta_radiomics"], data, fold, SECTION, seed).auc)
        best = np.argsort(-np.abs(data.X.T @ (data.y - data.y.mean())))[:8]
        cheated = replace(data, X=data.X[:, best], columns=tuple(data.columns[i] for i in best))
        before.append(cross_fit(BY_NAME["delta_radiomics"], cheated, fold, SECTION, seed).auc)
    assert np.mean(before) > 0.85
    assert 0.25 < np.mean(within) < 0.65


def test_10_the_cutoff_rests_on_inner_out_of_fold_probabilities_not_on_the_fit():
    data = pure_noise(7)
    fit = BY_NAME["delta_radiomics"].fit(data, SECTION, 1)
    fitted = fit.model.probabilities(data)
    assert roc_auc_score(data.y, fitted) > 0.9
    assert fit.cutoff != youden_cutoff(data.y, fitted)


def test_11_the_same_seed_gives_the_same_bits():
    learner = BY_NAME["delta_radiomics_dhi"]
    one, two = (learner.fit(seen_by(learner), SECTION, 3) for _ in range(2))
    assert (one.cutoff, one.chosen) == (two.cutoff, two.chosen)
    assert one.model.coefficients.tolist() == two.model.coefficients.tolist()


def test_12_a_strength_of_the_protocol_is_chosen():
    fit = BY_NAME["clinical"].fit(seen_by(BY_NAME["clinical"]), SECTION, 1)
    assert fit.chosen["strength"] in SECTION["ridge_strengths"]


def test_13_columns_that_never_vary_are_refused_with_the_models_name():
    empty = replace(DATA, X=np.full_like(DATA.X, np.nan))
    with pytest.raises(
        DatasetError, match=r"task T1, model clinical: no column varies .* block clinical"
    ):
        BY_NAME["clinical"].fit(seen_by(BY_NAME["clinical"], empty), SECTION, 1)


def test_14_tensors_and_config_make_the_same_model():
    learner = BY_NAME["clinical"]
    model = learner.fit(seen_by(learner), SECTION, 1).model
    again = LinearModel.from_tensors(model.tensors(), model.config())
    assert again.probabilities(DATA).tolist() == model.probabilities(DATA).tolist()


def test_15_strengths_of_the_protocol_run_from_strong_to_weak():
    section = MappingProxyType(dict(SECTION))
    for penalty in ("ridge", "elastic_net"):
        strengths = section[f"{penalty}_strengths"]
        assert list(strengths) == sorted(strengths, reverse=True)
    assert max(section["elastic_net_strengths"]) < 1
