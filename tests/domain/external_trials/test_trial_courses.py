"""Another trial's subjects as courses: one evaluator's, by days from baseline, deaths of DM."""

from __future__ import annotations

import pytest

from dagster_project.domain.evaluation.courses import landmarks_of
from dagster_project.domain.external_trials.trial_courses import (
    SeveralEvaluators,
    UnknownEvaluator,
    courses_of_trial,
)
from dagster_project.domain.external_trials.trial_rows import TrialRow
from tests.domain.courses import ENDPOINTS, IRECIST
from tests.domain.sdtm import grade, rows, tr

DEATH = rows("dm.csv", {"DTHDTC": "2024-05-11"})
"""130 days after the screening of `sdtm.DATES`."""


def of(dm=(), evaluator=None, **lesions):
    return courses_of_trial(grade(tr(**lesions), dm_rows=dm), dm, ENDPOINTS, evaluator)


def test_days_count_from_baseline():
    (course,) = of(T01=[50, 45, 30])
    assert [v["day"] for v in course.visits] == [42, 84]
    first, second = landmarks_of(course, IRECIST)
    assert (first.elapsed_days, first.days, first.event) == (42, 42, False)
    assert (first.responds_next, second.sum_mm) == (True, 30)


def test_a_block_has_its_end():
    (course,) = of(T01=[50, 70, 90])
    (block,) = course.blocks
    assert (block["outcome"], block["opened_day"], block["resolved_day"]) == ("confirmed", 42, 84)
    assert [s.state for s in course.replay(IRECIST)] == ["open", "confirmed"]


def test_a_death_of_dm_ends_both_times():
    (course,) = of(dm=DEATH, T01=[50, 45, 45])
    assert (course.death.days, course.death.event) == (130, True)
    assert (course.progression.days, course.progression.event) == (130, True)


def test_without_any_death_there_is_no_overall_survival():
    (course,) = of(T01=[50, 45, 45])
    assert course.death is None


def two_evaluators():
    first = tr(T01=[50, 45])
    second = [TrialRow(r.file, r.number + 50, {**r.cells, "TREVAL": "CENTRAL"}) for r in first]
    return grade([*first, *second])


def test_of_several_evaluators_one_is_chosen_by_name():
    graded = two_evaluators()
    with pytest.raises(
        SeveralEvaluators, match="2 evaluators: 'CENTRAL', 'INVESTIGATOR'; choose one"
    ):
        courses_of_trial(graded, (), ENDPOINTS)
    (course,) = courses_of_trial(graded, (), ENDPOINTS, "CENTRAL")
    assert len(course.visits) == 1
    with pytest.raises(
        UnknownEvaluator, match="by 'NOBODY'; the tables have 'CENTRAL', 'INVESTIGATOR'"
    ):
        courses_of_trial(graded, (), ENDPOINTS, "NOBODY")


def test_a_subject_without_baseline_is_no_course():
    graded = grade(tr(T01=[None, 45]))
    assert courses_of_trial(graded, (), ENDPOINTS) == []
