"""Risks are from the patients of other folds alone, and categories have their own curves."""

from __future__ import annotations

import numpy as np
import pytest

from dagster_project.domain.evaluation.comparators import (
    LEAST_SUM_MM,
    Times,
    chances_by_columns,
    change_of_size,
    risks_by_category,
    risks_by_columns,
    shares_of_others,
)
from dagster_project.domain.evaluation.figures import folds_of
from dagster_project.statistics.survival import kaplan_meier
from tests.domain.evaluation.courses import landmarks

HORIZON = 90.0


def sample(n=60, seed=7):
    random = np.random.default_rng(seed)
    column = random.normal(size=(n, 2))
    days = np.ceil(random.exponential(120 * np.exp(-column[:, 0])))
    return Times(days, random.random(n) < 0.7, np.arange(n) % 5), column


def test_all_rows_of_a_patient_are_in_one_fold_whatever_their_order():
    patients = [("A", f"{n % 7}") for n in range(30)]
    folds = folds_of(patients, 3)
    assert len({(p, f) for p, f in zip(patients, folds.tolist(), strict=True)}) == 7
    assert folds_of(patients[::-1], 3).tolist() == folds.tolist()[::-1]
    assert sorted(np.bincount(folds_of(sorted(set(patients)), 3)).tolist()) == [2, 2, 3]


@pytest.mark.parametrize("held", [0, 13, 59])
def test_what_became_of_a_patient_has_no_part_in_the_own_risk(held):
    times, columns = sample()
    names = ["a" if c > 0 else "b" for c in columns[:, 1]]
    other = Times(times.days.copy(), times.events.copy(), times.folds)
    other.days[held], other.events[held] = 1.0, not times.events[held]
    for compute in (
        lambda t: risks_by_category(t, names, HORIZON),
        lambda t: risks_by_columns(t, columns, HORIZON),
        lambda t: chances_by_columns(t.events, columns, t.folds),
        lambda t: shares_of_others(t.events, t.folds),
    ):
        before, after = compute(times), compute(other)
        assert after[held] == before[held]
        assert not np.allclose(after, before)


def test_a_category_has_the_curve_of_its_patients_in_the_other_folds():
    times, columns = sample()
    names = np.array(["a" if c > 0 else "b" for c in columns[:, 1]])
    found = risks_by_category(times, names.tolist(), HORIZON)
    mask = (times.folds != times.folds[4]) & (names == names[4])
    curve = kaplan_meier(times.days[mask].tolist(), times.events[mask].tolist())
    assert found[4] == pytest.approx(1 - curve.survival_at(HORIZON))


def test_a_category_that_only_one_fold_has_gets_the_risk_of_all():
    times, _ = sample()
    names = ["rare" if f == 0 else "usual" for f in times.folds]
    base = risks_by_category(times, ["all"] * len(names), HORIZON)
    found = risks_by_category(times, names, HORIZON)
    assert found[times.folds == 0].tolist() == base[times.folds == 0].tolist()


def test_without_censoring_the_regression_is_the_plain_one():
    times, columns = sample(300)
    whole = Times(times.days, np.ones(300, dtype=bool), times.folds)
    labels = whole.days <= HORIZON
    assert risks_by_columns(whole, columns, HORIZON) == pytest.approx(
        chances_by_columns(labels, columns, whole.folds)
    )


def test_a_complete_response_has_a_change_of_size():
    first = landmarks({"L1": [50, 0]})[0]
    assert change_of_size(first) == pytest.approx(np.log(LEAST_SUM_MM / 50))
    assert change_of_size(landmarks({"P1": [50, 50]})[0]) is None
