"""Figures about risk, of patients whom one can count."""

from __future__ import annotations

import pytest

from dagster_project.domain.evaluation.courses import Landmark
from dagster_project.domain.evaluation.risk_figures import (
    progression_figures,
    response_figures,
    survival_figures,
)
from dagster_project.statistics.binomial import clopper_pearson
from tests.domain.courses import STUDY

SECTIONS = STUDY.sections
RULES = SECTIONS["evaluation"]
SOON, LATE = RULES["horizons_days"][0], RULES["horizons_days"][-1]
ENOUGH = 2 * RULES["events_minimum"]


def landmark(name=0, **changed):
    """A first visit, stable, at which nothing has happened after two years."""
    facts = {
        "patient": ("BJCH", f"BJCH-{name:03}"),
        "visit": "T1",
        "number": 1,
        "state": "controlled",
        "recist": "SD",
        "irecist": "iSD",
        "sum_mm": 50.0,
        "baseline_sum_mm": 50.0,
        "nadir_mm": 50.0,
        "elapsed_days": 60,
        "days": 700,
        "event": False,
        "earliest_days": 700,
        "days_alive": 700,
        "died": False,
        "responds_next": False,
        "state_of_table": "controlled",
        "response_risk": None,
        "progression_risk": None,
        "asked": 0,
        "withheld": 0,
    }
    return Landmark(**{**facts, **changed})


def by_name(figures):
    return {(f.population.name, f.comparator, f.statistic): f for f in figures}


def progression(rows, *, brief=False):
    return by_name(progression_figures(rows, "*", RULES, brief=brief))


def grown(count=ENOUGH):
    """Half of them grow and progress soon, the others shrink and do not; the sums are in order."""
    return [
        landmark(
            n,
            sum_mm=50.0 + (n if n % 2 else -n) / 4,
            days=SOON // 2 if n % 2 else 700,
            earliest_days=5 if n % 2 else 700,
            event=bool(n % 2),
        )
        for n in range(2 * count)
    ]


def test_size_that_tells_everything_has_a_c_index_of_one():
    found = progression(grown())
    assert found["first_visit", "size", "c_index"].found.value == 1.0
    assert found["first_visit", "recist", "c_index"].found.value == 0.5
    assert found["first_visit", "size", f"auc_{SOON}"].found.value == 1.0
    gain = found["first_visit", "size", f"brier_gain_{SOON}"].found
    assert gain.lower > 0.1
    assert found["first_visit", "recist", f"brier_gain_{SOON}"].found.value == pytest.approx(
        0, abs=0.01
    )


def test_only_controlled_patients_at_risk_with_sums_are_counted():
    others = [
        landmark(900, state="open"),
        landmark(901, days=None, event=None),
        landmark(902, sum_mm=None),
        landmark(903, number=4),
    ]
    found = progression([*grown(), *others])
    assert found["first_visit", "size", "c_index"].n == 2 * ENOUGH
    assert found["second_visit", "base_rate", "events"].found.value is None


def test_the_base_rate_without_an_event_has_no_interval_of_zero_width():
    figure = progression([landmark(1), landmark(2)])[
        "first_visit", "base_rate", f"progressed_by_{SOON}"
    ]
    assert (figure.found.value, figure.found.lower, figure.found.upper) == (0.0, None, None)
    assert "no event" in figure.found.reason


def test_nothing_is_said_of_a_day_to_which_nobody_is_followed():
    rows = [landmark(1, days=LATE - 1), landmark(2, days=20, event=True)]
    found = progression(rows)
    assert found["first_visit", "base_rate", f"progressed_by_{SOON}"].found.value == 0.5
    late = found["first_visit", "base_rate", f"progressed_by_{LATE}"].found
    assert (late.value, "followed" in late.reason) == (None, True)


@pytest.mark.parametrize(("events", "estimable"), [(-1, False), (0, True)])
def test_below_the_least_number_of_events_there_is_no_c_index(events, estimable):
    count = RULES["events_minimum"] + events
    rows = [landmark(n, days=30 + n, event=n < count) for n in range(60)]
    figure = progression(rows)["first_visit", "recist", "c_index"]
    assert (figure.estimable, figure.events) == (estimable, count)


def test_a_hospital_has_fewer_figures():
    whole, brief = progression(grown()), progression(grown(), brief=True)
    assert set(brief) < set(whole)
    assert {statistic for _, _, statistic in set(whole) - set(brief)} >= {f"auc_{SOON}"}


def test_the_standards_probability_of_staying_free_of_progression_is_judged_where_it_is_shown():
    rows = [
        landmark(
            n,
            days=SOON // 2 if n % 2 else 700,
            event=bool(n % 2),
            progression_risk=0.8 if n % 2 else 0.2,
        )
        for n in range(2 * ENOUGH)
    ]
    assert progression(rows)["first_visit", "standard", "c_index"].found.value == 1.0
    hidden = progression(grown())["first_visit", "standard", "c_index"].found
    assert (hidden.value, "shows no probability" in hidden.reason) == (None, True)


# -- response --------------------------------------------------------------------------------------


def response(rows):
    return {
        (f.population.question, f.comparator, f.statistic): f
        for f in response_figures(rows, "*", SECTIONS)
    }


def test_response_of_all_and_of_the_stable():
    rows = [
        landmark(1, responds_next=True),
        landmark(2),
        landmark(3, irecist="iPR", responds_next=True),
        landmark(4, state="open", irecist="iUPD"),
        landmark(5, responds_next=None),
    ]
    found = response(rows)
    every = found["response_from_baseline", "base_rate", "responds"]
    stable = found["response_when_stable", "base_rate", "responds"]
    assert ((every.events, every.n), (stable.events, stable.n)) == ((2, 4), (1, 2))
    exact = clopper_pearson(1, 2)
    assert (stable.found.lower, stable.found.upper) == (exact.lower, exact.upper)


def shown(count, probability):
    return [
        landmark(n, sum_mm=50.0 - n % 7, responds_next=bool(n % 2), response_risk=probability(n))
        for n in range(count)
    ]


def test_a_shown_probability_is_compared_with_size_on_the_same_visits():
    found = response(shown(2 * ENOUGH, lambda n: (0.7 if n % 2 else 0.3) + n / 1000))
    assert found["response_when_stable", "standard", "auc"].found.value == 1.0
    gain = found["response_when_stable", "standard", "auc_gain_over_size"]
    auc = found["response_when_stable", "size", "auc"].found.value
    assert gain.found.value == pytest.approx(1.0 - auc)
    assert gain.n == 2 * ENOUGH


def test_without_a_shown_probability_the_reason_stands():
    found = response(shown(2 * ENOUGH, lambda _: None))
    missing = found["response_when_stable", "standard", "auc"].found
    assert "shows no probability" in missing.reason


# -- survival --------------------------------------------------------------------------------------


def test_survival_is_from_the_second_visit_and_pfs2_is_never_given():
    rows = [landmark(n, number=2, days_alive=100 + n, died=True) for n in range(ENOUGH)]
    found = {(f.population.question, f.comparator): f for f in survival_figures(rows, "*", RULES)}
    assert found["survival", "size"].found.value == 0.5
    assert found["second_progression", "size"].found.value is None
    nobody = {
        (f.population.question, f.comparator): f for f in survival_figures([landmark()], "*", RULES)
    }
    assert "not recorded" in nobody["survival", "size"].found.reason
