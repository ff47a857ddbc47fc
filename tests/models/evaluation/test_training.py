"""Every figure is based on patients that the model had not seen.

The same cohort gives the same figures.
"""

from __future__ import annotations

from dataclasses import replace

import duckdb
import numpy as np
import polars as pl
import pytest

from dagster_project.lake.contracts import find_violations
from dagster_project.lake.tables import PREDICTIONS
from dagster_project.statistics.binomial import proportion
from dagster_project.statistics.bootstrap import bootstrap_mean
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.decision_curve import net_benefit
from dagster_project.statistics.pooling import pool_sites
from dagster_project.statistics.roc import auc_difference, auc_of_few, auc_of_folds
from models.data.datasets import TASKS, build_dataset
from models.data.splits import SplitError
from models.evaluation.training import (
    REFERENCES,
    best_model,
    compare_with_references,
    cross_fit,
    derive_predictions,
    leave_one_site_out,
    train,
    train_baselines,
)
from models.learners.learners import Fit
from tests.models.cohorts import SECTION, dataset, simulate

DATA = dataset(effect=0.3)


@pytest.fixture(scope="module")
def trained():
    return train_baselines(DATA, SECTION, seed=11)


def runs_of(trained) -> pl.DataFrame:
    return pl.DataFrame(
        {"model": [t.name for t in trained], "model_version": [str(i) for i in range(len(trained))]}
    )


class Memory:
    """A learner that remembers the patients it was fitted on.

    Each of its models gives every held-out patient the number of its fit, divided by 10.
    """

    name, blocks, negative_control = "memory", ("clinical",), False

    def __init__(self):
        self.fitted_on: list[tuple[str, ...]] = []

    def fit(self, data, _section, _seed):
        self.fitted_on.append(data.patients)
        return Fit(Constant(len(self.fitted_on)), 0.5 + len(self.fitted_on) / 100, {})


class Constant:
    kind = "constant"

    def __init__(self, number):
        self.number = number

    def probabilities(self, data):
        return np.full(len(data.patients), self.number / 10)


def test_1_a_patients_probability_comes_from_the_model_and_cutoff_that_had_not_seen_the_patient():
    learner = Memory()
    (found,) = train(
        [learner],
        DATA,
        {**SECTION, "leave_site_out_for": "none", "held_out_intervals": "none"},
        seed=1,
    )
    assert len(learner.fitted_on) == 6
    for patient, fold, probability in zip(
        DATA.patients, found.fold, found.probabilities, strict=True
    ):
        assert patient not in learner.fitted_on[fold]
        assert probability == (fold + 1) / 10
    assert found.cutoffs.tolist() == pytest.approx([0.51, 0.52, 0.53, 0.54, 0.55])
    assert set(learner.fitted_on[5]) == set(DATA.patients)
    assert found.positive.tolist() == [
        p >= 0.5 + (k + 1) / 100 for p, k in zip(found.probabilities, found.fold, strict=True)
    ]


def test_2_all_models_share_folds_and_cohort(trained):
    assert [t.name for t in trained] == [
        "clinical",
        "size_change",
        "delta_radiomics",
        "delta_radiomics_dhi",
        "negative_control",
    ]
    assert all((t.fold == trained[0].fold).all() for t in trained)
    assert {t.cohort_digest for t in trained} == {DATA.digest}


def test_3_the_same_cohort_in_another_order_gives_the_same_bits(trained):
    made = simulate(effect=0.3)
    shuffled = {
        name: table.sample(fraction=1.0, shuffle=True, seed=4) for name, table in vars(made).items()
    }
    again = train_baselines(build_dataset(TASKS["T1"], **shuffled), SECTION, seed=11)
    assert [t.probabilities.tolist() for t in again] == [t.probabilities.tolist() for t in trained]


def test_4_size_finds_what_defines_response_and_the_control_finds_nothing():
    trained = {t.name: t for t in train_baselines(dataset(n=90, effect=1.0), SECTION, seed=2)}
    assert trained["size_change"].auc > 0.95
    assert trained["size_change"].verdicts[0].verdict == "raised"
    assert trained["delta_radiomics"].auc > 0.7
    control = trained["negative_control"]
    assert control.auc < 0.65
    assert {v.name: v.verdict for v in control.verdicts} == {
        "leakage_alarm": "quiet",
        "negative_control": "pass",
    }


@pytest.mark.parametrize(("n", "n_features"), [(18, 60), (500, 40)])
def test_5_small_and_large_cohorts_are_trained(n, n_features):
    trained = train_baselines(dataset(n=n, n_features=n_features, effect=0.5), SECTION, seed=1)
    assert all(0 <= t.probabilities.min() <= t.probabilities.max() <= 1 for t in trained)
    assert {t.evaluation.auc.value is not None for t in trained} == {True}
    assert all(set(t.evaluation.auc_by_site) == {"NORTH", "SOUTH", "EAST"} for t in trained)


def test_6_with_few_of_a_class_there_are_fewer_folds_and_all_bounds_know_it():
    few = replace(DATA, y=np.isin(np.arange(24), (0, 8, 16)))
    made, y, sites = 3, few.y, few.sites
    assert made < SECTION["folds"]
    trained = train_baselines(few, SECTION, seed=1)
    assert {len(t.cutoffs) for t in trained} == {made}
    for t in trained:
        p, figures = t.probabilities, t.appraisal.figures
        right = proportion(int((t.positive == y).sum()), y.size)
        brier = bootstrap_mean((p - y) ** 2, seed=1)
        assert t.evaluation.auc == auc_of_folds(y, p, made)
        assert t.evaluation.accuracy == of_folds(right, made, 0.0, 1.0)
        assert figures["brier_bootstrap"] == of_folds(brier, made, 0.0, 1.0)
        assert figures["auc_sites_within_folds"] == pool_sites(y, p, sites, made).auc
        assert t.appraisal.facts["outer_folds"] == made
        assert t.appraisal.tables["decision_curve"].equals(pl.DataFrame(net_benefit(y, p, made)))
        north = np.array(sites) == "NORTH"
        own = auc_of_few(y[north], p[north], made, float(north.mean()))
        assert t.evaluation.auc_by_site["NORTH"] == own
    model, reference = trained[-1], next(t for t in trained if t.name in REFERENCES)
    gain, _ = auc_difference(y, model.probabilities, reference.probabilities, folds=made)
    assert (
        compare_with_references(model, trained)[f"auc_gain_over_{reference.name}_lower"]
        == gain.lower
    )


def test_7_with_one_of_a_class_the_task_and_counts_are_named():
    with pytest.raises(
        SplitError, match="task T1, outer folds: 1 responders and 23 non-responders"
    ):
        train_baselines(replace(DATA, y=np.arange(24) == 0), SECTION, seed=1)


def test_8_folds_that_leak_are_refused():
    with pytest.raises(SplitError, match="model memory: fold 0 holds one class only"):
        cross_fit(Memory(), DATA, np.where(DATA.y, 0, 1), SECTION, seed=1)


def test_9_the_best_model_is_the_greatest_auc_of_real_models_and_of_equals_the_simpler(trained):
    first, second, control = trained[0], trained[1], trained[-1]

    def with_auc(model, value):
        return replace(
            model,
            evaluation=replace(model.evaluation, auc=replace(model.evaluation.auc, value=value)),
        )

    assert (
        best_model([with_auc(first, 0.6), with_auc(second, 0.7), with_auc(control, 0.99)]).name
        == second.name
    )
    assert best_model([with_auc(first, 0.7), with_auc(second, 0.7)]).name == first.name


def test_10_gains_are_differences_of_aucs_over_the_references(trained):
    found = compare_with_references(trained[3], trained)
    assert found["auc_gain_over_size_change"] == pytest.approx(trained[3].auc - trained[1].auc)
    assert found["auc_gain_over_clinical"] == pytest.approx(trained[3].auc - trained[0].auc)
    assert 0 <= found["auc_gain_over_clinical_p"] <= 1
    assert not any("size_change" in name for name in compare_with_references(trained[1], trained))


def test_11_predictions_keep_the_contract_of_their_table(trained):
    found = derive_predictions(trained, runs_of(trained), SECTION)
    connection = duckdb.connect()
    connection.register("predictions", found.to_arrow())
    assert find_violations(lambda query: connection.execute(query).fetchone(), PREDICTIONS) == []
    assert found.height == 24 * 5
    assert found["simulated"].all()


def test_12_a_prediction_is_read_back_as_it_was_made(trained):
    found = derive_predictions(trained, runs_of(trained), SECTION).filter(
        pl.col("model") == "size_change"
    )
    assert found["model_version"].unique().to_list() == ["1"]
    assert found["probability"].to_list() == trained[1].probabilities.tolist()
    assert found["predicted_positive"].to_list() == trained[1].positive.tolist()
    assert dict(found.select("patient", "observed_response").iter_rows()) == dict(
        simulate(effect=0.3).cohort.select("patient", "label").iter_rows()
    )


def test_13_a_hospital_is_predicted_by_models_that_saw_none_of_its_patients():
    learner = Memory()
    probabilities, pooled = leave_one_site_out(learner, DATA, SECTION, seed=1)
    for site, seen in zip(("EAST", "NORTH", "SOUTH"), learner.fitted_on, strict=True):
        assert not any(p.startswith(site) for p in seen)
        assert len(set(probabilities[[s == site for s in DATA.sites]])) == 1
    assert set(pooled.sites) == {"EAST", "NORTH", "SOUTH"}
    with pytest.raises(SplitError, match="leaving one hospital out needs two"):
        leave_one_site_out(learner, replace(DATA, sites=("NORTH",) * 24), SECTION, seed=1)
