"""Bounds of an ICC by leaving out patients: against the plain computation, and what they cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dagster_project.statistics.icc import icc
from dagster_project.statistics.icc_by_patient import (
    MINIMUM_PAIRS,
    MINIMUM_PATIENTS,
    icc_by_patient,
)


def reads(patients, lesions=5, *, hangs=3.0, seed=0):
    """Pairs of lesions whose reading errors share a part by patient; (values, whose)."""
    random = np.random.default_rng(seed)
    whose = [("AA", f"P{p}") for p in range(patients) for _ in range(lesions)]
    size = np.repeat(random.normal(30, 10, patients), lesions) + random.normal(0, 8, len(whose))
    off = np.repeat(random.normal(0, hangs, (patients, 2)), lesions, axis=0) + random.normal(
        0, 2, (len(whose), 2)
    )
    return size[:, None] + off, whose


@pytest.mark.parametrize("form", ["ICC(1,1)", "ICC(2,1)"])
def test_bounds_are_those_of_leaving_out_each_patient_by_hand(form):
    values, whose = reads(12)
    without = [
        np.arctanh(icc(values[[p != left for p in whose]], form).value)
        for left in dict.fromkeys(whose)
    ]
    reach = stats.t.ppf(0.975, 11) * np.sqrt(11 / 12 * ((without - np.mean(without)) ** 2).sum())
    found, centre = icc_by_patient(values, whose, form), np.arctanh(icc(values, form).value)
    assert found.value == icc(values, form).value
    assert (found.lower, found.upper) == pytest.approx(
        (np.tanh(centre - reach), np.tanh(centre + reach)), abs=1e-10
    )


def test_bounds_are_wider_where_lesions_are_correlated_within_patients():
    values, whose = reads(12, 10, hangs=8.0)
    found, naive = icc_by_patient(values, whose), icc(values)
    assert found.upper - found.lower > 1.5 * (naive.upper - naive.lower)


def test_the_order_of_pairs_changes_nothing():
    values, whose = reads(12)
    order = np.random.default_rng(1).permutation(len(whose))
    other = icc_by_patient(values[order], [whose[i] for i in order])
    found = icc_by_patient(values, whose)
    assert (other.value, other.lower, other.upper) == pytest.approx(
        (found.value, found.lower, found.upper), abs=1e-12
    )


@pytest.mark.parametrize(
    ("values", "whose", "reason"),
    [
        (*reads(MINIMUM_PAIRS - 1, 1), "pairs"),
        (*reads(MINIMUM_PATIENTS - 1, 10), "patients"),
        (np.full((12, 2), 20.0), [("AA", f"P{i}") for i in range(12)], "spread"),
        (
            np.repeat(np.arange(12.0)[:, None], 2, axis=1),
            [("AA", f"P{i}") for i in range(12)],
            "identical",
        ),
        (
            np.r_[np.full((11, 2), 20.0), [[50.0, 51.0]]],
            [("AA", f"P{i}") for i in range(12)],
            "without one of the patients",
        ),
    ],
)
def test_where_there_are_no_bounds_the_reason_is_given(values, whose, reason):
    found = icc_by_patient(np.asarray(values), whose)
    assert (found.lower, found.upper) == (None, None)
    assert reason in found.reason


def test_of_few_pairs_no_figure_is_given_at_all():
    assert icc_by_patient(*reads(2, 1)).value is None


def test_two_patients_of_two_hospitals_with_one_number_are_two():
    values, whose = reads(12)
    merged = [("AA" if i % 2 else "BB", "P1") for i in range(len(whose))]
    assert icc_by_patient(values, merged).lower is None
