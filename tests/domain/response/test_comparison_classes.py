"""Comparison classes: margins in reader errors, counts of real trials, exact intervals."""

from __future__ import annotations

import pytest

from dagster_project.domain.response.comparison_classes import (
    Resolved,
    compare,
    count_class,
    margin_class,
    progression_margin,
    shipped_classes,
)
from dagster_project.domain.response.recist import progression_threshold_mm
from dagster_project.flow.reference_classes import SHIPPED, main, write_classes
from tests.domain.courses import RECIST, STUDY

DYNAMIC = STUDY.section("dynamic")
EDGES = DYNAMIC["class_edges"]
MINIMUM = DYNAMIC["class_blocks_minimum"]


@pytest.mark.parametrize("nadir", [0.0, 10.0, 25.0, 100.0])
def test_the_margin_is_0_at_progression_and_grows_with_the_sum(nadir):
    threshold = progression_threshold_mm(nadir, RECIST)
    margins = [progression_margin(threshold + step, nadir, 0.06, RECIST) for step in (-1, 0, 1, 9)]
    assert margins == sorted(margins)
    assert margins[1] == 0


def test_the_margin_is_in_errors_of_a_difference_between_two_readers():
    assert progression_margin(130, 100, 0.06, RECIST) == pytest.approx(10 / (2**0.5 * 0.06 * 130))
    assert progression_margin(130, 100, 0.12, RECIST) == pytest.approx(10 / (2**0.5 * 0.12 * 130))


@pytest.mark.parametrize(("size", "nadir"), [(None, 100.0), (100.0, None), (0.0, 0.0)])
def test_without_a_sum_or_a_nadir_there_is_no_margin(size, nadir):
    assert progression_margin(size, nadir, 0.06, RECIST) is None


def test_the_shipped_classes_are_those_of_the_trials_with_their_citation():
    """Margins up to 0.5, to 2 and above: 50, 67 and 28 scanned again, of these 12, 13, 3 reset.

    One patient (7 mm after a complete response) is 3.4 errors above progression.
    """
    shipped = shipped_classes()
    by_margin = {
        name: [sum(c[name] for c in shipped["class"] if c["margin"] == m) for m in range(3)]
        for name in ("n", "confirmed", "reset")
    }
    assert by_margin == {"n": [50, 67, 28], "confirmed": [24, 34, 16], "reset": [12, 13, 3]}
    assert (shipped["licence"], "PLoS Comput Biol" in shipped["citation"]) == ("CC BY 4.0", True)
    assert (shipped["reader_error"], shipped["edges"]) == (DYNAMIC["reader_error"], EDGES)


@pytest.mark.real_data
def test_they_are_what_the_published_sums_give(shared_data):
    file = shared_data / "response" / "target_lesion_diameters_studies_1_3.csv"
    assert write_classes(file, STUDY) == SHIPPED.read_text(encoding="utf-8")
    assert main([str(file), "--check"]) == 0


def blocks(n, outcome, patient="P"):
    return [Resolved(("S", f"{patient}{i}"), 1, "first", outcome) for i in range(n)]


def test_the_studys_own_class_replaces_the_shipped_one_where_it_has_enough_resolved():
    few = blocks(MINIMUM - 1, "confirmed") + blocks(50, "open")
    assert compare(1, "first", few, EDGES, MINIMUM).source == shipped_classes()["source"]
    own = compare(1, "first", few + blocks(1, "reset"), EDGES, MINIMUM)
    assert (own.source, own.n, own.confirmed, own.reset) == ("study", MINIMUM + 50, MINIMUM - 1, 1)
    assert own.still_open == 50


def test_a_class_of_other_edges_is_not_taken_from_the_trials():
    assert compare(1, "first", [], [1.0], MINIMUM) is None


def test_intervals_are_exact_and_an_empty_class_has_none():
    found = count_class(blocks(7, "confirmed") + blocks(13, "open"), 1, "first", EDGES, "study")
    confirmed, reset = found.shares
    assert (round(confirmed.lower, 4), round(confirmed.upper, 4)) == (0.1539, 0.5922)
    assert reset.lower == 0
    assert count_class([], margin_class(9, EDGES), "later", EDGES, "study").shares is None
