"""The FDA's censoring table, one numbered case a row."""

from __future__ import annotations

import pytest

from dagster_project.domain.response.progression_free import (
    NEW_THERAPY,
    FollowUp,
    Survival,
    landmark,
    progression_free_survival,
)
from tests.domain.courses import ENDPOINTS


def visits(text):
    """`60SD 120PD`: day and response."""
    return [
        (int("".join(c for c in word if c.isdigit())), "".join(c for c in word if c.isalpha()))
        for word in text.split()
    ]


CASES = {
    "1 no baseline, alive": (("60SD", False), {}, (0, False, "no baseline assessment")),
    "1 no baseline, dead within two visits": (
        ("", False),
        {"death_day": 140},
        (140, True, "death within two visits, no baseline assessment"),
    ),
    "1 no baseline, dead later": (
        ("", False),
        {"death_day": 141},
        (0, False, "no baseline assessment"),
    ),
    "2 new therapy before PD": (
        ("60SD 120SD 180PD", True),
        {"new_therapy_day": 150},
        (120, False, NEW_THERAPY),
    ),
    "2 new therapy on the day of a scan": (
        ("60SD 120SD 180PD", True),
        {"new_therapy_day": 120},
        (120, False, NEW_THERAPY),
    ),
    "2 new therapy before the first scan": (
        ("60SD", True),
        {"new_therapy_day": 30},
        (0, False, NEW_THERAPY),
    ),
    "2 new therapy before death": (
        ("60SD", True),
        {"new_therapy_day": 80, "death_day": 100},
        (60, False, NEW_THERAPY),
    ),
    "2 new therapy after PD": (
        ("60SD 120PD", True),
        {"new_therapy_day": 130},
        (120, True, "progression"),
    ),
    "2 new therapy on the day of PD": (
        ("60SD 120PD", True),
        {"new_therapy_day": 120},
        (120, True, "progression"),
    ),
    "3 clinical progression is no event": (
        ("60SD 120SD", True),
        {"clinical_progression_day": 130},
        (120, False, "no progression, alive"),
    ),
    "4 PD": (("60SD 120PD", True), {}, (120, True, "progression")),
    "4 PD at the first visit": (("60PD 120PR", True), {}, (60, True, "progression")),
    "4 PD after one missed visit": (("60SD 200PD", True), {}, (200, True, "progression")),
    "4 PD after two missed visits": (
        ("60SD 201PD", True),
        {},
        (60, False, "progression after two or more missed visits"),
    ),
    "4 a visit not evaluable is a missed one": (
        ("60SD 130NE 201PD", True),
        {},
        (60, False, "progression after two or more missed visits"),
    ),
    "4 an early gap that was followed up": (
        ("60SD 300SD 360PD", True),
        {},
        (360, True, "progression"),
    ),
    "4 PD at the first visit, far too late": (
        ("150PD", True),
        {},
        (0, False, "progression after two or more missed visits"),
    ),
    "5 death between visits": (("60SD 120SD", True), {"death_day": 150}, (150, True, "death")),
    "5 death before the first visit": (("", True), {"death_day": 40}, (40, True, "death")),
    "5 death after two missed visits": (
        ("60SD", True),
        {"death_day": 201},
        (60, False, "death after two or more missed visits"),
    ),
    "5 death after the end of treatment": (
        ("60SD", True),
        {"death_day": 150, "stopped": True},
        (150, True, "death"),
    ),
    "5 death after PD": (("60SD 120PD", True), {"death_day": 130}, (120, True, "progression")),
    "6 no visit after baseline": (
        ("", True),
        {},
        (0, False, "no adequate assessment after baseline"),
    ),
    "6 none that could be evaluated": (
        ("60NE", True),
        {},
        (0, False, "no adequate assessment after baseline"),
    ),
    "7 alive": (("60SD 120PR 180NE", True), {}, (120, False, "no progression, alive")),
    "7 treatment stopped": (
        ("60SD 120PR", True),
        {"stopped": True},
        (120, False, "treatment stopped or follow-up lost without documented progression"),
    ),
}


@pytest.mark.parametrize(("course", "events", "expected"), CASES.values(), ids=CASES.keys())
def test_censoring_table(course, events, expected):
    text, has_baseline = course
    found = progression_free_survival(
        FollowUp(has_baseline=has_baseline, responses=visits(text), **events), ENDPOINTS
    )
    assert (found.days, found.event, found.reason) == expected


def test_sensitivity_analyses_by_protocol():
    facts = FollowUp(
        has_baseline=True,
        responses=visits("60SD 120SD"),
        new_therapy_day=150,
        clinical_progression_day=140,
    )
    assert progression_free_survival(facts, {**ENDPOINTS, "new_therapy": "event"}) == Survival(
        150, event=True, reason=NEW_THERAPY
    )
    worsened = FollowUp(
        has_baseline=True, responses=visits("60SD 120SD"), clinical_progression_day=140
    )
    assert (
        progression_free_survival(worsened, {**ENDPOINTS, "clinical_progression": "event"}).days
        == 140
    )


@pytest.mark.parametrize(
    ("days", "event", "at", "expected"),
    [
        pytest.param(200, True, None, None, id="1 no scan at the landmark"),
        pytest.param(98, True, 98, None, id="2 progressed at the landmark"),
        pytest.param(60, False, 98, None, id="2 censored before it"),
        pytest.param(98, False, 98, (0, False), id="3 censored at it: still at risk then"),
        pytest.param(200, True, 98, (102, True), id="3 beyond it"),
    ],
)
def test_landmark(days, event, at, expected):
    found = landmark(Survival(days, event, "x"), at)
    assert (None if found is None else (found.days, found.event)) == expected
