"""Bounds of an ICC by leaving out patients: against the plain computation, and what they cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dagster_project.statistics.icc import icc
from dagster_project.statistics.icc_by_patient import (
    MINIMUM_PAIRS,
    MINIMUM_PATIENTS,
    bounds_on_fishers_scale,
    icc_by_patient,
    reach_by_patient,
    reach_of_copies,
    sums_of_moments,
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


SINGLES = ["ICC(1,1)", "ICC(2,1)", "ICC(3,1)"]


def by_hand(z):
    """Half width of Student's interval from the figures without each patient."""
    k = len(z)
    return stats.t.ppf(0.975, k - 1) * np.sqrt((k - 1) / k * ((z - np.mean(z)) ** 2).sum())


@pytest.mark.parametrize("form", SINGLES)
def test_bounds_are_those_of_leaving_out_each_patient_by_hand(form):
    values, whose = reads(12)
    without = [
        np.arctanh(icc(values[[p != left for p in whose]], form).value)
        for left in dict.fromkeys(whose)
    ]
    reach = by_hand(without)
    found, centre = icc_by_patient(values, whose, form), np.arctanh(icc(values, form).value)
    assert found.value == icc(values, form).value
    assert (found.lower, found.upper) == pytest.approx(
        (np.tanh(centre - reach), np.tanh(centre + reach)), abs=1e-10
    )


@pytest.mark.parametrize("form", SINGLES)
def test_bounds_of_the_mean_of_both_readers_belong_to_those_of_a_single_one(form):
    values, whose = reads(12)
    single, mean = (icc_by_patient(values, whose, f) for f in (form, form.replace(",1", ",k")))
    assert mean.value == icc(values, form.replace(",1", ",k")).value
    for name in ("lower", "value", "upper"):
        r = getattr(single, name)
        assert getattr(mean, name) == pytest.approx(2 * r / (1 + r), abs=1e-10)


def moments(values, whose, patients):
    """Number, mean and squares about it, of the pairs' means and of their differences."""
    own = [values[[w == p for w in whose]] for p in patients]
    figures = []
    for of_pairs in ([v.mean(1) for v in own], [v[:, 1] - v[:, 0] for v in own]):
        figures += [
            [v.mean() if v.size else 0.0 for v in of_pairs],
            [((v - v.mean()) ** 2).sum() if v.size else 0.0 for v in of_pairs],
        ]
    return [np.array(f) for f in ([float(len(v)) for v in own], *figures)]


def test_many_features_at_once_are_each_of_the_patients_who_have_it():
    """The second feature lacks a patient: leaving out that one is no repetition."""
    values, whose = reads(12)
    patients = list(dict.fromkeys(whose))
    fewer = [i for i, w in enumerate(whose) if w != patients[3]]
    parts = [
        (1e6 + values, whose),
        (values[fewer] / 1e6, [whose[i] for i in fewer]),
        (values[:10], whose[:10]),
    ]
    each = [moments(v, w, patients) for v, w in parts]
    sums = sums_of_moments(*(np.stack(columns, axis=1) for columns in zip(*each, strict=True)))
    found = reach_by_patient(sums, "ICC(2,1)")
    for (v, w), reach in zip(parts[:2], found, strict=False):
        expected = icc_by_patient(v, w)
        assert bounds_on_fishers_scale(icc(v).value, reach) == pytest.approx(
            (expected.lower, expected.upper), abs=1e-7
        )
    assert np.isnan(found[2]), "ten pairs of two patients"


@pytest.mark.parametrize("k", [2, 3, 5])
def test_bounds_of_copies_are_those_of_leaving_out_each_patient_by_hand(k):
    random = np.random.default_rng(k)
    whose = [f"P{i // 2}" for i in range(30)]
    values = np.exp(random.normal(size=(30, 1)) + random.normal(0, 0.4, (30, k)))
    patients = list(dict.fromkeys(whose))
    own = [values[[w == p for w in whose]] for p in patients]
    mean = [v.mean(axis=1) for v in own]
    reach = reach_of_copies(
        np.array([[float(len(v))] for v in own]),
        np.array([[m.mean()] for m in mean]),
        np.array([[((m - m.mean()) ** 2).sum()] for m in mean]),
        np.array([[v.var(axis=1, ddof=1).mean()] for v in own]),
        k,
    )
    without = [icc(values[[w != p for w in whose]], "ICC(1,1)").value for p in patients]
    z = [0.5 * np.log((1 + (k - 1) * r) / (1 - r)) for r in without]
    assert reach == pytest.approx(by_hand(z), rel=1e-9)
    value = icc(values, "ICC(1,1)").value
    low, high = bounds_on_fishers_scale(value, 0.3, k)
    centre = 0.5 * np.log((1 + (k - 1) * value) / (1 - value))
    for bound, side in ((low, -0.3), (high, 0.3)):
        z = 0.5 * np.log((1 + (k - 1) * bound) / (1 - bound))
        assert z == pytest.approx(centre + side, abs=1e-9)


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
