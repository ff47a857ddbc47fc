"""Who is trained on, why not, and what is told: nothing known by the task's visit."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from dagster_project.domain.cohort.training_cohort import derive_training_cohort, excluded_sites
from dagster_project.domain.response.progression_free import NEW_THERAPY
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import TRAINING_COHORT
from dagster_project.study import PROTOCOL, load_study
from tests.domain.courses import STUDY
from tests.domain.records import eligibility, responses, table, timepoints

EVERY = ("T0", "T1", "T2", "V1", "V2")


def protocol(**model):
    return replace(STUDY, sections={**STUDY.sections, "model": {**STUDY.section("model"), **model}})


def derive(*visits, verdicts=(), outcome=(), task="T1", study=STUDY):
    found = derive_training_cohort(
        eligibility(**dict(verdicts)),
        table("outcomes", dict(outcome)),
        responses(*(v.split() for v in visits)),
        timepoints(*EVERY),
        study,
    )
    assert dict(found.schema) == {
        n: k for n, k in polars_schema(TRAINING_COHORT).items() if n != "snapshot"
    }
    assert found["task"].to_list() == ["T0", "T1", "T2"]
    return found.row(by_predicate=pl.col("task") == task, named=True)


CASES = {
    "1 first criterion that is not met": (
        {"I3": "not_met", "E2": "not_met"},
        ("T1 SD iSD", "T2 PR iPR"),
        "ineligible_I3",
    ),
    "1 not known": ({"I8": "unknown"}, ("T1 SD iSD", "T2 PR iPR"), "unknown_I8"),
    "1 missing visit": ({"I4": "unknown", "I5": "unknown"}, ("T1 SD iSD",), "missing_visit"),
    "1 slices": ({"I5": "not_met"}, ("T1 SD iSD", "T2 PR iPR"), "slice_thickness"),
    "1 artifact": ({"E1": "not_met"}, ("T1 SD iSD", "T2 PR iPR"), "artifact"),
    "1 consent": ({"E5": "not_met"}, ("T1 SD iSD", "T2 PR iPR"), "consent_withdrawn"),
    "2 progressed": ({}, ("T1 PD iUPD", "T2 PR iPR"), "progressed_by_T1"),
    "2 responded": ({}, ("T1 PR iPR", "T2 PR iPR"), "responded_by_T1"),
    "2 progressed only in the light of a later visit": ({}, ("T1 PD iSD", "T2 PD iUPD"), None),
    "3 no later visit": ({}, ("T1 SD iSD",), "no_response_after_T1"),
    "3 none that could be evaluated": ({}, ("T1 SD iSD", "T2 NE iNE"), "no_response_after_T1"),
    "4 included": ({}, ("T1 SD iSD", "T2 PR iPR"), None),
    "4 included although not evaluable at the task's visit": ({}, ("T1 NE iNE", "T2 SD iSD"), None),
}


@pytest.mark.parametrize(("verdicts", "visits", "exclusion"), CASES.values(), ids=CASES.keys())
def test_row_rules(verdicts, visits, exclusion):
    found = derive(*visits, verdicts=verdicts)
    assert (found["exclusion"], found["included"]) == (exclusion, exclusion is None)


DECIDED = {
    "site": "BJCH",
    "decided_by": "PI",
    "decided_on": "2026-05-01",
    "reason": "second reader to be trained anew",
}


def leaving_out(*entries):
    return replace(
        STUDY,
        sections={
            **STUDY.sections,
            "gate": {**STUDY.section("gate"), "excluded_sites": list(entries)},
        },
    )


def test_0_a_site_is_left_out_by_a_recorded_decision():
    rows = ("T1 SD iSD", "T2 PR iPR")
    site = derive(*rows)["site"]
    assert (
        derive(*rows, study=leaving_out({**DECIDED, "site": site}))["exclusion"] == "site_left_out"
    )
    assert derive(*rows, study=leaving_out({**DECIDED, "site": "ELSE"}))["included"]


def test_0_by_default_no_site_is_left_out():
    assert excluded_sites(load_study(PROTOCOL)) == frozenset()


LABELS = {
    "1 response at T2": (("T1 SD iSD", "T2 PR iPR"), True),
    "2 response later": (("T1 SD iSD", "T2 SD iSD", "V1 CR iCR"), True),
    "3 response after progression": (("T1 SD iSD", "T2 PD iUPD", "V1 PR iPR"), False),
    "4 stable": (("T1 SD iSD", "T2 SD iSD"), False),
    "5 progression": (("T1 SD iSD", "T2 PD iUPD"), False),
    "6 response at T1 alone does not count": (("T1 PR iPR", "T2 SD iSD"), False),
    "7 nothing evaluable": (("T1 SD iSD", "T2 NE iNE"), None),
}


@pytest.mark.parametrize(("visits", "label"), LABELS.values(), ids=LABELS.keys())
def test_label(visits, label):
    assert derive(*visits)["label"] is label


def test_a_response_under_another_therapy_is_none():
    visits = ("T1 SD iSD", "T2 SD iSD", "V1 PR iPR")
    assert derive(*visits, outcome={"pfs_reason": NEW_THERAPY, "pfs_days": 98})["label"] is False
    assert derive(*visits, outcome={"pfs_reason": "progression", "pfs_days": 98})["label"] is True


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("exclude", (False, False)), ("exclude_progressed", (False, True)), ("keep", (True, True))],
)
def test_the_protocol_says_who_counts_as_decided(policy, kept):
    courses = (("T1 PD iUPD", "T2 PR iPR"), ("T1 PR iPR", "T2 PR iPR"))
    assert (
        tuple(
            derive(*visits, study=protocol(early_outcome_policy=policy))["included"]
            for visits in courses
        )
        == kept
    )


@pytest.mark.parametrize(
    ("days", "event", "label"),
    [
        (183, True, True),
        (182, True, False),
        (182, False, None),
        (400, False, True),
        (None, None, None),
    ],
)
def test_after_the_last_visit_the_label_is_six_months_without_progression(days, event, label):
    found = derive(
        "T1 SD iSD",
        "T2 PR iPR",
        outcome={"pfs_from_t2_days": days, "pfs_from_t2_event": event},
        task="T2",
    )
    assert found["label"] is label
    assert found["exclusion"] == (None if label is not None else "short_follow_up_after_T2")
    assert "six months of T2" in found["label_definition"]


@pytest.mark.parametrize(("task", "label"), [("T0", True), ("T1", True)])
def test_each_task_is_told_of_visits_after_its_own(task, label):
    found = derive(
        "T1 SD iSD",
        "T2 PR iPR",
        "V1 SD iSD",
        task=task,
        study=protocol(early_outcome_policy="keep"),
    )
    assert (found["task"], found["label"]) == (task, label)
    assert f"after {task}" in found["label_definition"]


def test_the_protocol_says_which_tasks_are_learnt():
    found = derive_training_cohort(
        eligibility(),
        table("outcomes", {}),
        responses(("T1", "PR", "iPR"), ("T2", "PR", "iPR")),
        timepoints(*EVERY),
        protocol(tasks=["T0", "T1"]),
    )
    assert found.select("task", "included", "exclusion").rows() == [
        ("T0", True, None),
        ("T1", False, "responded_by_T1"),
    ]


def test_another_reader_changes_nothing():
    graded = pl.concat(
        [
            responses(("T2", "SD", "iSD")),
            responses(("T1", "PD", "iUPD"), ("T2", "PR", "iPR"), evaluator="R1"),
        ]
    )
    found = derive_training_cohort(
        eligibility(), table("outcomes", {}), graded, timepoints(*EVERY), STUDY
    ).filter(task="T1")
    assert found.select("included", "label").row(0) == (True, False)
