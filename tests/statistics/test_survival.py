"""Curves and their comparison: against lifelines, published numbers and real cohorts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test

from dagster_project.statistics.survival import kaplan_meier, log_rank
from tests.domain.courses import rows_of


@pytest.mark.real_data
def test_lung_ncctg(shared_data):
    """NCCTG advanced lung cancer: median 310 d, log-log interval 284-361 (SAS, lifelines).

    R's log transform gives 285-363.
    """
    rows = rows_of(shared_data / "response" / "lung_ncctg.csv")
    days, died = [float(r["time"]) for r in rows], [float(r["status"]) == 2 for r in rows]
    curve = kaplan_meier(days, died)
    assert (curve.median, curve.median_lower, curve.median_upper, curve.transform) == (
        310,
        284,
        361,
        "log-log",
    )
    test = log_rank(days, died, [r["sex"] for r in rows])
    assert (round(test.statistic, 4), test.degrees, round(test.p, 5)) == (10.3267, 1, 0.00131)


@pytest.mark.real_data
def test_msk_mind(shared_data):
    """120 patients with NSCLC on PD-(L)1 antibodies (Vanguri 2022)."""
    rows = rows_of(shared_data / "response" / "msk_mind_patients_part1.txt", delimiter="\t")
    curve = kaplan_meier(
        [float(r["PFS_MONTHS"]) for r in rows], [r["PFS_STATUS"].startswith("1") for r in rows]
    )
    assert curve.median == 2.4
    assert curve.survival_at(6) == pytest.approx(0.31136, abs=5e-6)


PATIENTS = st.lists(
    st.tuples(st.integers(1, 40), st.booleans(), st.integers(0, 2)), min_size=4, max_size=60
)


@settings(deadline=None, max_examples=60)
@given(PATIENTS)
def test_curve_and_band_agree_with_lifelines(patients):
    days, died = [p[0] for p in patients], [p[1] for p in patients]
    with np.errstate():  # which lifelines sets for good
        ours, theirs = kaplan_meier(days, died), KaplanMeierFitter().fit(days, died)
    assert np.allclose(ours.survival, theirs.survival_function_at_times(ours.time).to_numpy())
    bands = theirs.confidence_interval_survival_function_.loc[list(ours.time)].to_numpy()
    for lower, upper, survival, (their_lower, their_upper) in zip(
        ours.lower, ours.upper, ours.survival, bands, strict=True
    ):
        if 0 < survival < 1:
            assert (lower, upper) == pytest.approx((their_lower, their_upper))
    below = [t for t, s in theirs.survival_function_["KM_estimate"].items() if s <= 0.5 + 1e-9]
    assert ours.median == (below[0] if below else None)


@settings(deadline=None, max_examples=60)
@given(PATIENTS.filter(lambda ps: any(p[1] for p in ps) and len({p[2] for p in ps}) > 1))
def test_log_rank_agrees_with_lifelines(patients):
    days, died, group = map(list, zip(*patients, strict=True))
    ours = log_rank(days, died, group)
    theirs = multivariate_logrank_test(days, group, died)
    if ours.statistic > 1e-9:
        assert ours.statistic == pytest.approx(theirs.test_statistic, rel=1e-6, abs=1e-9)
        assert ours.p == pytest.approx(theirs.p_value, rel=1e-6)


def test_median_is_the_first_time_at_or_below_one_half():
    assert kaplan_meier([1, 2, 3, 4], [True] * 4).median == 2
    assert kaplan_meier([1, 2, 3, 4], [False, True, False, False]).median is None


def test_no_bound_is_invented_where_the_band_does_not_exist():
    curve = kaplan_meier([1, 2], [True, True])
    assert (curve.survival[-1], curve.lower[-1], curve.upper[-1]) == (0.0, None, None)
    assert kaplan_meier([5, 5], [False, False]).lower == (1.0,)


def test_survival_before_the_first_time_is_one():
    assert kaplan_meier([10, 20], [True, True]).survival_at(9.9) == 1.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kaplan_meier([], []), "at least one patient"),
        (lambda: kaplan_meier([1.0], []), "one event mark a time"),
        (lambda: log_rank([1.0, 2.0], [True, True], ["a", "a"]), "two groups"),
    ],
)
def test_what_cannot_be_computed_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@settings(deadline=None, max_examples=60)
@given(PATIENTS)
def test_a_curve_knows_who_was_at_risk_and_who_was_censored(patients):
    days, died = [p[0] for p in patients], [p[1] for p in patients]
    curve = kaplan_meier(days, died)
    assert (curve.n, sum(curve.events)) == (len(days), sum(died))
    assert list(curve.censored) == sorted(d for d, e in zip(days, died, strict=True) if not e)
    for time in (0, 1, 7, 7.5, 40, 41):
        assert curve.at_risk_at(time) == sum(d >= time for d in days)


def test_survival_between_times_is_that_of_lifelines():
    random = np.random.default_rng(20260112)
    days, events = random.integers(1, 60, 300).astype(float), random.random(300) < 0.6
    with np.errstate():  # which lifelines sets for good
        curve, fitted = (
            kaplan_meier(days.tolist(), events.tolist()),
            KaplanMeierFitter().fit(days, events),
        )
    for day in (5.0, 20.0, 44.0):
        assert curve.survival_at(day) == pytest.approx(float(fitted.predict(day)), abs=1e-6)
