"""AUC and Brier score at a day: without censoring the plain ones, with it a slow oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.statistics.survival import kaplan_meier
from dagster_project.statistics.time_dependent import auc_at, brier_at, horizon_weights

HORIZON = 5.0
TIMES = st.lists(
    st.tuples(st.integers(1, 9), st.booleans(), st.integers(0, 4)), min_size=3, max_size=14
)


def arrays(rows):
    days, events, scores = (np.array(column) for column in zip(*rows, strict=True))
    return days.astype(float), events, scores / 4


def censoring_curve(days, events):
    """G(t-) and G(t) by the Kaplan-Meier curve of being censored just after each time."""
    later = np.where(events, days, days + 0.25)
    curve = kaplan_meier(later.tolist(), (~events).tolist())
    return curve.survival_at


@settings(max_examples=60, deadline=None)
@given(TIMES)
def test_weights_are_those_of_a_curve_of_censoring(rows):
    days, events, _ = arrays(rows)
    survival = censoring_curve(days, events)
    case, control = horizon_weights(days, events, HORIZON)
    for k, (day, event) in enumerate(zip(days, events, strict=True)):
        is_case, is_control = event and day <= HORIZON, day > HORIZON
        assert case[k] == pytest.approx(1 / survival(day) if is_case else 0)
        assert control[k] == pytest.approx(1 / survival(HORIZON + 0.25) if is_control else 0)


@settings(max_examples=60, deadline=None)
@given(TIMES)
def test_auc_and_brier_agree_with_two_loops(rows):
    days, events, scores = arrays(rows)
    case, control = horizon_weights(days, events, HORIZON)
    right = pairs = 0.0
    for i in range(len(days)):
        for j in range(len(days)):
            weight = case[i] * control[j]
            pairs += weight
            right += weight * (1.0 if scores[i] > scores[j] else 0.5 * (scores[i] == scores[j]))
    found = auc_at(days, events, scores, HORIZON, draws=20)
    assert found.value == (pytest.approx(right / pairs) if pairs else None)
    squares = sum(case * (1 - scores) ** 2 + control * scores**2) / len(days)
    brier = brier_at(days, events, scores, HORIZON, draws=20)
    followed = case.any() or control.any()
    assert brier.value == (pytest.approx(squares) if followed else None)


def test_without_censoring_they_are_the_plain_ones():
    random = np.random.default_rng(4)
    days, scores = random.exponential(5, 200), random.random(200)
    events, labels = np.ones(200, dtype=bool), days <= HORIZON
    higher = scores[labels][:, None] > scores[~labels][None]
    assert auc_at(days, events, scores, HORIZON, draws=20).value == pytest.approx(higher.mean())
    brier = np.mean((labels - scores) ** 2)
    assert brier_at(days, events, scores, HORIZON, draws=20).value == pytest.approx(brier)


def test_censoring_at_random_leaves_the_figures_where_they_were():
    random = np.random.default_rng(5)
    risk = random.normal(size=20_000)
    days, end = random.exponential(8 * np.exp(-risk)), random.exponential(12, risk.size)
    truth = [
        auc_at(days[:3000], np.ones(3000, dtype=bool), risk[:3000], HORIZON, draws=2).value,
        auc_at(*_censored(days, end)[:2], risk[:3000], HORIZON, draws=2).value,
    ]
    assert truth[1] == pytest.approx(truth[0], abs=0.02)


def _censored(days, end):
    return np.minimum(days, end)[:3000], (days <= end)[:3000]


def test_a_better_probability_gains_over_the_base_rate():
    random = np.random.default_rng(6)
    risk = random.random(400)
    days = np.where(random.random(400) < risk, 1.0, 9.0)
    events = np.ones(400, dtype=bool)
    base = np.full(400, 0.5)
    gain = brier_at(days, events, risk, HORIZON, reference=base, draws=200)
    assert gain.lower > 0
    own, other = (brier_at(days, events, p, HORIZON, draws=2).value for p in (risk, base))
    assert gain.value == pytest.approx(other - own)


def test_without_a_case_or_a_control_there_is_no_figure():
    days, events = np.array([1.0, 2.0]), np.array([False, False])
    assert auc_at(days, events, days, HORIZON, draws=2).value is None
    assert brier_at(days, events, days, HORIZON, draws=2).value is None
