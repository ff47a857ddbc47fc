"""One penalised score of features: fitted as others fit it, nested, and worth what was planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dagster_project.domain.evaluation.comparators import RIDGE
from dagster_project.domain.evaluation.risk_figures import NO_FEATURES, progression_figures
from dagster_project.domain.evaluation.supermodel import (
    WITH_FEATURES,
    brier_gained,
    is_landmark,
    risks_by,
    risks_of_stack,
    stack_landmarks,
    stack_with_features,
    weights_at,
)
from dagster_project.simulation.landmarks import landmarks_of_tables
from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.study import load_study
from models.data.visit_features import VisitFeatures, build_visit_features
from models.learners.feature_score import ScoredFeatures

STUDY = load_study()
SECTION = STUDY.learning
NAMES = SECTION["network_features"]
HORIZON = max(STUDY.section("evaluation")["horizons_days"])
RULES = {**STUDY.section("evaluation"), "folds": 5, "draws": 50}
WHOLE = {**SECTION, "univariate_keep": 1000, "redundant_correlation": 1.0}
"""Every column is taken."""


def cohort(heterogeneity, patients=250, seed=3):
    """Landmarks of a simulated cohort, and the features of these visits."""
    truth = Truth(clinical=0.0, size=0.5, heterogeneity=heterogeneity)
    made = simulate_tables(truth, NAMES, patients=patients, seed=seed)
    features = build_visit_features(
        made.lesions, made.radiomic_features, made.delta_features, made.dhi
    )
    known = ScoredFeatures(features, SECTION).knows
    return [r for r in landmarks_of_tables(made) if is_landmark(r) and known(r)], features


@pytest.fixture(scope="module")
def telling():
    return cohort(2.0)


def with_score(rows, features, section=SECTION, folds=5):
    return stack_with_features(rows, ScoredFeatures(features, section), folds, HORIZON)


def some_missing(features):
    """The same features, a fifth of them not there."""
    random = np.random.default_rng(1)
    gone = random.random(features.values.shape) < 0.2
    return replace(features, values=np.where(gone, np.nan, features.values))


def test_the_score_is_that_of_a_weighted_ridge_regression_made_by_scikit_learn(telling):
    """A penalty of its own for each column is one penalty on columns divided by its root."""
    rows, whole = telling
    features = some_missing(whole)
    stack = with_score(rows, features, WHOLE)
    seen = stack.folds != 2
    strength = 0.03
    (ours,) = stack.score.fit(seen, [strength])
    case, control = weights_at(stack, seen, HORIZON)
    weights = case + control
    used = weights > 0
    raw = features.of_visits([(*r.patient, r.visit) for r in rows])
    imputer = SimpleImputer(strategy="median").fit(raw[used])
    scaler = StandardScaler().fit(imputer.transform(raw[used]))
    z = scaler.transform(imputer.transform(raw))
    size = StandardScaler().fit(stack.columns[used]).transform(stack.columns)
    roots = np.sqrt([*[RIDGE] * size.shape[1], *[strength * weights.sum()] * z.shape[1]])
    design = np.column_stack([size, z]) / roots
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(
        design[used], case[used] > 0, sample_weight=weights[used]
    )
    of_features = design[:, size.shape[1] :] @ theirs.coef_[0, size.shape[1] :]
    assert ours.score == pytest.approx(of_features, abs=2e-4)
    assert ours.risk == pytest.approx(theirs.predict_proba(design)[:, 1], abs=1e-4)


def test_no_row_has_a_score_that_its_own_patient_taught(telling):
    """Turning the events of a patient leaves that patient's score, held out or learnt from."""
    rows, features = telling
    one = {**SECTION, "ridge_strengths": [0.1]}
    stack = with_score(rows, features, one)
    seen = stack.folds != 0
    before = stack.score(seen)
    for patient in (rows[int(np.flatnonzero(mask)[0])].patient for mask in (seen, ~seen)):
        own = np.array([r.patient == patient for r in rows])
        turned = [replace(r, event=not r.event) if o else r for r, o in zip(rows, own, strict=True)]
        after = with_score(turned, features, one).score(seen)
        assert (before[own] == after[own]).all()
        assert (before[~own] == after[~own]).all() == (not seen[own].any())


def test_a_row_that_is_learnt_from_has_another_score_than_the_fit_on_all_gives(telling):
    rows, features = telling
    one = {**SECTION, "ridge_strengths": [0.1]}
    stack = with_score(rows, features, one)
    seen = stack.folds != 0
    of_all = stack.score.fit(seen, [0.1])[0].score
    assert (stack.score(seen)[seen] != of_all[seen]).all()
    assert (stack.score(seen)[~seen] == of_all[~seen]).all()


def test_features_that_tell_gain_over_size_and_others_do_not(telling):
    found = {}
    for name, (rows, features) in {"telling": telling, "silent": cohort(0.0)}.items():
        by_size = risks_of_stack(stack_landmarks(rows, 5), HORIZON)
        stack = with_score(rows, features)
        patients = [r.patient for r in rows]
        found[name] = brier_gained(
            stack, patients, risks_of_stack(stack, HORIZON), by_size, HORIZON
        )
    assert found["telling"].lower > 0
    assert found["silent"].lower < 0
    assert found["telling"].value > found["silent"].value


def test_gain_is_the_difference_of_two_brier_scores_and_zero_for_the_same_risks(telling):
    rows, _ = telling
    stack, patients = stack_landmarks(rows, 5), [r.patient for r in rows]
    risks = risks_of_stack(stack, HORIZON)
    same = brier_gained(stack, patients, risks, risks, HORIZON)
    assert (same.value, same.lower, same.upper) == (0.0, 0.0, 0.0)
    case, control = weights_at(stack, stack.followed, HORIZON)
    half = np.full(len(rows), 0.5)
    one, other = ((case * (1 - p) ** 2 + control * p**2).mean() for p in (half, risks))
    found = brier_gained(stack, patients, risks, half, HORIZON)
    assert found.value == pytest.approx(one - other)
    assert found.lower < found.value < found.upper


def test_the_evaluation_has_the_score_beside_size_on_the_same_visits(telling):
    rows, features = telling
    source = ScoredFeatures(features, SECTION)
    found = {
        (f.population.name, f.comparator, f.statistic): f
        for f in progression_figures(rows, "*", RULES, brief=False, features=source)
    }
    for visit in ("first_visit", "second_visit"):
        own, size = (found[visit, name, "c_index"] for name in (WITH_FEATURES, "supermodel"))
        assert (own.n, own.events) == (size.n, size.events)
        assert own.found.value > size.found.value
    gain = found["all", WITH_FEATURES, f"brier_gain_over_size_{HORIZON}"]
    assert gain.found.lower > 0
    nothing = progression_figures(rows, "*", RULES, brief=False)
    reasons = [f.found.reason for f in nothing if f.comparator == WITH_FEATURES]
    assert reasons == [NO_FEATURES] * len(RULES["horizons_days"])


def test_without_an_event_or_a_column_the_score_is_nothing_and_size_decides(telling):
    rows, features = telling
    quiet = [replace(r, event=False) for r in rows]
    everybody = np.ones(len(rows), dtype=bool)
    assert not with_score(quiet, features).score(everybody).any()
    constant = replace(features, values=np.ones_like(features.values))
    stack = with_score(rows, constant)
    assert not stack.score(everybody).any()
    by_size = risks_by(stack_landmarks(rows, 5), HORIZON, everybody, everybody)
    assert risks_by(stack, HORIZON, everybody, everybody) == pytest.approx(by_size)


def test_a_visit_without_features_is_not_known(telling):
    rows, features = telling
    source = ScoredFeatures(features, SECTION)
    assert source.knows(rows[0])
    assert not source.knows(replace(rows[0], visit="T3"))
    with pytest.raises(KeyError):
        features.of_visits([("nowhere", "nobody", "T1")])
    assert VisitFeatures({}, (), np.zeros((0, 0))).readers_of([rows[0].patient]) is None
