"""Figures of unconfirmed progressions, of few progressions that one can count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dagster_project.domain.evaluation.block_figures import (
    outcome_figures,
    reclassification_figures,
    rescan_figures,
    sample_figures,
    stop_figure,
    timing_figures,
)
from dagster_project.domain.evaluation.courses import Progression
from dagster_project.statistics.binomial import clopper_pearson
from tests.domain.courses import IRECIST, STUDY

SECTIONS = STUDY.sections
RULES = SECTIONS["evaluation"]
WEEK = IRECIST["confirmation_earliest_days"]
WINDOW = (
    WEEK - IRECIST["confirmation_tolerance_days"],
    IRECIST["confirmation_latest_days"] + IRECIST["confirmation_tolerance_days"],
)


def progression(number=0, outcome="confirmed", **changed):
    """A progression of 60 mm, confirmed at 80 mm after 100 days, planned for that day."""
    facts = {
        "patient": ("BJCH", f"BJCH-{number:03}"),
        "first_visit": True,
        "margin": 1.0,
        "margin_class": 1,
        "recist": "PD",
        "rescanned": True,
        "outcome": outcome,
        "status": outcome,
        "resolved_by": {"confirmed": "iCPD", "reset": "iSD"}.get(outcome),
        "resolved_days": None if outcome == "open" else 100,
        "next_ct_day": 100,
        "scheduled_day": 100,
        "window": WINDOW,
        "confirm_mm": 65.0,
        "reset_mm": 55.0,
        "sums": (60.0, {"confirmed": 80.0, "reset": 40.0}.get(outcome)),
        "misleading": False,
    }
    return Progression(**{**facts, **changed})


def by_name(figures):
    return {(f.population.name, f.comparator, f.statistic): f for f in figures}


def timing(*progressions):
    """Figures by comparator and statistic, of however few progressions."""
    few = {**SECTIONS, "evaluation": {**RULES, "events_minimum": 2}}
    found = by_name(timing_figures(progressions, "*", few))
    return {(c, s): f.found.value for (_, c, s), f in found.items()}


# -- time of the next CT ---------------------------------------------------------------------------


def test_a_ct_that_would_have_confirmed_earlier_gains_the_days_between():
    """60 to 80 mm in 100 days: 65 mm on day 27.8, so that day 28 and the window's end confirm."""
    found = timing(progression(1), progression(2))
    assert found["observed", "days_open"] == 100
    assert found["calendar", "days_open"] == WEEK
    assert found["calendar", "days_gained"] == 100 - WEEK
    assert found["standard", "days_open"] == WINDOW[1]
    assert found["standard", "days_gained_over_calendar"] == WEEK - WINDOW[1]
    assert found["standard", "extra_cts"] == found["calendar", "extra_cts"] == 0


def test_a_ct_too_early_to_confirm_is_one_more_and_gains_nothing():
    slow = [progression(n, confirm_mm=75.0) for n in (1, 2)]
    found = timing(*slow)
    assert found["calendar", "days_gained"] == 0
    assert found["calendar", "extra_cts"] == 1
    assert (
        timing(progression(1, scheduled_day=WEEK, next_ct_day=WEEK, confirm_mm=75.0))[
            "calendar", "extra_cts"
        ]
        == 0
    )


def test_a_ct_that_was_planned_within_the_window_is_not_moved():
    inside = [progression(n, scheduled_day=40, resolved_days=40, next_ct_day=40) for n in (1, 2)]
    found = timing(*inside)
    assert found["standard", "days_gained"] == 0
    assert found["standard", "days_open"] == 40


def test_a_ct_before_the_window_is_moved_into_it_and_costs_days():
    early = [progression(n, scheduled_day=14, resolved_days=14, next_ct_day=14) for n in (1, 2)]
    assert timing(*early)["standard", "days_gained"] == 14 - WINDOW[0]


def test_an_earlier_ct_that_would_have_reset_is_no_extra_one():
    """60 to 40 mm in 100 days: below 55 mm from day 21.5 on."""
    assert timing(progression(1, "reset"))["calendar", "extra_cts"] == 0
    assert timing(progression(1, "reset", reset_mm=50.0))["calendar", "extra_cts"] == 1
    assert timing(progression(1, "open"))["calendar", "extra_cts"] == 1


@given(st.floats(10, 200), st.floats(0.5, 3), st.integers(2, 300), st.floats(0, 300))
def test_days_gained_never_exceed_what_the_policy_moved(size, ratio, end, limit):
    one = progression(
        1,
        sums=(size, size * ratio),
        resolved_days=end,
        scheduled_day=end,
        next_ct_day=end,
        confirm_mm=limit,
    )
    found = timing(one, one)
    for name, day in (("standard", min(max(end, WINDOW[0]), WINDOW[1])), ("calendar", WEEK)):
        gained = found[name, "days_gained"]
        assert gained in {end - day, 0} or end < day
        if end < day:
            assert gained == end - day


def test_progressions_whose_sum_is_not_known_are_not_timed():
    found = by_name(timing_figures([progression(1, confirm_mm=None)], "*", SECTIONS))
    figure = found["all", "calendar", "days_gained"]
    assert (figure.n, figure.found.value) == (0, None)
    assert "nobody" in figure.found.reason


def test_the_interval_of_days_is_students():
    rows = [progression(n, resolved_days=d) for n, d in enumerate((40, 50, 90, 30, 70) * 2)]
    found = by_name(timing_figures(rows, "*", SECTIONS))["all", "observed", "days_open"].found
    days = [float(r.resolved_days) for r in rows]
    low, high = stats.t.interval(0.95, 9, loc=np.mean(days), scale=stats.sem(days))
    assert (found.lower, found.upper) == (pytest.approx(low), pytest.approx(high))


def test_days_of_few_progressions_are_not_estimable():
    rows = [progression(n) for n in range(RULES["events_minimum"] - 1)]
    figure = by_name(timing_figures(rows, "*", SECTIONS))["all", "observed", "days_open"]
    assert figure.found.value is None
    assert f"n = {len(rows)}," in figure.found.reason


# -- scanned again ---------------------------------------------------------------------------------


def test_who_was_not_scanned_again_and_why():
    missing = {"rescanned": False, "next_ct_day": None}
    rows = [
        progression(1),
        progression(2, next_ct_day=WINDOW[0]),
        progression(3, "closed", resolved_by="death", **missing),
        progression(4, "open", status="overdue", resolved_by=None, **missing),
        progression(5, "open", status="due", resolved_by=None, **missing),
    ]
    found = {s: f for (_, _, s), f in by_name(rescan_figures(rows, "*")).items()}
    counts = {name: (f.events, f.n) for name, f in found.items() if f.events}
    assert counts == {
        "rescanned": (2, 5),
        "rescanned_outside_window": (1, 2),
        "not_rescanned_death": (1, 5),
        "not_rescanned_overdue": (1, 5),
        "not_rescanned_yet": (1, 5),
    }
    exact = clopper_pearson(2, 5)
    assert (found["rescanned"].found.lower, found["rescanned"].found.upper) == (
        exact.lower,
        exact.upper,
    )


# -- what became of them ---------------------------------------------------------------------------


def many(confirmed, reset, still_open=0):
    kinds = ["confirmed"] * confirmed + ["reset"] * reset + ["open"] * still_open
    return [
        progression(n, kind, margin_class=2 * (kind == "confirmed"), margin=1.0 + n)
        for n, kind in enumerate(kinds)
    ]


def test_a_class_that_tells_outcomes_apart_gains_over_the_base_rate():
    minimum = SECTIONS["dynamic"]["class_blocks_minimum"]
    rows = many(minimum + 10, minimum + 10)
    rows[0] = replace(rows[0], margin_class=0)
    found = by_name(outcome_figures(rows, "*", SECTIONS))
    gain = found["all", "class", "brier_gain"].found
    assert gain.lower > 0.1
    assert found["all", "class", "of_shipped_trials"].events == 0
    assert found["all", "class", "auc"].found.value > 0.95
    assert found["all", "class", "observed_minus_expected"].found.value == pytest.approx(
        0, abs=0.05
    )
    assert found["all", "recist", "brier_gain"].found.upper < 0
    assert found["later_visits", "class", "auc"].found.value is None


def test_a_small_class_has_the_share_of_the_shipped_trials():
    found = by_name(outcome_figures(many(12, 12), "*", SECTIONS))
    assert found["all", "class", "of_shipped_trials"].events == 24


@pytest.mark.parametrize("reset", [0, RULES["events_minimum"] - 1, RULES["events_minimum"]])
def test_below_the_least_number_of_resets_nothing_is_estimable(reset):
    found = by_name(outcome_figures(many(40, reset), "*", SECTIONS))
    auc = found["all", "class", "auc"]
    assert auc.estimable == (reset >= RULES["events_minimum"])
    assert auc.estimable or str(RULES["events_minimum"]) in auc.found.reason
    assert (found["all", "base_rate", "reset"].events, auc.events) == (reset, reset)


# -- reclassification, stopping, sample size -------------------------------------------------------


def test_reclassification_is_two_numbers():
    rows = [
        progression(1, "reset"),
        progression(2, "reset", recist="SD", misleading=True),
        progression(3),
        progression(4, resolved_days=50),
    ]
    few = {**RULES, "events_minimum": 2}
    found = {f.statistic: (f.found.value, f.n) for f in reclassification_figures(rows, "*", few)}
    assert found == {
        "recoverers_called_progression": (0.5, 2),
        "recoverers_given_other_advice": (0.5, 2),
        "progressors_called_later": (75, 2),
    }


@pytest.mark.parametrize("reset", [1, RULES["events_minimum"]])
def test_safe_to_stop_is_never_estimable(reset):
    figure = stop_figure(many(30, reset), "*", RULES)
    assert figure.found.value is None
    assert ("never advises" in figure.found.reason) == (reset >= RULES["events_minimum"])


def test_what_the_planned_number_of_patients_gives():
    """A tenth of the patients progress: 50 of 500, of which at 5 % some two are reset."""
    found = {f.statistic: f for f in sample_figures(many(10, 0), 100, 500, RULES)}
    assert found["patients_with_progression"].found.value == 0.1
    assert found["progressions"].found.value == pytest.approx(50)
    shares = RULES["reset_shares"]
    expected = {f"resets_at_{100 * s:g}_percent": pytest.approx(50 * s) for s in shares}
    assert {n: f.found.value for n, f in found.items() if n in expected} == expected
