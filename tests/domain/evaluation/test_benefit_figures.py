"""Net benefit at a signed rate: by hand on few progressions, and withheld before."""

from __future__ import annotations

import pytest

from dagster_project.domain.evaluation.benefit_figures import NO_RATE, benefit_figures
from dagster_project.domain.evaluation.timing_rule import NOT_BEATEN
from dagster_project.lake.reasons import chinese_reason
from tests.domain.courses import STUDY
from tests.domain.evaluation.test_block_figures import progression

RISK = STUDY.section("risk")
SIGNED = {
    **STUDY.sections,
    "risk": {**RISK, "rate_signed_by": "PI", "rate_signed_on": "2026-05-01"},
}


def figures(progressions, sections=SIGNED):
    found = benefit_figures(progressions, "*", sections)
    return {(f.comparator, f.statistic): f for f in found}


def cohort():
    """Of 20 progressions 15 would be found on day 28, 5 are open for good."""
    found = [progression(n) for n in range(15)]
    return [*found, *(progression(n, "open") for n in range(15, 20))]


def test_before_the_rate_is_signed_it_is_withheld():
    found = figures(cohort(), STUDY.sections)
    assert [(f.found.value, f.found.reason) for f in found.values()] == [(None, NO_RATE)]


def test_net_benefit_is_what_is_found_less_extra_cts_at_the_rate_and_its_band():
    found, rate, band = figures(cohort()), RISK["extra_cts_per_progression"], RISK["rate_band"]
    for mark, at in (("", rate), ("_low_rate", rate / band), ("_high_rate", rate * band)):
        expected = (15 - 5 / at) / 20
        assert found["calendar", f"net_benefit{mark}"].found.value == pytest.approx(expected)


def test_a_class_that_all_share_leaves_the_calendar_as_it_is():
    found = figures(cohort())
    assert found["class", "advice_differs"].found.value == 0
    assert found["class", "net_benefit_over_calendar"].found.value == 0
    threshold = found["class", "threshold"].found
    assert threshold.value is None
    assert threshold.reason.startswith(f"{NOT_BEATEN}; rule ")
    assert "未优于按日历" in chinese_reason(threshold.reason)


def test_of_few_progressions_it_is_not_estimable():
    (found,) = figures(cohort()[:3]).values()
    assert (found.found.value, found.n) == (None, 3)
