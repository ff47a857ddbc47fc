"""The supermodel of size: fitted as others fit it, never on whom it judges, dated in two ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from lifelines import KaplanMeierFitter

from dagster_project.domain.evaluation.comparators import EARLIEST, MIDPOINT, VISIT, days_of
from dagster_project.domain.evaluation.published_supermodel import published_supermodel
from dagster_project.domain.evaluation.supermodel import (
    LATER_VISIT,
    bounds_of_stack,
    is_landmark,
    risks_by,
    risks_of_stack,
    stack_landmarks,
)
from dagster_project.flow.reference_supermodel import SHIPPED, main, write_figures
from dagster_project.statistics.concordance import concordance_index
from tests.domain.courses import STUDY
from tests.domain.evaluation.courses import landmarks

HORIZON = 90.0


def planted(n, seed=7, effect=1.5, censored=400.0):
    """Two landmarks a patient whose log hazard is `effect` times the change of size."""
    random = np.random.default_rng(seed)
    (model, *_) = landmarks({"L1": [50, 45, 44]})
    found = []
    for patient in range(n):
        for number in (1, 2):
            change = random.normal(0, 0.4)
            time = random.exponential(200 * np.exp(-effect * change))
            end = random.exponential(censored)
            days = max(1, int(min(time, end)))
            found.append(
                replace(
                    model,
                    patient=("S", f"P{patient}"),
                    number=number,
                    sum_mm=50 * float(np.exp(change)),
                    baseline_sum_mm=50.0,
                    nadir_mm=50 * float(np.exp(min(change, 0))),
                    elapsed_days=56 * number,
                    days=days,
                    event=bool(time <= end),
                    earliest_days=max(1, days - 40) if time <= end else days,
                )
            )
    return found


@pytest.fixture(scope="module")
def rows():
    return planted(300)


def test_risks_are_those_of_a_weighted_regression_made_by_others(rows):
    """Weights by lifelines' curve of censoring within each visit, the regression by statsmodels."""
    stack = stack_landmarks(rows, 10)
    everybody = np.ones(len(rows), dtype=bool)
    weights = np.zeros(len(rows))
    cases = stack.events & (stack.days <= HORIZON)
    for visit in set(stack.visits.tolist()):
        own = stack.visits == visit
        with np.errstate():  # lifelines leaves NumPy's treatment of errors changed
            censoring = KaplanMeierFitter().fit(stack.days[own], ~stack.events[own])
        # events come before censoring of the same day: 1 / G just before the time
        before = censoring.survival_function_at_times(stack.days[own] - 1e-6).to_numpy()
        beyond = float(censoring.survival_function_at_times(HORIZON).iloc[0])
        weights[own] = np.where(
            cases[own], 1 / before, np.where(stack.days[own] > HORIZON, 1 / beyond, 0)
        )
    design = sm.add_constant(stack.columns)
    fitted = sm.GLM(cases, design, sm.families.Binomial(), freq_weights=weights).fit()
    found = risks_by(stack, HORIZON, everybody, everybody)
    assert found == pytest.approx(fitted.predict(design), abs=2e-3)


def test_no_landmark_is_judged_by_a_model_that_saw_its_patient(rows):
    stack = stack_landmarks(rows, 10)
    own = stack.folds == 3
    other = replace(stack, events=np.where(own, ~stack.events, stack.events))
    before, after = risks_of_stack(stack, HORIZON), risks_of_stack(other, HORIZON)
    assert (before[own] == after[own]).all()
    assert (before[~own] != after[~own]).all()
    patients = [r.patient for r in rows]
    assert len({(p, f) for p, f in zip(patients, stack.folds.tolist(), strict=True)}) == 300


def test_it_finds_what_was_planted(rows):
    stack = stack_landmarks(rows, 10)
    own = concordance_index(stack.days, stack.events, -risks_of_stack(stack, HORIZON))
    truth = concordance_index(stack.days, stack.events, -stack.columns[:, 0])
    assert own.value == pytest.approx(truth.value, abs=0.02)
    assert own.value > 0.6


def test_a_landmark_without_follow_up_has_a_risk_and_teaches_nothing(rows):
    unknown = [replace(r, days=None, event=None, earliest_days=None) for r in rows[:2]]
    stack = stack_landmarks([*unknown, *rows[2:]], 10)
    assert not stack.followed[:2].any()
    risks = risks_of_stack(stack, HORIZON)
    low, high = bounds_of_stack(stack, HORIZON, risks)
    assert ((low < risks) & (risks < high) & (low > 0) & (high < 1)).all()
    less, everybody = stack_landmarks(rows[2:], 10), np.ones(len(rows), dtype=bool)
    of_others = risks_by(less, HORIZON, everybody[2:], everybody[2:])
    assert risks_by(stack, HORIZON, everybody, everybody)[2:] == pytest.approx(of_others)


def test_without_an_event_everybody_has_the_same_risk(rows):
    quiet = [replace(r, event=False, earliest_days=r.days) for r in rows]
    assert set(risks_of_stack(stack_landmarks(quiet, 5), HORIZON).tolist()) == {0.0}


def test_without_any_follow_up_it_cannot_be_fitted(rows):
    silent = [replace(r, days=None) for r in rows[:4]]
    with pytest.raises(ValueError, match="no landmark with follow-up"):
        risks_of_stack(stack_landmarks(silent, 2), HORIZON)


def test_a_progression_is_dated_by_the_visit_that_saw_it_or_by_the_middle():
    """CTs on days 50, 92 and 134, progression on the last one: 42 days after the second visit."""
    *_, before, _ = landmarks({"L1": [50, 40, 40, 80]})
    found = {name: days_of(before, name) for name in (VISIT, EARLIEST, MIDPOINT)}
    assert found[EARLIEST] == 1
    assert found[MIDPOINT] == found[VISIT] / 2
    stack = stack_landmarks([before], 2, MIDPOINT)
    assert stack.days.tolist() == [found[MIDPOINT]]


def test_landmarks_are_controlled_visits_with_sums():
    first, second, third = landmarks({"L1": [50, 45, None, 44]})
    assert [is_landmark(r) for r in (first, second, third)] == [True, False, True]
    opened, *_ = landmarks({"L1": [50, 80]})
    assert not is_landmark(opened)
    assert stack_landmarks([replace(first, number=9)], 2).visits.tolist() == [LATER_VISIT]


@pytest.mark.real_data
def test_what_is_shipped_is_what_the_published_sums_give(shared_data):
    """C of at least .6 at each of the first three visits, the category's .05 lower or more."""
    file = shared_data / "response" / "target_lesion_diameters_studies_1_3.csv"
    assert write_figures(file, STUDY) == SHIPPED.read_text(encoding="utf-8")
    assert main([str(file), "--check"]) == 0
    for visit in published_supermodel()["visit"]:
        assert visit["lower"] >= 0.6
        assert visit["c_index"] - visit["c_index_of_category"] >= 0.05
