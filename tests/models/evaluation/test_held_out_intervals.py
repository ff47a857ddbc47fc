"""Bounds of a held-out patient's probability are based on models that have not seen the patient.

They hold the truth as often as they claim.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import t as student

from dagster_project.lake.tables import PREDICTIONS
from models.data.datasets import DatasetError
from models.evaluation.held_out_intervals import jackknife_intervals
from models.evaluation.training import COSTLY, cross_fit, derive_predictions, intervals_of_fold
from models.learners.baselines import Baseline
from models.learners.learners import Fit
from tests.models.cohorts import SECTION, dataset
from tests.models.evaluation.test_training import Constant, Memory, runs_of

SIZE = Baseline("size_change", ("size",), "ridge")
DATA = dataset(60, effect=0.3)
FOLD = np.arange(60) % 5
QUICK = {**SECTION, "inner_folds": 2, "leave_site_out_for": "none"}


@pytest.fixture(scope="module")
def crossed():
    return cross_fit(SIZE, DATA, FOLD, QUICK, seed=3)


def logit(p):
    return np.log(p / (1 - p))


class Honest(Memory):
    """A learner whose models refuse to be asked about a patient they were fitted on."""

    def fit(self, data, section, seed):
        fitted = super().fit(data, section, seed)
        return replace(fitted, model=Honest.Model(fitted.model.number, set(data.patients)))

    class Model(Constant):
        def __init__(self, number, seen):
            super().__init__(number / 2)
            self.seen = seen

        def probabilities(self, data):
            assert not self.seen & set(data.patients)
            return super().probabilities(data)


def test_1_no_model_behind_a_patients_bounds_has_seen_the_patient():
    learner = Honest()
    found = jackknife_intervals(learner, DATA, FOLD, np.full(60, 0.5), QUICK, 1)
    assert not np.isnan([found.lower, found.upper]).any()
    patients = np.array(DATA.patients)
    assert sorted(map(sorted, learner.fitted_on)) == sorted(
        sorted(patients[~np.isin(FOLD, pair)]) for pair in combinations(range(5), 2)
    )


def test_2_bounds_are_worked_out_anew_by_fits_of_ones_own(crossed):
    seen = DATA.of_blocks(("size",))
    for k in (0, 3):
        rest = [j for j in range(5) if j != k]
        p = np.array(
            [
                SIZE.fit(seen.take(~np.isin(FOLD, (j, k))), QUICK, 3).model.probabilities(
                    seen.take(k == FOLD)
                )
                for j in rest
            ]
        )
        reach = student.ppf(0.975, 3) * np.sqrt(
            3 / 4 * ((logit(p) - logit(p).mean(axis=0)) ** 2).sum(axis=0)
        )
        middle = logit(crossed.probabilities[k == FOLD])
        assert logit(crossed.bounds.lower[k == FOLD]) == pytest.approx(middle - reach)
        assert logit(crossed.bounds.upper[k == FOLD]) == pytest.approx(middle + reach)


def test_3_labels_of_a_fold_change_nothing_of_its_own_bounds(crossed):
    y = DATA.y.copy()
    y[FOLD == 2] = np.random.default_rng(1).permutation(y[FOLD == 2])
    y[np.flatnonzero(FOLD == 2)[:2]] = [True, False]
    assert (y != DATA.y).any()
    other = cross_fit(SIZE, replace(DATA, y=y), FOLD, QUICK, seed=3)
    for end in ("lower", "upper"):
        one, two = getattr(crossed.bounds, end), getattr(other.bounds, end)
        assert one[FOLD == 2].tolist() == two[FOLD == 2].tolist()
        assert (one[FOLD != 2] != two[FOLD != 2]).all()


class Logistic:
    """Newton's logistic regression on the first column, without a choice."""

    name, blocks, negative_control = "logistic", ("size",), False

    def fit(self, data, _section, _seed):
        design, theta = np.column_stack([np.ones(data.y.size), data.X[:, 0]]), np.zeros(2)
        for _ in range(8):
            p = 1 / (1 + np.exp(-design @ theta))
            theta += np.linalg.solve(
                design.T @ (design * (p * (1 - p))[:, None]), design.T @ (data.y - p)
            )
        return Fit(Logistic.Model(theta), 0.5, {})

    class Model:
        kind = "logistic"

        def __init__(self, theta):
            self.theta = theta

        def probabilities(self, data):
            return 1 / (1 + np.exp(-(self.theta[0] + self.theta[1] * data.X[:, 0])))


def test_4_bounds_hold_the_true_probability_about_as_often_as_they_say():
    """100 cohorts of 200 patients whose truth is known, one held-out patient of each fold asked."""
    rng, wide, held = np.random.default_rng(7), dataset(200, n_features=1), []
    fold, seen = np.arange(200) % 5, wide.of_blocks(("size",))
    for _ in range(100):
        x = rng.normal(size=200)
        truth = 1 / (1 + np.exp(-x))
        cohort = replace(
            seen, X=np.repeat(x[:, None], seen.X.shape[1], axis=1), y=rng.random(200) < truth
        )
        p = np.zeros(200)
        for k in range(5):
            p[fold == k] = (
                Logistic()
                .fit(cohort.take(fold != k), QUICK, 1)
                .model.probabilities(cohort.take(fold == k))
            )
        found = jackknife_intervals(Logistic(), cohort, fold, p, QUICK, 1)
        held += ((found.lower <= truth) & (truth <= found.upper))[:5].tolist()
    assert 0.90 < np.mean(held) < 0.99


def test_5_rows_of_predictions_have_them_where_the_model_has(crossed):
    control = cross_fit(
        replace(SIZE, name="control", negative_control=True), DATA, FOLD, QUICK, seed=3
    )
    rows = derive_predictions([crossed, control], runs_of([crossed, control]), QUICK)
    assert rows.columns == list(PREDICTIONS.names)
    mine = rows.filter(model="size_change")
    assert ((mine["lower"] < mine["probability"]) & (mine["probability"] < mine["upper"])).all()
    assert rows.filter(model="control").select("lower", "upper").null_count().row(0) == (60, 60)
    assert (
        crossed.appraisal.facts["held_out_intervals"]
        == "jackknife over models that lack one more fold"
    )
    assert control.appraisal.facts["held_out_intervals"] == "not asked for: a negative control"


class Refusing(Memory):
    """Learns from no fewer than 40 patients."""

    def fit(self, data, section, seed):
        if data.y.size < 40:
            raise DatasetError("too few to learn from")
        return super().fit(data, section, seed)


def test_6_where_there_are_none_it_is_said_why():
    p = np.full(60, 0.5)
    for learner, fold, why in (
        (Memory(), FOLD % 2, "2 folds; a held-out patient's interval needs 3"),
        (Refusing(), FOLD, "two folds fewer cannot be trained on: too few to learn from"),
    ):
        found = jackknife_intervals(learner, DATA, fold, p, QUICK, 1)
        assert found.method == why
        assert np.isnan([found.lower, found.upper]).all()
    for asked, name, wanted in (
        ("none", "memory", False),
        ("baselines", COSTLY[0], False),
        ("baselines", "memory", True),
        ("all", COSTLY[0], True),
    ):
        learner = Memory()
        learner.name = name
        found = intervals_of_fold(
            learner, DATA, FOLD % 3, p, {**QUICK, "held_out_intervals": asked}, 1
        )
        assert ("not asked for" not in found.method) == wanted == bool(learner.fitted_on)


def test_7_models_that_agree_leave_nothing_unsure():
    class Same(Memory):
        def fit(self, data, section, seed):
            return replace(super().fit(data, section, seed), model=Constant(4))

    found = jackknife_intervals(Same(), DATA, FOLD, np.full(60, 0.4), QUICK, 1)
    assert [*found.lower, *found.upper] == pytest.approx([0.4] * 120)
