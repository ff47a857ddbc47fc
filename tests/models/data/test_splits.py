"""Folds keep a patient whole and site and label alike, whatever the cohort looks like."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.splits import SplitError, check_folds, stratified_folds


def folds(patients, sites, labels, wanted=5, seed=3):
    return stratified_folds(
        patients, sites, np.array(labels), folds=wanted, seed=seed, scope="task T1"
    )


def spread(counts: Counter, names) -> int:
    values = [counts.get(name, 0) for name in names]
    return max(values) - min(values)


@st.composite
def cohorts(draw):
    """Any number of patients at up to four sites, both classes with at least two."""
    labels = [True, True, False, False, *draw(st.lists(st.booleans(), max_size=60))]
    sites = draw(
        st.lists(st.sampled_from(["A", "B", "C", "D"]), min_size=len(labels), max_size=len(labels))
    )
    return [f"P{i:03d}" for i in range(len(labels))], sites, labels


@given(cohorts(), st.integers(2, 6), st.integers(0, 99))
def test_1_classes_sites_and_sizes_differ_by_at_most_one_between_folds(cohort, wanted, seed):
    patients, sites, labels = cohort
    fold = folds(patients, sites, labels, wanted, seed)
    number = min(wanted, Counter(labels)[True], Counter(labels)[False])
    names = range(number)
    assert set(fold.tolist()) == set(names)
    assert spread(Counter(fold.tolist()), names) <= 1
    for stratum in set(zip(sites, labels, strict=True)):
        mine = Counter(
            k for k, s, y in zip(fold.tolist(), sites, labels, strict=True) if (s, y) == stratum
        )
        assert spread(mine, names) <= 1
    for label in (True, False):
        assert (
            spread(
                Counter(k for k, y in zip(fold.tolist(), labels, strict=True) if y == label), names
            )
            <= 1
        )
    check_folds(fold, patients, np.array(labels), scope="task T1")


@given(cohorts(), st.randoms())
def test_2_the_order_of_rows_changes_nobodys_fold(cohort, random):
    patients, sites, labels = cohort
    order = random.sample(range(len(patients)), len(patients))
    before = dict(zip(patients, folds(patients, sites, labels).tolist(), strict=True))
    moved = [[values[i] for i in order] for values in (patients, sites, labels)]
    assert dict(zip(moved[0], folds(*moved).tolist(), strict=True)) == before


@given(cohorts())
def test_3_rows_of_one_patient_stay_together(cohort):
    patients, sites, labels = cohort
    doubled = folds(patients * 2, sites * 2, labels * 2)
    assert (doubled[: len(patients)] == doubled[len(patients) :]).all()
    assert (doubled[: len(patients)] == folds(patients, sites, labels)).all()


def test_4_seed_decides():
    cohort = [f"P{i}" for i in range(40)], ["A", "B"] * 20, [True, True, False, False] * 10
    assert (folds(*cohort, seed=1) == folds(*cohort, seed=1)).all()
    assert (folds(*cohort, seed=1) != folds(*cohort, seed=2)).any()


@pytest.mark.parametrize(("n", "responders"), [(20, 4), (20, 10), (500, 250)])
def test_5_small_and_large_cohorts_at_three_sites(n, responders):
    patients, sites, labels = (
        [f"P{i}" for i in range(n)],
        [("A", "B", "C")[i % 3] for i in range(n)],
        [i < responders for i in range(n)],
    )
    assert folds(patients, sites, labels).max() + 1 == min(5, responders)


def test_6_a_class_of_one_cannot_be_split():
    with pytest.raises(
        SplitError,
        match=r"task T1: 1 responders and 3 non-responders cannot be split.*minimum_per_class",
    ):
        folds(["a", "b", "c", "d"], ["A"] * 4, [True, False, False, False])


@pytest.mark.parametrize(
    ("sites", "labels"),
    [(["A", "B", "A", "A"], [True] * 2 + [False] * 2), (["A"] * 4, [True, False, True, False])],
)
def test_7_a_patient_with_two_sites_or_labels_is_named(sites, labels):
    with pytest.raises(SplitError, match="patients twice have two sites or two labels"):
        folds(["twice", "twice", "b", "c"], sites, labels)


def test_8_a_patient_in_two_folds_is_named():
    with pytest.raises(SplitError, match="patients twice are in two folds"):
        check_folds(
            np.array([0, 1, 0, 1]),
            ["twice", "twice", "b", "c"],
            np.array([True, False, False, True]),
            scope="task T1",
        )


@pytest.mark.parametrize(
    ("fold", "labels", "said"),
    [
        ([0, 0, 1, 1], [True, False, True, True], "fold 0 is trained on one class only"),
        ([0, 0, 1, 1, 2, 2], [True, False, True, True, True, False], "fold 1 holds one class only"),
    ],
)
def test_9_a_fold_with_one_class_is_named(fold, labels, said):
    with pytest.raises(SplitError, match=f"task T1: {said}; ask for fewer folds"):
        check_folds(
            np.array(fold), [f"P{i}" for i in range(len(fold))], np.array(labels), scope="task T1"
        )
