"""What a finding adds to the sum, whose fragment it is, and whether it may be a target."""

from __future__ import annotations

import pytest

from dagster_project.domain.response.findings import (
    Finding,
    RecistVisit,
    is_measurable,
    measure,
    parents,
    read_baseline,
)
from tests.domain.courses import RECIST, finding


@pytest.mark.parametrize(
    ("value", "label", "millimetres"),
    [
        pytest.param("gone", "L1", 0.0, id="1 gone"),
        pytest.param(3.0, "L1", 3.0, id="2 a measured 3 mm stays 3 mm"),
        pytest.param(6.0, "K1", 6.0, id="2 a normal node keeps its short axis"),
        pytest.param("gone", "K1", 0.0, id="3 a node that is gone"),
        pytest.param("small", "L1", 5.0, id="4 too small to measure"),
        pytest.param("seen", "L1", None, id="5 seen without a size"),
    ],
)
def test_share_of_a_lesion_in_the_sum(value, label, millimetres):
    assert measure(finding(label, value), RECIST) == millimetres


def test_too_small_counts_only_where_no_number_could_be_given():
    assert measure(Finding("L1", "target", diameter_mm=3.0, too_small=True), RECIST) == 3.0


@pytest.mark.parametrize(
    ("label", "known", "expected"),
    [
        pytest.param("L1", ["L1", "L1a"], ("L1",), id="1 itself"),
        pytest.param("L1a", ["L1", "L1a"], ("L1a",), id="1 a label of its own at baseline"),
        pytest.param("L1+L2", ["L1", "L2"], ("L1", "L2"), id="2 merged"),
        pytest.param("L1+L9", ["L1", "L2"], (), id="2 merged with something unknown"),
        pytest.param("L1b", ["L1"], ("L1",), id="3 fragment by letter"),
        pytest.param("L1.2", ["L1"], ("L1",), id="3 fragment by number"),
        pytest.param("L12", ["L1"], (), id="4 another lesion"),
        pytest.param("lesion", ["lesio"], (), id="4 a word that ends in a letter"),
    ],
)
def test_parents_of_a_label(label, known, expected):
    assert parents(label, known) == expected


@pytest.mark.parametrize(
    ("label", "size", "slice_mm", "expected"),
    [
        pytest.param("L1", 10.0, 1.0, True, id="1 10 mm"),
        pytest.param("L1", 9.9, 1.0, False, id="1 below 10 mm"),
        pytest.param("L1", 14.9, 7.5, False, id="1 below twice a slice of 7.5 mm"),
        pytest.param("K1", 15.0, 7.5, True, id="2 a node of 15 mm, whatever the slice"),
        pytest.param("K1", 14.9, 1.0, False, id="2 a node below 15 mm"),
        pytest.param("L1", "seen", 1.0, None, id="3 not measured"),
    ],
)
def test_measurable(label, size, slice_mm, expected):
    assert is_measurable(finding(label, size), RECIST, slice_mm) is expected


def test_breaches_of_target_selection_are_told_and_nothing_is_cut_off():
    lesions = [Finding(f"L{n}", "target", diameter_mm=20.0, organ="lung") for n in range(6)]
    baseline = read_baseline(
        RecistVisit("T0", 0, (*lesions, Finding("K1", "target", node=True, diameter_mm=12.0))),
        RECIST,
    )
    assert baseline.sum_mm == 132
    assert baseline.queries == (
        "7 targets at baseline, 5 allowed",
        "6 targets in one organ (lung), 2 allowed",
        "target K1 is below the measurable size at baseline",
    )
