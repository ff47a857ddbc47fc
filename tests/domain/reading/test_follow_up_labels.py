"""Labels of a follow-up visit that a reader does not know from the visit before treatment."""

from __future__ import annotations

import pytest

from dagster_project.domain.reading.follow_up_labels import (
    NOT_AT_BASELINE,
    ONLY_PART,
    question_labels,
)

VISIT_OF = {("AA", "S0"): "T0", ("AA", "S1"): "T1"}


def read(scan, lesion, role="target", reader="R1"):
    return {
        "site": "AA",
        "patient": "P",
        "scan": scan,
        "reader": reader,
        "lesion": lesion,
        "role": role,
        "is_present": True,
        "is_lymph_node": False,
    }


def questions(*rows):
    return [
        (row["scan"], row["lesion"], question)
        for row, question in question_labels(rows, VISIT_OF, "T0")
    ]


@pytest.mark.parametrize("role", ["target", "non_target"])
def test_a_lesion_of_baseline_role_that_was_not_there_at_baseline(role):
    assert questions(read("S0", "L1"), read("S1", "L1"), read("S1", "M2", role)) == [
        ("S1", "M2", NOT_AT_BASELINE)
    ]


def test_a_new_lesion_and_the_lesions_of_baseline_are_no_question():
    assert (
        questions(
            read("S0", "L1"),
            read("S0", "L2", "non_target"),
            read("S1", "L1"),
            read("S1", "N1", "new"),
        )
        == []
    )


def test_a_single_letter_too_much_is_no_split_lesion():
    assert questions(read("S0", "L1"), read("S1", "L1l")) == [("S1", "L1l", ONLY_PART)]


@pytest.mark.parametrize("labels", [("L1a", "L1b"), ("L1", "L1b"), ("L1+L2",)])
def test_fragments_and_merged_lesions_are_no_question(labels):
    assert (
        questions(read("S0", "L1"), read("S0", "L2"), *(read("S1", label) for label in labels))
        == []
    )


def test_each_reader_is_compared_with_the_own_baseline():
    rows = [
        read("S0", "L1"),
        read("S0", "M1", reader="R2"),
        read("S1", "M1", reader="R2"),
        read("S1", "M1"),
    ]
    assert questions(*rows) == [("S1", "M1", NOT_AT_BASELINE)]


def test_without_a_baseline_there_is_nothing_to_compare_with():
    assert questions(read("S1", "L1"), read("S1", "L1b")) == []
