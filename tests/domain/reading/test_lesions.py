"""Whose read is accepted, one case a rule."""

from __future__ import annotations

import pytest

from dagster_project.domain.reading.lesions import derive_lesions
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import LESIONS
from dagster_project.study import load_study
from tests.domain.rows import table

RULES = load_study().section("reads")


def read(reader="R1", lesion="L1", visit="T0", **facts):
    return {
        "reader": reader,
        "lesion": lesion,
        "visit": visit,
        "scan": visit,
        "longest_diameter_mm": {"R1": 20.0, "R2": 22.0}.get(reader, 30.0),
        **facts,
    }


def derive(rows, *cases):
    found = derive_lesions(table("reads", *rows), table("arbitrations", *cases), RULES)
    assert found.schema == polars_schema(LESIONS)
    assert found.select(LESIONS.key).is_unique().all()
    return [
        (r["visit"], r["lesion"], r["reader"], r["acceptance_basis"], r["n_readers"])
        for r in found.iter_rows(named=True)
    ]


def test_one_reader_is_a_single_reader():
    assert derive([read("R2")]) == [("T0", "L1", "R2", "single_reader", 1)]


def test_an_open_read_does_not_count():
    assert derive([read("R1", locked_at=None), read("R2")]) == [
        ("T0", "L1", "R2", "single_reader", 1)
    ]
    assert derive([read(locked_at=None)]) == []


def test_where_two_agree_the_first_readers_read_is_taken():
    assert derive([read("R2"), read("R1")]) == [("T0", "L1", "R1", "agreement", 2)]


def test_the_endorsed_read_is_taken_as_a_whole():
    rows = [read(), read("R2"), read("R2", "L2"), read("R1", "L3")]
    assert sorted(derive(rows, {"status": "settled", "accepted_reader": "R2"})) == [
        ("T0", "L1", "R2", "arbitration", 2),
        ("T0", "L2", "R2", "arbitration", 1),
    ]


def test_while_a_case_is_open_the_first_readers_read_is_provisional():
    assert derive([read(), read("R2")], {}) == [("T0", "L1", "R1", "provisional", 2)]


def test_a_case_of_another_patient_decides_nothing():
    assert derive(
        [read(), read("R2")], {"patient": "P2", "status": "settled", "accepted_reader": "R2"}
    ) == [("T0", "L1", "R1", "agreement", 2)]


@pytest.mark.parametrize(
    ("rows", "reader"),
    [
        ([read("SITE", locked_at=None)], "SITE"),
        ([read("SITE", locked_at=None), read("R2")], "R2"),
        ([read("SITE", locked_at=None), read("R2", locked_at=None)], "SITE"),
    ],
)
def test_the_sites_own_contours_count_where_no_reader_has_locked(rows, reader):
    assert derive(rows) == [("T0", "L1", reader, "single_reader", 1)]


def test_nothing_is_averaged_and_absent_lesions_stay_null():
    rows = [
        read(),
        read("R2"),
        read(visit="T1", is_present=False, longest_diameter_mm=None),
        read("R2", visit="T1"),
    ]
    found = derive_lesions(table("reads", *rows), table("arbitrations"), RULES)
    assert found.select("visit", "is_present", "longest_diameter_mm").rows() == [
        ("T0", True, 20.0),
        ("T1", False, None),
    ]


def test_the_order_of_rows_does_not_matter():
    rows = [
        read(r, lesion, v) for r in ("R1", "R2") for lesion in ("L1", "L2") for v in ("T0", "T1")
    ]
    assert sorted(derive(rows)) == sorted(derive(rows[::-1]))
