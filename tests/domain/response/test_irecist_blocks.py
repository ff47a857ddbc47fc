"""Blocks of unconfirmed progression: the calendar moves what is due, and nothing else does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dagster_project.domain.external_trials.trial_grading import grade_trial
from dagster_project.domain.response.irecist import assess_irecist
from dagster_project.domain.response.irecist_blocks import (
    AFTER_COMPLETE,
    ENDS,
    NO_TARGETS,
    NOT_BY_SUM,
    OPEN,
    OTHER_END,
    PART_OF_SUM,
    STATUSES,
    Event,
    find_blocks,
)
from dagster_project.domain.response.recist import assess_as_of, progression_threshold_mm
from dagster_project.flow.trial_tables import read_trial
from tests.domain.courses import IRECIST, RECIST, course
from tests.domain.test_response_invariants import drawn_courses

EARLY = IRECIST["confirmation_earliest_days"] - IRECIST["confirmation_tolerance_days"]
LATE = IRECIST["confirmation_latest_days"] + IRECIST["confirmation_tolerance_days"]
STEP = RECIST["progression_mm"]


def blocks(as_of=None, events=(), **written):
    return find_blocks(
        *course(**written), [Event(*e) for e in events], as_of, recist=RECIST, irecist=IRECIST
    )


def statuses(mornings, **written):
    return [blocks(as_of=day, **written)[-1].status for day in mornings]


PROGRESSED = {"days": [0, 42], "L1": [100, 130]}


def test_what_is_due_moves_with_the_calendar_alone():
    found = statuses([42, 41 + EARLY, 42 + EARLY, 42 + LATE, 43 + LATE], **PROGRESSED)
    assert found == ["waiting", "waiting", "due", "due", "overdue"]


def test_the_window_and_the_two_sums():
    (block,) = blocks(as_of=50, **PROGRESSED)
    assert (block.confirm_from_day, block.confirm_to_day) == (42 + EARLY, 42 + LATE)
    assert (block.nadir_mm, block.sum_at_open_mm, block.smallest_since_mm) == (100, 130, 130)
    assert block.confirm_if_sum_mm == 130 + STEP
    assert block.reset_below_mm == progression_threshold_mm(100, RECIST)
    assert (block.categories, block.days_open, dict(block.why)) == (("T",), 8, {})


@pytest.mark.parametrize(("last", "response"), [(0, "iCPD"), (-0.1, "iUPD")])
def test_the_sum_that_confirms_is_the_one_at_which_irecist_confirms(last, response):
    written = {"days": [0, 42, 84, 126], "L1": [100, 130, 124]}
    (block,) = blocks(days=[0, 42, 84], L1=[100, 130, 124])
    later = [*written["L1"], block.confirm_if_sum_mm + last]
    assert (
        assess_irecist(*course(days=written["days"], L1=later), RECIST, IRECIST)[-1].response
        == response
    )


@pytest.mark.parametrize(("last", "outcome"), [(0, "open"), (-0.1, "reset")])
def test_the_sum_that_resets_is_the_one_below_which_irecist_resets(last, outcome):
    (block,) = blocks(**PROGRESSED)
    (after,) = blocks(days=[0, 42, 84], L1=[100, 130, block.reset_below_mm + last])
    assert after.outcome == outcome


def test_an_early_ct_lowers_the_nadir_but_neither_confirms_nor_resets():
    (block,) = blocks(days=[0, 42, 42 + EARLY - 1], L1=[100, 130, 90])
    assert (block.status, block.rescanned, block.smallest_since_mm) == ("waiting", True, 130)
    assert block.reset_below_mm == progression_threshold_mm(90, RECIST)


CASES = {
    "confirmed": ({"L1": [100, 130, 136]}, ("confirmed", "iCPD", "V2")),
    "reset to stable disease": ({"L1": [100, 130, 110]}, ("reset", "iSD", "V2")),
    "reset to response": ({"L1": [100, 130, 60]}, ("reset", "iPR", "V2")),
    "reset to complete response": ({"L1": [100, 130, "gone"]}, ("reset", "iCR", "V2")),
    "neither": ({"L1": [100, 130, 131]}, ("standing", None, None)),
    "not evaluable": ({"L1": [100, 130, None]}, ("unreadable", None, None)),
    "readable again": ({"L1": [100, 130, None, 131]}, ("standing", None, None)),
    "not evaluable after a readable one": (
        {"L1": [100, 130, 131, None]},
        ("unreadable", None, None),
    ),
}


@pytest.mark.parametrize(("written", "expected"), CASES.values(), ids=CASES)
def test_what_becomes_of_a_block(written, expected):
    (block,) = blocks(**written)
    assert (block.status, block.resolved_by, block.resolved_visit) == expected


def test_a_standing_block_is_overdue_when_its_next_window_has_passed():
    written = {"days": [0, 42, 84], "L1": [100, 130, 131]}
    assert statuses([84, 84 + LATE, 85 + LATE], **written) == ["standing", "standing", "overdue"]


def test_progression_after_a_reset_opens_the_second_block():
    first, second = blocks(L1=[100, 130, 100, 140])
    assert (first.outcome, second.number, second.outcome) == ("reset", 2, "open")


@pytest.mark.parametrize(
    ("written", "name", "why"),
    [
        ({"P1": ["NON_CR_NON_PD", "PD"]}, "confirm_if_sum_mm", NO_TARGETS),
        ({"L1": [100, 100], "N1": [None, 12]}, "reset_below_mm", NOT_BY_SUM),
        ({"L1": [50, 120], "L2": [20, None]}, "confirm_if_sum_mm", PART_OF_SUM),
        ({"L1": [50, "gone", 8]}, "reset_below_mm", AFTER_COMPLETE),
    ],
)
def test_a_number_that_cannot_be_given_has_its_reason(written, name, why):
    block = blocks(**written)[-1]
    assert getattr(block, name) is None
    assert block.why[name] == why


def test_began_with_a_new_lesion_the_sum_confirms_by_progression_against_the_nadir():
    (block,) = blocks(L1=[100, 90], N1=[None, 12])
    assert block.categories == ("NL",)
    assert block.confirm_if_sum_mm == progression_threshold_mm(90, RECIST)


@pytest.mark.parametrize(
    ("events", "outcome", "by", "day"),
    [
        ([("death", 60)], "closed", "death", 60),
        ([("new_therapy", 60)], "closed", "new_therapy", 60),
        ([("lost", 60)], "closed", "lost", 60),
        ([("off_treatment", 60, "tumour")], "closed", "off_treatment", 60),
        ([("progression_clinical", 55), ("off_treatment", 60)], "closed", "off_treatment", 60),
        ([("off_treatment", 60, "toxicity")], "confirmed", "iCPD", 84),
        ([("progression_clinical", 60)], "confirmed", "iCPD", 84),
        ([("death", 84)], "confirmed", "iCPD", 84),
        ([("lost", 41)], "confirmed", "iCPD", 84),
        ([("lost", 90)], "confirmed", "iCPD", 84),
        ([("death", None)], "confirmed", "iCPD", 84),
    ],
)
def test_events_close_a_block_before_a_ct_does(events, outcome, by, day):
    (block,) = blocks(events=events, L1=[100, 130, 136])
    assert (block.outcome, block.resolved_by, block.resolved_day) == (outcome, by, day)


def test_a_death_on_a_day_that_is_not_known_closes_without_a_day():
    (block,) = blocks(as_of=200, events=[("death", None)], **PROGRESSED)
    assert (block.status, block.resolved_day, block.days_open) == ("closed", None, None)
    assert "not known" in block.why["resolved_day"]


def test_treatment_that_ended_otherwise_leaves_the_block_open_and_says_so():
    (block,) = blocks(as_of=70, events=[("off_treatment", 60, "toxicity")], **PROGRESSED)
    assert (block.status, block.why["treatment"]) == ("due", OTHER_END)


def test_no_block_opens_after_a_new_therapy():
    assert blocks(events=[("new_therapy", 30)], **PROGRESSED) == []


# -- random histories ------------------------------------------------------------------------------

EVENTS = st.lists(
    st.builds(
        Event,
        st.sampled_from([*ENDS, "progression_clinical", "alive"]),
        st.one_of(st.none(), st.integers(0, 500)),
        st.sampled_from([None, "tumour", "toxicity"]),
    ),
    max_size=3,
)
HISTORIES = settings(deadline=None, max_examples=80)


def as_of_blocks(drawn, events, day):
    return find_blocks(*drawn, events, day, recist=RECIST, irecist=IRECIST)


@HISTORIES
@given(drawn_courses(), EVENTS, st.integers(0, 600))
def test_at_most_the_last_block_is_open_and_it_is_no_response(drawn, events, day):
    found = as_of_blocks(drawn, events, day)
    assert all(b.status in STATUSES for b in found)
    assert [b.number for b in found] == list(range(1, len(found) + 1))
    assert all(b.outcome != "open" for b in found[:-1])
    assume(found and found[-1].outcome == "open")
    seen = [v for v in drawn[1] if v.day <= day]
    responses = assess_irecist(drawn[0], seen, RECIST, IRECIST)
    since = [r.response for r in responses if r.day >= found[-1].opened_day]
    assert set(since) <= {"iUPD", "iNE"}


@HISTORIES
@given(drawn_courses(), st.integers(0, 120), st.integers(0, 120))
def test_the_day_alone_moves_an_open_block_forward_only(drawn, days, more):
    last = drawn[1][-1].day
    before, after = (as_of_blocks(drawn, [], last + d) for d in (days, days + more))
    assume(before and before[-1].outcome == "open")
    order = ["waiting", "due", "standing", "overdue"]
    first, later = before[-1], after[-1]
    assert replace(later, status="", days_open=0) == replace(first, status="", days_open=0)
    assert later.days_open == first.days_open + more
    if first.status == "unreadable":
        assert later.status == "unreadable"
    else:
        assert order.index(first.status) <= order.index(later.status)


@HISTORIES
@given(drawn_courses(), EVENTS, st.integers(0, 600), st.integers(0, 300))
def test_what_has_ended_never_changes(drawn, events, day, more):
    dated = [e for e in events if e.day is not None]
    before, after = (as_of_blocks(drawn, dated, d) for d in (day, day + more))
    ended = [b for b in before if b.outcome != "open"]
    assert after[: len(ended)] == ended


@HISTORIES
@given(drawn_courses(), EVENTS, st.integers(0, 600))
def test_what_is_dated_later_is_not_known(drawn, events, day):
    baseline, visits = drawn
    past = [v for v in visits if v.day <= day]
    known = [e for e in events if e.day is None or e.day <= day]
    assert as_of_blocks((baseline, past), known, day) == as_of_blocks(drawn, events, day)


@HISTORIES
@given(drawn_courses())
def test_each_unconfirmed_progression_is_in_a_block_and_each_confirmed_one_ends_one(drawn):
    responses = [a.response for a in assess_irecist(*drawn, RECIST, IRECIST)]
    found = find_blocks(*drawn, [], None, recist=RECIST, irecist=IRECIST)
    assert bool(found) == ("iUPD" in responses)
    assert ("confirmed" in [b.outcome for b in found]) == ("iCPD" in responses)
    nadirs = {a.visit: a.nadir_mm for a in assess_as_of(*drawn, RECIST)}
    assert all(b.nadir_mm == nadirs[b.opened_visit] for b in found)
    assert all(b.status in OPEN for b in found if b.outcome == "open")


# -- real trials -----------------------------------------------------------------------------------


@pytest.mark.real_data
def test_blocks_of_three_trials(shared_data, tmp_path):
    """The first block of each patient of the atezolizumab trials, by the path of `grade`.

    Counts are those of an independent evaluation; three of those scanned again were so too early.
    """
    name = "target_lesion_diameters_studies_1_3.csv"
    (tmp_path / name).write_bytes((shared_data / "response" / name).read_bytes())
    trial = read_trial(tmp_path)
    graded = grade_trial(trial["TU"], trial["TR"], trial["RS"], trial["DM"], RECIST, IRECIST)
    first = graded.blocks.filter(block=1)
    again = first.filter(rescanned=True)
    assert (graded.blocks.height, first.height, again.height) == (264, 255, 145)
    assert Counter(again["resolved_by"]) == {"iCPD": 74, None: 43, "iSD": 22, "iPR": 5, "iCR": 1}
    assert Counter(again["outcome"]) == {"confirmed": 74, "open": 43, "reset": 28}
