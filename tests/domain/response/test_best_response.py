"""Best response from a sequence of responses, one numbered case a rule."""

from __future__ import annotations

import pytest

from dagster_project.domain.response.best_response import (
    Graded,
    best_response,
    confirmed_best_response,
    confirmed_progression_day,
    immune_best_response,
    immune_progression,
    response_query,
    response_rate,
    until_progression,
)
from tests.domain.courses import RECIST, rows_of

SHORT = {"N": "NON_CR_NON_PD", "iN": "iNON_CR_NON_PD"}


def graded(text, days=None, *, no_target=False):
    words = [SHORT.get(w, w) for w in text.split()]
    return [
        Graded(day, word, no_target)
        for day, word in zip(days or [63 * (n + 1) for n in range(len(words))], words, strict=True)
    ]


BEST = {
    "1 no visit": ("", None, None),
    "2 CR before PR": ("SD PR CR", None, "CR"),
    "2 PR although early": ("PR", [30], "PR"),
    "3 SD of 42 days": ("SD", [42], "SD"),
    "3 non-CR/non-PD": ("N N", None, "NON_CR_NON_PD"),
    "3 SD before PD": ("SD PD", None, "SD"),
    "4 SD of 41 days, then PD": ("SD PD", [41, 90], "PD"),
    "5 no disease": ("NED NED", None, "NED"),
    "5 no disease, one visit not evaluable": ("NED NE", None, "NED"),
    "6 SD of 41 days alone": ("SD", [41], "NE"),
    "6 not evaluable": ("NE NE", None, "NE"),
}


@pytest.mark.parametrize(("text", "days", "expected"), BEST.values(), ids=BEST.keys())
def test_best_response(text, days, expected):
    assert best_response(graded(text, days), RECIST) == expected


CONFIRMED = {
    # Eisenhauer 2009, table 3
    "CR CR": ("CR CR", None, "CR"),
    "CR PR, SD long enough": ("CR PR", None, "SD"),
    "CR PR, too early": ("CR PR", [20, 40], "PD"),
    "CR SD, too early": ("CR SD", [20, 40], "PD"),
    "CR SD, SD long enough": ("CR SD", None, "SD"),
    "CR PD, SD long enough": ("CR PD", None, "SD"),
    "CR PD, too early": ("CR PD", [30, 60], "PD"),
    "CR NE, SD long enough": ("CR NE", None, "SD"),
    "CR NE, too early": ("CR NE", [30, 60], "NE"),
    "PR CR": ("PR CR", None, "PR"),
    "PR PR": ("PR PR", None, "PR"),
    "PR SD": ("PR SD", None, "SD"),
    "PR PD, SD long enough": ("PR PD", None, "SD"),
    "PR PD, too early": ("PR PD", [30, 60], "PD"),
    "PR NE, SD long enough": ("PR NE", None, "SD"),
    "PR NE, too early": ("PR NE", [30, 60], "NE"),
    "NE NE": ("NE NE", None, "NE"),
    "NE PD": ("NE PD", None, "PD"),
    "NE CR": ("NE CR", None, "SD"),
    "NE PR": ("NE PR", None, "SD"),
    "NE SD": ("NE SD", None, "SD"),
    # gap and what lies between
    "PR PR after 27 days": ("PR PR", [63, 90], "SD"),
    "PR PR after 28 days": ("PR PR", [63, 91], "PR"),
    "PR, too soon, then far enough": ("PR PR PR", [63, 80, 120], "PR"),
    "PR NE PR": ("PR NE PR", None, "PR"),
    "PR NE NE PR": ("PR NE NE PR", None, "SD"),
    "PR SD PR": ("PR SD PR", None, "SD"),
    # admiralonco, derive_param_confirmed_resp, subject 6: the confirming PR comes after a CR
    "PR CR PR, CR too soon": ("PR CR PR", [66, 76, 119], "SD"),
    "PR CR PR, CR far enough": ("PR CR PR", [66, 100, 140], "PR"),
    "CR NE CR": ("CR NE CR", None, "CR"),
    "PR CR CR": ("PR CR CR", None, "CR"),
    "non-target disease only": ("N CR", None, "NON_CR_NON_PD"),
    "no visit": ("", None, None),
    "no disease": ("NED", None, "NED"),
}


@pytest.mark.parametrize(("text", "days", "expected"), CONFIRMED.values(), ids=CONFIRMED.keys())
def test_confirmed_best_response(text, days, expected):
    assert (
        confirmed_best_response(
            graded(text, days, no_target="only" in text or text == "N CR"), RECIST
        )
        == expected
    )


@pytest.mark.parametrize(
    ("text", "setting", "expected"),
    [
        ("PR SD PR", {"confirmation_over_stable": True}, "PR"),
        ("PR SD SD PR", {"confirmation_over_stable": True}, "SD"),
        ("CR SD CR", {"confirmation_over_stable": True}, "SD"),
        ("PR NE PR", {"confirmation_not_evaluable": 0}, "SD"),
        ("PR NE NE PR", {"confirmation_not_evaluable": 2}, "PR"),
    ],
)
def test_what_may_lie_between_is_a_setting(text, setting, expected):
    assert confirmed_best_response(graded(text), {**RECIST, **setting}) == expected


def test_complete_response_followed_by_partial_is_a_query():
    assert "read both visits again" in response_query(graded("CR NE PR"))
    assert response_query(graded("PR CR CR")) is None


IMMUNE = {
    # Seymour 2017, table 3: each example with its worst continuation
    "example 1": ("iCR iPR iUPD iUPD iCPD", "iCR"),
    "example 2": ("iUPD iSD iCR iUPD iCPD", "iCR"),
    "example 3": ("iUPD iPR iSD iUPD iCPD", "iPR"),
    "example 4": ("iUPD iNE iPR iUPD iCPD", "iPR"),
    "example 5": ("iUPD iSD iUPD iCPD iCPD", "iSD"),
    "example 6": ("iUPD iCPD iPR iCR iCR", "iCPD"),
    "example 7": ("iUPD iUPD iCPD iSD iPR", "iCPD"),
    "example 8": ("iUPD iNE iNE iNE iNE", "iUPD"),
    "non-target disease only": ("iUPD iN iCPD", "iNON_CR_NON_PD"),
    "not evaluable": ("iNE iNE", "iNE"),
    "no disease": ("iNED", "iNED"),
}


@pytest.mark.parametrize(("text", "expected"), IMMUNE.values(), ids=IMMUNE.keys())
def test_immune_best_response(text, expected):
    assert immune_best_response(until_progression(graded(text), end="iCPD"), RECIST) == expected


def test_immune_stable_disease_has_to_last_as_well():
    assert immune_best_response(graded("iSD iUPD", [41, 90]), RECIST) == "iUPD"
    assert immune_best_response([], RECIST) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("PR PD PR", "PR PD", id="1 up to and with the first PD"),
        pytest.param("PR SD", "PR SD", id="1 without PD all"),
    ],
)
def test_cut_at_progression(text, expected):
    assert [v.response for v in until_progression(graded(text))] == expected.split()


def test_cut_at_new_therapy():
    assert [
        v.response
        for v in until_progression(graded("SD SD PR", [60, 100, 150]), new_therapy_day=100)
    ] == ["SD", "SD"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("iUPD iUPD iCPD", 63, id="1 the first of the block"),
        pytest.param("iSD iUPD iPR iUPD iCPD", 4 * 63, id="2 the block that was confirmed"),
        pytest.param("iUPD iNE iCPD", 63, id="3 across a visit not evaluable"),
        pytest.param("iUPD iPR", None, id="4 not confirmed"),
    ],
)
def test_day_of_confirmed_progression(text, expected):
    assert confirmed_progression_day(graded(text)) == expected


@pytest.mark.parametrize(
    ("text", "end_day", "expected"),
    [
        pytest.param("iSD iUPD iCPD", None, (126, "confirmed"), id="1 confirmed"),
        pytest.param("iSD iUPD", 150, (126, "unconfirmed, then death"), id="2 then dead"),
        pytest.param(
            "iUPD iUPD iNE", 200, (63, "unconfirmed, then death"), id="2 the first of the run"
        ),
        pytest.param("iSD iUPD", None, None, id="3 waits for the next scan"),
        pytest.param("iUPD iPR", 200, None, id="3 followed by a response"),
        pytest.param("iSD iUPD", 100, None, id="3 the end came before the scan"),
    ],
)
def test_progression_by_irecist(text, end_day, expected):
    assert immune_progression(graded(text), end_day=end_day, end_reason="death") == expected


def test_response_rate_keeps_everyone_in_the_denominator():
    best = ["CR", "PR", "SD", "PD", "NE", None]
    assert (response_rate(best).count, response_rate(best).n) == (2, 6)
    assert response_rate(best, counted=("CR", "PR", "SD", "NON_CR_NON_PD")).count == 3


@pytest.mark.real_data
def test_response_rate_of_msk_mind(shared_data):
    """120 patients with NSCLC on PD-(L)1 antibodies (Vanguri 2022)."""
    file = shared_data / "response" / "msk_mind_patients_part1.txt"
    rate = response_rate([r["BOR"] for r in rows_of(file, delimiter="\t")])
    assert (rate.count, rate.n) == (24, 120)
