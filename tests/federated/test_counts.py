"""Figures read from summed counts are those of all patients together."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.federated.counts import CountsByArm, DayGrid, ScoreBins, whole_numbers
from dagster_project.federated.refusals import NotCounts, RowsApart, UnknownGroup
from dagster_project.federated.secure_sum import Member, RunKeys, add_parts
from dagster_project.statistics.roc import auc_delong
from dagster_project.statistics.survival import kaplan_meier, log_rank
from tests.federated.hospitals import channels, run_of
from tests.federated.splits import over_hospitals, secure_total, split

COHORTS = given(st.integers(0, 2**32 - 1), st.integers(1, 150), st.sampled_from([3, 8]))
FEWER = settings(max_examples=40)


@FEWER
@COHORTS
def test_counts_by_arm(seed, n, hospitals):
    random = np.random.default_rng(seed)
    arms = random.choice(["A", "B", "C"], n)
    query = CountsByArm(("A", "B", "C"))
    total = over_hospitals(lambda rows: query.vector("S1", arms[rows]), n, hospitals, random)
    assert query.read(total)["all"] == {a: Counter(arms.tolist())[a] for a in query.arms}


def test_counts_by_hospital_and_arm():
    query = CountsByArm(("A", "B"), ("S1", "S2", "S3"))
    vectors = [query.vector("S1", ["A", "A"]), query.vector("S2", ["B"]), query.vector("S3", [])]
    assert query.read(secure_total(vectors)) == {
        "S1": {"A": 2, "B": 0},
        "S2": {"A": 0, "B": 1},
        "S3": {"A": 0, "B": 0},
    }


def test_who_is_in_no_arm_of_the_plan_is_counted_and_nothing_is_sent():
    with pytest.raises(UnknownGroup, match="2 rows"):
        CountsByArm(("A",)).vector("S1", ["A", "B", "Zhang San"])
    with pytest.raises(UnknownGroup):
        CountsByArm(("A",), ("S1",)).vector("S2", ["A"])


@FEWER
@COHORTS
def test_survival_on_a_grid_of_single_days_is_that_of_the_days(seed, n, hospitals):
    random = np.random.default_rng(seed)
    days, died = random.integers(0, 400, n), random.random(n) < 0.6
    groups = random.choice(["low", "high"], n)
    query = DayGrid(("low", "high"), 400)
    total = over_hospitals(
        lambda r: query.vector(days[r], died[r], groups[r]), n, hospitals, random
    )
    found = query.read(total)
    assert found.curves == {
        g: kaplan_meier(days[groups == g], died[groups == g]) for g in query.groups if g in groups
    }
    if len(found.curves) == 2 and died.any():
        names = [str(query.groups.index(g)) for g in groups]
        assert found.log_rank.statistic == pytest.approx(log_rank(days, died, names).statistic)
    else:
        assert found.log_rank is None


@FEWER
@COHORTS
def test_survival_on_a_coarse_grid_is_that_of_the_times_on_the_grid(seed, n, hospitals):
    random = np.random.default_rng(seed)
    days, died = random.exponential(300, n), random.random(n) < 0.6
    query = DayGrid(("all",), 700, 30)
    total = over_hospitals(
        lambda r: query.vector(days[r], died[r], ["all"] * len(r)), n, hospitals, random
    )
    coarse = np.minimum(np.ceil(days / 30) * 30, 720)
    events = died & (days <= 720)
    assert query.read(total).curves["all"] == kaplan_meier(coarse, events)


@pytest.mark.parametrize("day", [-1.0, np.nan, np.inf])
def test_a_time_is_0_or_more(day):
    with pytest.raises(ValueError, match="days"):
        DayGrid(("all",), 10).vector([day], [True], ["all"])


@FEWER
@COHORTS
def test_the_auc_is_that_of_the_bins_and_within_reach_of_the_scores(seed, n, hospitals):
    random = np.random.default_rng(seed)
    labels, query = random.random(n) < 0.4, ScoreBins(50)
    scores = np.clip(random.normal(0.4, 0.2, n) + 0.1 * labels, 0, 1)
    total = over_hospitals(lambda r: query.vector(labels[r], scores[r]), n, hospitals, random)
    found, binned = query.read(total), auc_delong(labels, query.bin_of(scores).astype(float))
    assert found.auc.value == pytest.approx(binned.value)
    assert found.auc.reason == binned.reason
    if binned.lower is not None:
        assert (found.auc.lower, found.auc.upper) == pytest.approx((binned.lower, binned.upper))
    if binned.value is not None:
        plain = auc_delong(labels, scores)
        assert abs(found.auc.value - plain.value) <= found.reach + 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_of_500_patients_the_auc_in_bins_is_off_by_less_than_2e_4(seed):
    random = np.random.default_rng(seed)
    labels, query = random.random(500) < 0.35, ScoreBins()
    scores = 1 / (1 + np.exp(-random.normal(0, 1, 500) - labels))
    total = over_hospitals(lambda r: query.vector(labels[r], scores[r]), 500, 8, random)
    found, plain = query.read(total).auc, auc_delong(labels, scores)
    for a, b in ((found.value, plain.value), (found.lower, plain.lower)):
        assert a == pytest.approx(b, abs=2e-4)


@pytest.mark.parametrize("score", [-0.01, 1.01, np.nan])
def test_a_score_is_within_0_and_1(score):
    with pytest.raises(ValueError, match="within 0 and 1"):
        ScoreBins(10).vector([True], [score])


def test_without_patients_there_is_no_auc():
    query = ScoreBins(10)
    assert query.read(np.zeros(20)).auc.value is None
    assert query.read(secure_total([query.vector([True], [1.0])] * 3)).reach is None


@pytest.mark.parametrize("value", [-1.0, 0.5, 2.0**-20])
def test_what_is_no_sum_of_counts_is_refused(value):
    with pytest.raises(NotCounts):
        whole_numbers(np.array([1.0, value]))


def test_a_query_through_masks_and_encryption():
    keys, random = RunKeys.make(), np.random.default_rng(3)
    labels, scores, query = random.random(60) < 0.4, random.random(60), ScoreBins()
    members = {code: Member(found, keys) for code, found in channels(3).items()}
    parts = [
        member.part(query.vector(labels[rows], scores[rows]), 1, query.length)
        for member, rows in zip(members.values(), split(60, 3, random), strict=True)
    ]
    total = add_parts(run_of(3), 1, query.length, parts)
    bins = query.bin_of(scores).astype(float)
    for member in members.values():
        found = query.read(member.open(total, 1, query.length)).auc
        assert found.value == pytest.approx(auc_delong(labels, bins).value)


@pytest.mark.parametrize("marks", [[1, -1], [1.0, np.nan], ["yes", "no"], [True], [True] * 3])
def test_marks_that_are_neither_yes_nor_no_or_not_one_a_row_are_refused(marks):
    with pytest.raises(RowsApart):
        ScoreBins(10).vector(marks, [0.5, 0.6])
    with pytest.raises(RowsApart):
        DayGrid(("all",), 10).vector([1.0, 2.0], marks, ["all"] * 2)


def test_one_group_does_not_count_for_all_rows():
    with pytest.raises(RowsApart):
        DayGrid(("all",), 10).vector([1.0, 2.0], [True, False], ["all"])
