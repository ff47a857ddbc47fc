"""Each decision of a patient by what was known then, and what came after."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain.courses import IRECIST, STUDY
from tests.domain.evaluation.courses import NAMES, landmarks, progressions
from tests.domain.records import VISIT_DAYS, table

DAY = VISIT_DAYS
FIRST = IRECIST["confirmation_earliest_days"] - IRECIST["confirmation_tolerance_days"]
GROWN = STUDY.section("recist")["progression_mm"]
SIZE = st.one_of(st.none(), st.integers(0, 80))


def test_a_landmark_is_the_visit_as_it_was_and_counts_from_it():
    first, second = landmarks({"L1": [50, 40, 60]})
    assert (first.number, first.state, first.recist, first.irecist) == (
        1,
        "controlled",
        "SD",
        "iSD",
    )
    assert (first.sum_mm, first.baseline_sum_mm, first.nadir_mm) == (40, 50, 50)
    assert first.elapsed_days == DAY["T1"] - DAY["T0"]
    assert (first.days, first.event) == (DAY["T2"] - DAY["T1"], True)
    assert (second.state, second.days) == ("open", None)


def test_a_progression_began_after_the_last_ct_without_it_and_a_death_on_its_day():
    first = landmarks({"L1": [50, 40, 40, 60]})[0]
    assert first.days == DAY["V1"] - DAY["T1"]
    assert first.earliest_days == DAY["T2"] + 1 - DAY["T1"]
    died = landmarks({"L1": [50, 40]}, events=[("death", 100)])[0]
    assert died.days == died.earliest_days == 100 - DAY["T1"]
    assert (died.days_alive, died.died) == (100 - DAY["T1"], True)


def test_who_has_progressed_or_is_lost_from_sight_is_not_at_risk():
    assert landmarks({"L1": [50, 80, 40]})[1].days is None


def test_response_at_the_next_visit():
    first, second, third = landmarks({"L1": [50, 45, 30, 30]})
    assert (first.responds_next, second.responds_next, third.responds_next) == (True, True, None)
    assert not landmarks({"L1": [50, 45, 45]})[0].responds_next


def test_what_the_table_and_the_standard_show_is_beside_it():
    states = table(
        "dynamic_irecist", {"visit": "T1", "state": "controlled"}, {"visit": "T2", "state": "open"}
    )
    asked = {"in_population": True, "withheld": False}
    risks = table(
        "dynamic_risk",
        {"visit": "T1", "question": "response_when_stable", "probability": 0.3, **asked},
        {"visit": "T1", "question": "progression", "horizon_days": 90, "probability": 0.1, **asked},
        {
            "visit": "T1",
            "question": "progression",
            "horizon_days": 180,
            "probability": 0.2,
            **asked,
        },
        {"visit": "T2", "question": "progression", "withheld": True, "in_population": True},
        {"visit": "T2", "question": "confirmed", "withheld": True, "in_population": False},
    )
    first, second = landmarks({"L1": [50, 45, 70]}, dynamic=states, risks=risks)
    assert (first.state_of_table, first.response_risk) == ("controlled", 0.3)
    assert (first.progression_risk, first.asked, first.withheld) == (0.2, 3, 0)
    assert (second.progression_risk, second.asked, second.withheld) == (None, 1, 1)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(SIZE, SIZE), min_size=3, max_size=5).filter(lambda v: v[0][0] is not None)
)
def test_what_came_later_changes_no_decision(sizes):
    """The first visits alone have the same states, responses and sums as in the whole course."""
    whole = {
        "L1": [first for first, _ in sizes],
        "N1": [None, *(second or None for _, second in sizes[1:])],
    }
    cut = {label: values[:-1] for label, values in whole.items()}
    visits = NAMES[: len(sizes)]
    late = landmarks(whole, visits=visits, events=[("death", 400)])
    early = landmarks(cut, visits=visits[:-1])
    after = {
        "days": None,
        "event": None,
        "earliest_days": None,
        "days_alive": None,
        "died": None,
        "responds_next": None,
    }
    assert [replace(r, **after) for r in late[: len(early)]] == [replace(r, **after) for r in early]


def test_a_confirmed_progression_with_its_days_and_sums():
    (found,) = progressions({"L1": [50, 70, 90]})
    assert (found.outcome, found.rescanned, found.first_visit) == ("confirmed", True, True)
    between = DAY["T2"] - DAY["T1"]
    assert (found.resolved_days, found.next_ct_day) == (between, between)
    assert found.sums == (70, 90)
    assert found.confirm_mm == 70 + GROWN
    assert found.window[0] == FIRST
    assert found.recist == "PD"
    assert found.resolved.outcome == "confirmed"
    assert not found.misleading


def test_the_planned_ct_is_that_of_the_day_of_the_iupd():
    (found,) = progressions({"L1": [50, 70, 90]}, given=(0, 21, 42, 63, 84))
    assert found.scheduled_day == 105 - DAY["T1"]
    (unplanned,) = progressions({"L1": [50, 70, 90]}, given=(0,))
    assert unplanned.scheduled_day == STUDY.section("endpoints")["visit_interval_days"]


def test_a_sum_that_fell_after_the_iupd_does_not_change_what_was_known_at_it():
    """Neither confirmed nor reset at T2, where the sum fell by 3 mm."""
    (found,) = progressions({"L1": [50, 70, 67, 90]})
    assert found.confirm_mm == 70 + GROWN
    assert (found.outcome, found.resolved_days) == ("confirmed", DAY["V1"] - DAY["T1"])


@pytest.mark.parametrize(
    ("sizes", "events", "rescanned", "by"),
    [
        ({"L1": [50, 70]}, [], False, None),
        ({"L1": [50, 70]}, [("death", DAY["T1"] + 9)], False, "death"),
        ({"L1": [50, 70, 70]}, [("new_therapy", DAY["T2"] + 1)], True, "new_therapy"),
        ({"L1": [50, 70, 70]}, [("new_therapy", DAY["T2"] - 1)], False, "new_therapy"),
    ],
)
def test_who_was_scanned_again(sizes, events, rescanned, by):
    (found,) = progressions(sizes, events=events)
    assert (found.rescanned, found.resolved_by) == (rescanned, by)
    if by:
        assert found.resolved is None


def test_a_doubtful_new_lesion_opens_no_block_at_its_first_appearance():
    """RECIST dates the progression back to T1; what was known at T1 was stable disease."""
    sizes = {"L1": [50, 50, 50], "N1": [None, 8, 12]}
    first = landmarks(sizes, doubtful=["T1"])[0]
    assert (first.state, first.recist) == ("controlled", "SD")
    (found,) = progressions(sizes, doubtful=["T1"])
    assert not found.first_visit


def test_a_ct_that_is_not_read_yet_decides_nothing_and_was_made():
    """The block stays open at a CT without findings, as at one that could not be evaluated."""
    sizes, visits = {"L1": [50, 70]}, ("T0", "T1", "T2")
    assert [r.state for r in landmarks(sizes, visits=visits)] == ["open", "open"]
    (found,) = progressions(sizes, visits=visits)
    assert (found.rescanned, found.outcome) == (True, "open")
