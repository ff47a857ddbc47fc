"""Labels of progressions: the next CT that could tell, and what it made of the block."""

from __future__ import annotations

import pytest

from dagster_project.domain.response.dynamic_standard import Standard
from dagster_project.domain.response.iupd_cohort import (
    CLOSED_BEFORE,
    NOT_BY_TARGETS,
    NOT_SCANNED,
    derive_iupd_cohort,
    labelled,
)
from dagster_project.domain.response.sum_error import ReaderError
from dagster_project.lake.schema import conform
from dagster_project.lake.tables import IUPD_COHORT
from tests.domain.courses import STUDY
from tests.domain.evaluation.courses import course
from tests.domain.records import table

DAYS = {"T0": -7, "T1": 56, "T2": 98, "V1": 160, "V2": 220}


def cohort(sizes, events=(), visits=None):
    """The row of the first block of a course."""
    one = course(sizes, visits=visits, events=events)
    responses = table("responses", *({**v, "evaluator": "accepted"} for v in one.visits))
    blocks = table("irecist_blocks", *({**b, "evaluator": "accepted"} for b in one.blocks))
    error = ReaderError(0.06, "protocol", 0)
    found = derive_iupd_cohort(responses, blocks, error, STUDY.sections, Standard("1", "d" * 16))
    return conform(found, IUPD_COHORT)


@pytest.mark.parametrize(
    ("sizes", "visit", "outcome"),
    [
        ({"L1": [50, 80, 90]}, "T2", "confirmed"),
        ({"L1": [50, 80, 45]}, "T2", "reset"),
        ({"L1": [50, 80, 81]}, "T2", "open"),
        ({"L1": [50, 80, 81, 95]}, "T2", "open"),
        ({"L1": [50, 80, None, 95]}, "V1", "confirmed"),
    ],
    ids=["grows", "recovers", "stands", "confirmed later", "not evaluable between"],
)
def test_the_next_evaluable_ct_labels_it(sizes, visit, outcome):
    row = cohort(sizes).row(0, named=True)
    assert (row["next_visit"], row["next_outcome"]) == (visit, outcome)
    assert row["days_to_next"] == DAYS[visit] - DAYS["T1"]
    assert row["opened_at"] == "first"


def test_without_a_ct_there_is_no_label_but_a_reason():
    row = cohort({"L1": [50, 80]}).row(0, named=True)
    assert (row["next_outcome"], row["reason"]) == (None, NOT_SCANNED)
    died = cohort({"L1": [50, 80]}, events=[("death", 70)]).row(0, named=True)
    assert died["reason"] == CLOSED_BEFORE.format(event="death")
    assert labelled(cohort({"L1": [50, 80]})) == []


def test_a_ct_after_the_event_that_closed_it_does_not_count():
    row = cohort({"L1": [50, 80, 90]}, events=[("new_therapy", 70)]).row(0, named=True)
    assert (row["next_visit"], row["outcome"]) == (None, "closed")


def test_a_block_that_began_in_a_new_lesion_has_no_class():
    found = cohort({"L1": [50, 50, 50], "N1": [None, 12, 25]})
    row = found.row(0, named=True)
    assert (row["margin"], row["margin_class"]) == (None, None)
    assert NOT_BY_TARGETS in row["reason"]
    assert labelled(found) == []


def test_its_class_is_that_of_the_margin_at_the_iupd():
    (found,) = labelled(cohort({"L1": [50, 80, 45]}))
    assert (found.margin_class, found.visit, found.outcome) == (2, "first", "reset")
    (later,) = labelled(cohort({"L1": [50, 50, 80, 95]}))
    assert later.visit == "later"
