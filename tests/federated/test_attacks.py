"""What an attacker gets: membership from a model with noise, and a part from a sum of two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.federated_attacks import DELTA, Patients, bound, membership_auc
from dagster_project.federated.fixed_point import add_residues, from_residues, to_residues
from dagster_project.federated.key_agreement import Run
from dagster_project.federated.ledger import Budget, Ledger, Step
from dagster_project.federated.logistic import LogisticPlan, gradients
from dagster_project.federated.refusals import OtherCohort, TooFewHospitals, TooLarge
from tests.federated.hospitals import CODES, PINNED, run_of


def a_cohort(n=80, columns=12, seed=4):
    random = np.random.default_rng(seed)
    values = random.normal(size=(n, columns))
    return Patients(values, random.random(n) < 1 / (1 + np.exp(-values[:, 0])))


def a_plan(columns=12, patients=40):
    names = tuple(f"c{i}" for i in range(columns))
    return LogisticPlan(
        names,
        (0.0,) * columns,
        (1.0,) * columns,
        patients=patients,
        steps=20,
        clip=1.0,
        rate=2.0,
        penalty=0.0,
    )


def test_membership_is_found_without_noise_and_within_the_bound_with_it():
    plan, cohort = a_plan(), a_cohort()
    plain = membership_auc(plan, cohort, 0.0, 24, 1)
    noisy = membership_auc(plan, cohort, 1.0, 24, 1)
    assert plain > 0.6, "the attack works: forty patients and twelve columns"
    assert noisy <= bound(1.0) + 0.02


def test_the_sum_of_two_is_the_others_part_and_no_run_of_two_begins():
    mine, theirs = np.array([1.5, -2.0, 7.0]), np.array([0.25, 3.0, -1.0])
    total = add_residues(to_residues(mine, 2), to_residues(theirs, 2))
    np.testing.assert_array_equal(from_residues(total) - mine, theirs)
    with pytest.raises(TooFewHospitals):
        run_of(2)
    with pytest.raises(TooFewHospitals):
        Run("r", "a" * 64, tuple((code, PINNED[code]) for code in CODES[:1]))


def test_two_exact_sums_that_differ_by_one_patient_are_that_patient_and_the_second_is_refused(
    tmp_path,
):
    """A gradient at weights of 0 is (1/2 - label) times 1 and the patient's values."""
    plan, cohort = a_plan(), a_cohort()
    rows = gradients(plan, np.zeros(plan.length), cohort.values / 8, cohort.labels)
    sums = [from_residues(to_residues(rows[k:].sum(axis=0), 3)) for k in (0, 1)]
    one = sums[0] - sums[1]
    assert (one[0] < 0) == cohort.labels[0]
    np.testing.assert_allclose(one[1:] / one[0], cohort.values[0] / 8, atol=1e-4)
    ledger = Ledger.create(tmp_path, "BJCH", Budget(3.0, DELTA))
    ledger.allow("p" * 64)
    step = Step("run-1", 1, "p" * 64, "q" * 64, "c" * 64, CODES[:3], None)
    ledger.spend(step)
    with pytest.raises(OtherCohort):
        ledger.spend(replace(step, run="run-2", cohort="d" * 64))


@pytest.mark.parametrize("value", [1e300, -1e300, 2.0**60])
def test_a_value_that_could_overflow_the_sum_is_refused_where_it_arises(value):
    with pytest.raises(TooLarge, match="nothing was sent"):
        to_residues(np.array([1.0, value]), 3)
