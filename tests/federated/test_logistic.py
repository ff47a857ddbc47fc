"""The federated logistic model: that of all patients together, and what bounds its privacy."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from dagster_project.federated.logistic import LogisticPlan, descend, gradients
from dagster_project.federated.refusals import OtherColumns, RowsApart
from dagster_project.federated.secure_sum import Member, RunKeys, add_parts
from tests.federated.hospitals import channels, run_of
from tests.federated.splits import secure_total, split

PLAN = LogisticPlan(
    ("pd_l1", "size", "dhi"),
    (50.0, -0.1, 1.0),
    (25.0, 0.2, 0.5),
    patients=200,
    steps=40,
    clip=1.0,
    rate=2.0,
    penalty=0.01,
)


def cohort(seed, n):
    random = np.random.default_rng(seed)
    z = random.normal(0, 1, (n, 3))
    labels = random.random(n) < 1 / (1 + np.exp(-(0.5 * z[:, 0] + 0.8 * z[:, 1] - 0.4)))
    values = np.array(PLAN.centres) + np.array(PLAN.units) * z
    values[random.random((n, 3)) < 0.05] = np.nan
    return values, labels


def gradient(plan, weights, values, labels):
    return gradients(plan, weights, values, labels).sum(axis=0)


def pooled(plan, values, labels):
    return descend(plan, lambda _, weights: gradient(plan, weights, values, labels))


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(20, 300), st.sampled_from([3, 8]))
def test_the_federated_coefficients_are_those_of_all_patients(seed, n, hospitals):
    values, labels = cohort(seed, n)
    rows = split(n, hospitals, np.random.default_rng(seed))
    plan = dataclasses.replace(PLAN, patients=n)
    federated = descend(
        plan,
        lambda _, weights: secure_total(
            gradient(plan, weights, values[r], labels[r]) for r in rows
        ),
    )
    np.testing.assert_allclose(federated, pooled(plan, values, labels), atol=1e-6)


def test_coefficients_through_masks_and_encryption():
    values, labels = cohort(7, 200)
    keys, rows = RunKeys.make(), split(200, 3, np.random.default_rng(7))
    members = [Member(found, keys) for found in channels(3).values()]
    plan = dataclasses.replace(PLAN, steps=12)

    def total_of(number, weights):
        parts = [
            member.part(gradient(plan, weights, values[r], labels[r]), number, plan.length)
            for member, r in zip(members, rows, strict=True)
        ]
        total = add_parts(run_of(3), number, plan.length, parts)
        opened = [member.open(total, number, plan.length) for member in members]
        assert all(np.array_equal(o, opened[0]) for o in opened)
        return opened[0]

    np.testing.assert_allclose(descend(plan, total_of), pooled(plan, values, labels), atol=1e-6)


def test_without_clip_and_noise_it_ends_where_scikit_learn_does():
    values, labels = cohort(3, 400)
    plan = dataclasses.replace(PLAN, patients=400, steps=4000, clip=1e6)
    other = LogisticRegression(C=1 / (plan.penalty * 400), tol=1e-10, max_iter=10_000)
    other.fit(plan.scaled(values), labels)
    expected = np.concatenate([other.intercept_, other.coef_[0]])
    np.testing.assert_allclose(pooled(plan, values, labels), expected, atol=1e-6)
    np.testing.assert_allclose(
        plan.probabilities(expected, values), other.predict_proba(plan.scaled(values))[:, 1]
    )


ANY = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.just(1e300))


@given(
    st.lists(ANY, min_size=3, max_size=3),
    st.booleans(),
    st.lists(st.floats(-50, 50), min_size=4, max_size=4),
    st.floats(0.01, 5),
)
def test_no_patient_moves_a_step_by_more_than_the_clip(row, label, weights, clip):
    plan = dataclasses.replace(PLAN, clip=clip)
    values, labels = cohort(1, 30)
    without = gradient(plan, np.array(weights), values, labels)
    with_one = gradient(plan, np.array(weights), np.vstack([values, row]), np.append(labels, label))
    assert np.linalg.norm(with_one - without) <= clip * (1 + 1e-9) + 1e-12


def test_a_missing_value_counts_as_the_centre_and_an_extreme_one_as_the_reach():
    scaled = PLAN.scaled([[np.nan, 1e9, 1.0], [75.0, -0.1, -np.inf]])
    assert scaled.tolist() == [[0.0, 3.0, 0.0], [1.0, 0.0, -3.0]]


def test_a_hospital_without_patients_adds_nothing():
    assert gradient(PLAN, np.ones(4), [], []).tolist() == [0.0] * 4


def test_rows_that_do_not_fit_are_refused():
    values, labels = cohort(1, 10)
    with pytest.raises(OtherColumns):
        gradient(PLAN, np.zeros(4), values[:, :2], labels)
    with pytest.raises(RowsApart):
        gradient(PLAN, np.zeros(4), values, labels[:1])
    with pytest.raises(RowsApart):
        gradient(PLAN, np.zeros(4), values, labels.astype(float))


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"clip": 0.0},
        {"clip": np.inf},
        {"rate": -1.0},
        {"patients": 0},
        {"penalty": -1.0},
        {"reach": 0.0},
        {"units": (1.0, 1.0, 0.0)},
        {"units": (1.0, 1.0)},
        {"centres": (1.0,)},
    ],
)
def test_settings_with_which_no_step_is_one_are_refused(change):
    with pytest.raises(ValueError, match="plan"):
        dataclasses.replace(PLAN, **change)
