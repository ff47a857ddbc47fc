"""Every code that a table may hold has a name in both languages.

Numbers are written one way.
"""

from __future__ import annotations

import doctest
from datetime import UTC, datetime

import pytest

from dagster_project.domain.cohort.eligibility import CRITERIA
from dagster_project.lake.columns import IRECIST_RESPONSES, RECIST_RESPONSES
from dagster_project.lake.tables import (
    DYNAMIC_IRECIST,
    DYNAMIC_RISK,
    PATIENTS,
    QUARANTINE,
    READER_AGREEMENT,
)
from dagster_project.reports import risks, wording


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        (wording.CRITERIA, CRITERIA),
        (wording.STAGES, QUARANTINE.column("stage").allowed),
        (wording.MEASUREMENTS, READER_AGREEMENT.column("measurement").allowed),
        (wording.STATES, DYNAMIC_IRECIST.column("state").allowed),
        (wording.BLOCK_STATUS, DYNAMIC_IRECIST.column("block_status").allowed),
        (risks.QUESTIONS, DYNAMIC_RISK.column("question").allowed),
        (risks.SOURCES, DYNAMIC_RISK.column("source").allowed),
        (risks.COMPARED, DYNAMIC_RISK.column("compared").allowed),
        (wording.ADVICE, DYNAMIC_IRECIST.column("advice").allowed),
    ],
)
def test_every_code_has_a_name_in_both_languages(words, codes):
    assert set(words) == set(codes)
    assert all(
        english.isascii() or any(sign in english for sign in "≤≥") for english, *_ in words.values()
    )
    assert all(chinese for _, chinese, *_ in words.values())


def test_a_patient_s_facts_are_columns():
    assert {column for column, *_ in wording.FACTS} <= set(PATIENTS.names)


@pytest.mark.parametrize("response", RECIST_RESPONSES)
def test_a_response_has_the_tone_of_its_counterpart(response):
    counterparts = [r for r in IRECIST_RESPONSES if r[1:] == response] or ["iUPD", "iCPD"]
    assert {wording.tone(r) for r in counterparts} == {wording.tone(response)}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (1234.5, "1,234"),
        (0.8512, "0.851"),
        (-7, "−7"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_a_number_is_as_short_as_it_may_be(value, written):
    assert wording.number(value) == written


def test_an_interval_says_where_a_bound_was_not_reached():
    assert wording.interval(116.0, None, 0) == "(116 to NR)"
    assert wording.interval(None, None) == ""
    assert wording.interval(0.154, 0.5922, 1, 100) == "(15.4 to 59.2)"


def test_signs_shares_and_moments():
    assert (wording.signed(-30.2, 1), wording.signed(0.04, 1), wording.signed(None)) == (
        "−30.2",
        "+0.0",
        "–",
    )
    assert (wording.percent(0.0), wording.percent(0.486, 1), wording.percent(None)) == (
        "0 %",
        "48.6 %",
        "–",
    )
    assert (wording.moment(datetime(2026, 3, 4, 5, 6, tzinfo=UTC)), wording.moment(None)) == (
        "2026-03-04 05:06 UTC",
        "–",
    )
    assert wording.plain("ct_from_day_to_day") == "ct from day to day"


@pytest.mark.parametrize("module", [wording], ids=lambda m: m.__name__)
def test_the_examples_hold(module):
    result = doctest.testmod(module)
    assert (result.attempted > 0, result.failed) == (True, 0)
