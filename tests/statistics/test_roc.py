"""ROC and AUC against independent computations: scikit-learn, the definition, the bootstrap."""

from __future__ import annotations

from math import erf, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from dagster_project.statistics import roc
from dagster_project.statistics.cross_fitting import fold_variance
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.pooling import hanley_mcneil
from tests.statistics.scores import SCORES, judged


def psi(x: float, y: float) -> float:
    return 1.0 if x > y else 0.5 if x == y else 0.0


def delong_by_definition(labels: np.ndarray, *scores: np.ndarray) -> tuple[list[float], np.ndarray]:
    """AUCs and covariance from the kernel psi, pair by pair (DeLong 1988, equations 3 to 6)."""
    aucs, v10, v01 = [], [], []
    for s in scores:
        kernel = np.array([[psi(x, y) for y in s[~labels]] for x in s[labels]])
        aucs.append(kernel.mean())
        v10.append(kernel.mean(axis=1))
        v01.append(kernel.mean(axis=0))
    m, n = int(labels.sum()), int((~labels).sum())
    return aucs, np.atleast_2d(np.cov(v10)) / m + np.atleast_2d(np.cov(v01)) / n


@given(judged())
def test_1_auc_and_interval_follow_delongs_definition(case):
    labels, scores = case
    (auc,), covariance = delong_by_definition(labels, scores)
    found = roc.auc_delong(labels, scores)
    assert found.value == pytest.approx(auc, abs=1e-12)
    assert found.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    reach = 1.959963984540054 * sqrt(covariance[0, 0])
    if covariance[0, 0] > 1e-15:
        assert (found.lower, found.upper) == pytest.approx(
            (max(0, auc - reach), min(1, auc + reach)), abs=1e-9
        )
    else:
        assert found.lower is None
        assert found.reason


def test_2_the_interval_is_that_of_the_bootstrap():
    rng = np.random.default_rng(5)
    labels = np.arange(300) % 3 == 0
    scores = rng.normal(labels * 0.8, 1)
    found = roc.auc_delong(labels, scores)
    draws = [
        np.mean(rng.choice(scores[labels], 100)[:, None] > rng.choice(scores[~labels], 200))
        for _ in range(2000)
    ]
    assert (found.lower, found.upper) == pytest.approx(
        np.quantile(draws, [0.025, 0.975]), abs=0.012
    )


def test_3_the_interval_covers_the_true_auc_as_often_as_it_says():
    rng = np.random.default_rng(8)
    labels = np.arange(80) % 2 == 0
    true = 0.5 * (1 + erf(1 / 2))
    intervals = [roc.auc_delong(labels, rng.normal(labels * 1.0, 1)) for _ in range(600)]
    covered = np.mean([i.lower <= true <= i.upper for i in intervals])
    assert 0.92 <= covered <= 0.97


@given(judged(), st.data())
def test_4_paired_difference_follows_delongs_definition(case, data):
    labels, scores = case
    other = np.array(data.draw(st.lists(SCORES, min_size=labels.size, max_size=labels.size)))
    aucs, covariance = delong_by_definition(labels, scores, other)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    gain, p = roc.auc_difference(labels, scores, other)
    assert gain.value == pytest.approx(aucs[0] - aucs[1], abs=1e-12)
    if variance > 1e-15:
        assert gain.upper - gain.lower == pytest.approx(
            2 * 1.959963984540054 * sqrt(variance), abs=1e-9
        )
        assert p == pytest.approx(1 - erf(abs(gain.value) / sqrt(2 * variance)), abs=1e-9)
    else:
        assert p is None


@given(judged(), st.integers(2, 20), st.randoms())
def test_4b_folds_widen_the_interval_as_nadeau_and_bengio_widen_a_mean_over_folds(
    case, folds, random
):
    labels, scores = case
    other = np.array(random.sample(scores.tolist(), scores.size))
    plain, p_plain = roc.auc_difference(labels, scores, other)
    wide, p = roc.auc_difference(labels, scores, other, folds=folds)
    assert wide.value == plain.value
    if p_plain is not None:
        n = 1000 * folds
        test, train = n / folds, n - n / folds
        per_fold = folds * (plain.upper - plain.lower) ** 2
        assert (wide.upper - wide.lower) ** 2 == pytest.approx(
            (1 / folds + test / train) * per_fold
        )
        assert p >= p_plain


@given(judged())
def test_4d_bounds_of_few_patients_are_the_aucs_that_lie_z_errors_away(case):
    """Hanley and McNeil's variance is Newcombe's where both classes have their mean size."""
    labels, scores = case
    found = roc.auc_of_few(labels, scores)
    assert found.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert 0.0 <= found.lower <= found.value <= found.upper <= 1.0
    size = np.array([labels.size / 2])
    counts = int(labels.sum()) * int((~labels).sum())
    for bound in (found.lower, found.upper):
        if 0.0 < bound < 1.0:
            equal = hanley_mcneil(bound, size, size)[0] * (labels.size / 2) ** 2
            error = sqrt(equal / counts)
            assert abs(found.value - bound) == pytest.approx(1.959963984540054 * error, abs=1e-9)
    mirrored = roc.auc_of_few(labels, -scores)
    assert (mirrored.lower, mirrored.upper) == pytest.approx(
        (1 - found.upper, 1 - found.lower), abs=1e-9
    )


@pytest.mark.parametrize(("patients", "true"), [(8, 0.75), (8, 0.93), (24, 0.93), (60, 0.85)])
def test_4e_bounds_of_few_patients_cover_what_they_say(patients, true):
    rng = np.random.default_rng(patients)
    labels, shift = np.arange(patients) % 2 == 0, sqrt(2) * NormalDist().inv_cdf(true)
    found = [roc.auc_of_few(labels, rng.normal(labels * shift, 1)) for _ in range(500)]
    assert 0.925 <= np.mean([e.lower <= true <= e.upper for e in found]) <= 0.99


def test_4f_a_hospital_whose_scores_do_not_overlap_has_bounds():
    labels = np.array([False, False, False, True, True, True])
    assert roc.auc_delong(labels, labels.astype(float)).lower is None
    found = roc.auc_of_few(labels, labels.astype(float))
    assert found.value == found.upper == 1.0
    assert 0.3 < found.lower < 0.6
    of_all = roc.auc_of_few(labels, labels.astype(float), 5)
    a_tenth = roc.auc_of_few(labels, labels.astype(float), 5, share=0.1)
    assert of_all.lower < a_tenth.lower < found.lower
    assert (1 - a_tenth.lower) / (1 - found.lower) == pytest.approx(sqrt(1 + 0.1 * 5 / 4))
    assert roc.auc_of_few(labels[:3], np.arange(3.0)).value is None


def test_4g_a_hundred_thousand_patients_do_not_overflow_the_ranks():
    """Another implementation gave an AUC of 16, and bounds of 1 to 1."""
    rng = np.random.default_rng(2)
    labels = rng.random(145_000) < 0.17
    scores = rng.normal(labels * 1.0, 1)
    true = NormalDist().cdf(1 / sqrt(2))
    for found in (roc.auc_delong(labels, scores), roc.auc_of_few(labels, scores)):
        assert found.lower < true < found.upper
        assert found.upper - found.lower < 0.01


@pytest.mark.parametrize(("responders", "others"), [(36, 14), (1, 5), (5, 1), (1, 1), (7, 49)])
def test_4h_separated_classes_have_an_auc_of_1_and_no_more(responders, others):
    """Another implementation gave 1.0000001, and an error where a class has one patient."""
    labels = np.arange(responders + others) < responders
    rng = np.random.default_rng(responders)
    found = roc.auc_of_few(labels, rng.random(labels.size) / 2 + labels / 2)
    assert found.value == found.upper == 1.0
    assert 0.0 <= found.lower < 1.0


@given(judged(), st.integers(2, 20))
def test_4c_bounds_for_folds_move_from_the_value_by_the_same_factor(case, folds):
    labels, scores = case
    plain = roc.auc_delong(labels, scores)
    found = roc.auc_of_folds(labels, scores, folds)
    if plain.lower is None:
        assert found == plain
        return
    middle = found.lower > 0 and found.upper < 1
    assert found.lower <= plain.lower <= found.value == plain.value <= plain.upper <= found.upper
    assert not middle or (found.upper - found.lower) / (plain.upper - plain.lower) == pytest.approx(
        sqrt(fold_variance(folds))
    )


@given(judged(), st.randoms())
def test_5_auc_knows_ranks_alone_and_no_order_of_patients(case, random):
    labels, scores = case
    found = roc.auc_delong(labels, scores)
    assert roc.auc_delong(labels, np.exp(3 * scores) - 7) == found
    order = np.array(random.sample(range(labels.size), labels.size))
    shuffled = roc.auc_delong(labels[order], scores[order])
    assert shuffled.value == pytest.approx(found.value, abs=1e-12)
    assert roc.auc_delong(labels, -scores).value == pytest.approx(1 - found.value, abs=1e-12)
    assert roc.auc_delong(~labels, -scores).value == pytest.approx(found.value, abs=1e-12)


def test_6_without_both_classes_there_is_no_auc_and_without_variance_no_interval():
    scores = np.array([0.2, 0.4, 0.6])
    assert (
        roc.auc_delong(np.array([True, True, True]), scores).reason
        == "all patients are of one class"
    )
    assert roc.auc_delong(np.array([True, False, False]), scores) == Estimate(
        0.0, reason="an interval needs two patients of each class"
    )
    separated = roc.auc_delong(np.array([False, False, True, True]), np.array([0.1, 0.2, 0.3, 0.4]))
    assert (separated.value, separated.lower) == (1.0, None)
    constant = roc.auc_delong(np.array([False, False, True, True]), np.full(4, 0.3))
    assert (constant.value, constant.lower) == (0.5, None)
    assert roc.auc_delong(np.zeros(0, dtype=bool), np.zeros(0)).value is None


@given(judged())
def test_7_roc_points_are_scikit_learns_and_enclose_the_auc(case):
    labels, scores = case
    points = roc.roc_points(labels, scores)
    false_rate, true_rate, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    assert [p.false_positive_rate for p in points] == pytest.approx(false_rate)
    assert [p.true_positive_rate for p in points] == pytest.approx(true_rate)
    assert [p.threshold for p in points[1:]] == pytest.approx(thresholds[1:])
    area = np.trapezoid(
        [p.true_positive_rate for p in points], [p.false_positive_rate for p in points]
    )
    assert area == pytest.approx(roc.auc_delong(labels, scores).value, abs=1e-12)


@given(judged())
def test_8_no_cutoff_has_a_greater_youden_index_within_the_range_of_scores(case):
    labels, scores = case
    chosen = roc.youden_cutoff(labels, scores)
    index = {
        c: np.mean(scores[labels] >= c) - np.mean(scores[~labels] >= c)
        for c in [chosen, *np.unique(scores)[1:]]
    }
    assert index[chosen] == pytest.approx(max(index.values()), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "labels", "cutoff"),
    [
        pytest.param([0.1, 0.3, 0.5, 0.9], [0, 0, 1, 1], 0.4, id="midway between the classes"),
        pytest.param(
            [0.2, 0.4, 0.6, 0.8],
            [0, 1, 0, 1],
            0.3,
            id="of two maxima equally far from one half the lower",
        ),
        pytest.param(
            [0.1, 0.2, 0.4, 0.6], [0, 1, 0, 1], 0.5, id="of two maxima the nearer to one half"
        ),
        pytest.param(
            [0.3, 0.3, 0.3, 0.3], [0, 1, 0, 1], 0.3, id="a constant score is its own cut-off"
        ),
    ],
)
def test_9_cutoff(scores, labels, cutoff):
    assert roc.youden_cutoff(np.array(labels, dtype=bool), np.array(scores)) == pytest.approx(
        cutoff
    )


def test_10_subgroups_come_with_counts():
    random = np.random.default_rng(20260112)
    labels, scores = random.random(300) < 0.5, random.random(300)
    groups = {"first": np.arange(300) < 100, "none": np.zeros(300, dtype=bool)}
    found = roc.subgroup_aucs(labels, scores, groups, folds=5)
    assert list(found) == ["first"]
    counts = (found["first"]["n"], found["first"]["n_positive"])
    assert counts == (100, int(labels[:100].sum()))
