"""The study's timepoints, one case a rule: days are counted from the first cycle."""

from __future__ import annotations

import datetime as dt
import random
import re
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.domain.imaging.timepoints import derive_timepoints, refuse_after_death
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import TIMEPOINTS
from dagster_project.study import load_study
from tests.domain.rows import DAY_0, day, table

RULES = load_study().section("timepoints")
EVERY_THREE_WEEKS = {1: 0, 2: 21, 3: 42, 4: 63, 5: 84, 6: 105}


def treatments(cycles, patient="P1"):
    rows = [
        {
            "site": "AA",
            "patient": patient,
            "cycle": c,
            "treatment_date": None if d is None else day(d),
        }
        for c, d in cycles.items()
    ]
    return pl.DataFrame(
        rows,
        schema={
            "site": pl.String,
            "patient": pl.String,
            "cycle": pl.Int32,
            "treatment_date": pl.Date,
        },
    )


def scan(name, at, **facts):
    return {"scan": name, "scan_date": None if at is None else day(at), **facts}


def visits(*scans, cycles=EVERY_THREE_WEEKS):
    found = derive_timepoints(table("scans", *scans), treatments(cycles), RULES)
    return {row["visit"]: row["scan"] for row in found.iter_rows(named=True)}


def rows(*scans, cycles=EVERY_THREE_WEEKS):
    found = derive_timepoints(table("scans", *scans), treatments(cycles), RULES)
    return {row["visit"]: row for row in found.iter_rows(named=True)}


def test_columns_are_those_of_the_table_but_the_fingerprint():
    schema = {n: t for n, t in polars_schema(TIMEPOINTS).items() if n != "input_fingerprint"}
    assert derive_timepoints(table("scans"), treatments({}), RULES).schema == schema
    assert derive_timepoints(table("scans", scan("a", 0)), treatments({}), RULES).schema == schema


def test_three_scans_where_they_should_be():
    assert visits(scan("a", -5), scan("b", 60), scan("c", 100)) == {"T0": "a", "T1": "b", "T2": "c"}


@pytest.mark.parametrize(("at", "visit"), [(-29, "V1"), (-28, "T0"), (0, "T0"), (1, "V1")])
def test_t0_lies_from_day_minus_28_to_day_0(at, visit):
    assert visits(scan("a", at)) == {visit: "a"}


def test_t0_is_the_last_scan_before_treatment():
    assert visits(scan("a", -20), scan("b", -3), scan("c", -10)) == {
        "T0": "b",
        "V1": "a",
        "V2": "c",
    }


@pytest.mark.parametrize(("at", "visit"), [(42, "V1"), (43, "T1"), (70, "T1"), (71, "V1")])
def test_t1_lies_after_cycle_3_and_no_later_than_cycle_4_and_a_week(at, visit):
    assert visits(scan("a", at)) == {visit: "a"}


@pytest.mark.parametrize(("at", "visit"), [(77, "T1"), (78, "V1")])
def test_without_cycle_4_t1_lies_within_35_days_of_cycle_3(at, visit):
    assert visits(scan("a", at), cycles={1: 0, 2: 21, 3: 42}) == {visit: "a"}


@pytest.mark.parametrize(("at", "visit"), [(84, "V1"), (85, "T2"), (112, "T2"), (113, "V1")])
def test_t2_lies_after_cycle_5_and_no_later_than_cycle_6_and_a_week(at, visit):
    assert visits(scan("a", at)) == {visit: "a"}


def test_t1_and_t2_are_the_first_scans_of_their_windows():
    assert visits(scan("a", 50), scan("b", 45), scan("c", 110), scan("d", 90)) == {
        "T1": "b",
        "T2": "d",
        "V1": "a",
        "V2": "c",
    }


def test_one_scan_is_not_two_visits():
    quick = {1: 0, 2: 7, 3: 14, 4: 21, 5: 24}
    assert visits(scan("a", 25), scan("b", 30), cycles=quick) == {"T1": "a", "T2": "b"}


@pytest.mark.parametrize("cycles", [{}, {2: 21, 3: 42}])
def test_without_cycle_1_no_scan_is_t0_t1_or_t2(cycles):
    found = rows(scan("b", 60), scan("a", -5), cycles=cycles)
    assert {v: r["scan"] for v, r in found.items()} == {"V1": "a", "V2": "b"}
    assert {r["day"] for r in found.values()} == {None}
    assert "cycle 1" in found["V1"]["selection_reason"]


def test_scans_without_a_date_come_last_each_study_by_itself():
    found = visits(
        scan("a", None, study_instance_uid="2"),
        scan("b", None, study_instance_uid="1"),
        scan("c", -40),
    )
    assert found == {"V1": "c", "V2": "b", "V3": "a"}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (
            {"axial_original": True, "slice_thickness_mm": 5.0, "slice_spacing_mm": 5.0},
            {"axial_original": False},
        ),
        (
            {"axial_original": True, "slice_thickness_mm": 5.0, "slice_spacing_mm": 5.0},
            {"axial_original": None},
        ),
        (
            {"slice_thickness_mm": 1.0, "kernel": "B70f"},
            {"slice_thickness_mm": 1.25, "slice_spacing_mm": 1.25},
        ),
        ({"slice_spacing_mm": 0.8}, {"slice_spacing_mm": 3.0}),
        ({"kernel": "B31f", "n_slices": 10}, {"kernel": "B70f"}),
        ({"n_slices": 301, "series_number": 9}, {"n_slices": 300}),
        ({"series_number": 2}, {"series_number": 3}),
        ({"series_number": 2}, {"series_number": None}),
        ({"chest_flag": True, "axial_original": False}, {"chest_flag": False}),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_of_several_series_of_a_day_the_best_is_chosen_and_the_others_named(better, worse, turned):
    pair = [scan("z-better", -5, **better), scan("a-worse", -5, **worse)]
    (found,) = rows(*(pair[::-1] if turned else pair)).values()
    assert (found["scan"], found["alternative_scans"]) == ("z-better", ["a-worse"])
    assert "best of 2" in found["selection_reason"]


@pytest.mark.parametrize(
    ("kernel", "soft"),
    [
        ("B31f", True),
        ("Br40d\\3", True),
        ("I26f", True),
        ("FC08", True),
        ("STANDARD", True),
        ("Standard", True),
        ("SOFT", True),
        ("B", True),
        ("Qr40", True),
        ("B70f", False),
        ("Bl57d", False),
        ("BONE", False),
        ("LUNG", False),
        ("FC52", False),
        ("YA", False),
        ("L", False),
        ("CHST", False),
    ],
)
def test_soft_tissue_kernels(kernel, soft):
    assert (re.fullmatch(RULES["soft_tissue_kernels"], kernel, re.IGNORECASE) is not None) is soft


def test_another_body_part_in_the_window_does_not_take_the_place_of_the_chest():
    found = rows(scan("head", -2, chest_flag=False), scan("chest", -6))
    assert found["T0"]["scan"] == "chest"


def test_where_no_chest_lies_in_the_window_the_other_is_taken_and_it_says_so():
    found = rows(scan("head", -2, chest_flag=False))
    assert found["T0"]["scan"] == "head"
    assert "none in the window looks like a chest" in found["T0"]["selection_reason"]


@pytest.mark.parametrize(
    ("facts", "changes"),
    [
        ({}, []),
        ({"manufacturer": "Acme "}, []),
        ({"manufacturer_model_name": "X2"}, ["scanner"]),
        ({"kernel": "B70f"}, ["kernel"]),
        ({"contrast": False}, ["contrast"]),
        ({"kvp": 100.0, "kernel": "B20f", "manufacturer": "Other"}, ["scanner", "kernel", "kvp"]),
        ({"kvp": None, "kernel": None, "contrast": None}, []),
    ],
)
def test_what_changed_since_t0_is_named_where_both_tell_it(facts, changes):
    found = rows(scan("a", -5), scan("b", 50, **facts))
    assert found["T1"]["changed_since_t0"] == changes
    assert found["T0"]["changed_since_t0"] == []


def test_days_are_counted_from_cycle_1():
    found = rows(scan("a", -5), scan("b", 50))
    assert {v: r["day"] for v, r in found.items()} == {"T0": -5, "T1": 50}
    assert found["T0"]["scan_date"] == DAY_0 - dt.timedelta(days=5)


@given(
    st.lists(
        st.tuples(
            st.integers(-60, 160), st.sampled_from(["B31f", "B70f"]), st.sampled_from([1.0, 5.0])
        ),
        min_size=1,
        max_size=9,
    ),
    st.randoms(),
)
def test_every_scan_has_one_place_and_the_order_of_rows_does_not_matter(
    facts, shuffle: random.Random
):
    scans = [
        scan(f"s{n}", at, kernel=kernel, slice_thickness_mm=thick)
        for n, (at, kernel, thick) in enumerate(facts)
    ]
    found = rows(*scans)
    placed = [s for row in found.values() for s in (row["scan"], *row["alternative_scans"])]
    assert sorted(placed) == sorted(s["scan"] for s in scans)
    shuffle.shuffle(scans)
    assert rows(*scans) == found


@given(st.integers(-2000, 2000))
def test_a_shift_of_all_dates_changes_no_visit(days):
    scans = table("scans", *(scan(str(n), at) for n, at in enumerate((-40, -5, 20, 60, 100, 200))))
    given_cycles = treatments(EVERY_THREE_WEEKS)
    shift = pl.duration(days=days)
    found = derive_timepoints(scans, given_cycles, RULES)
    moved = derive_timepoints(
        scans.with_columns(pl.col("scan_date") + shift),
        given_cycles.with_columns(pl.col("treatment_date") + shift),
        RULES,
    )
    assert moved.drop("scan_date").equals(found.drop("scan_date"))


def test_patients_do_not_mix():
    scans = table("scans", scan("a", -5), scan("b", -6, patient="P2"))
    found = derive_timepoints(
        scans, pl.concat([treatments(EVERY_THREE_WEEKS), treatments({1: 1}, "P2")]), RULES
    )
    assert found.select("patient", "visit", "scan", "day").rows() == [
        ("P1", "T0", "a", -5),
        ("P2", "T0", "b", -7),
    ]


# ── dates that are not known, or contradict each other ──


def test_a_cycle_on_an_unknown_day_leaves_its_window_open_and_the_visit_says_so():
    scans = scan("a", -5), scan("b", 60), scan("c", 100)
    assert visits(*scans, cycles=EVERY_THREE_WEEKS | {3: None}) == {"T0": "a", "T2": "c", "V1": "b"}
    found = rows(*scans, cycles=EVERY_THREE_WEEKS | {4: None, 5: None})
    assert {v: r["scan"] for v, r in found.items()} == {"T0": "a", "V1": "b", "V2": "c"}
    why = (
        "not in a window of the protocol; no T1: the date of cycle 4 is not known; "
        "no T2: the date of cycle 5 is not known"
    )
    assert found["V1"]["selection_reason"].startswith(why)


def test_no_other_cycle_is_day_0():
    found = rows(scan("a", -5), scan("b", 60), cycles=EVERY_THREE_WEEKS | {1: None})
    assert {v: (r["scan"], r["day"]) for v, r in found.items()} == {
        "V1": ("a", None),
        "V2": ("b", None),
    }
    assert found["V1"]["selection_reason"].startswith("no date of cycle 1")


def test_a_window_that_no_next_cycle_ends_is_ended_by_a_later_one():
    assert visits(scan("a", 75), cycles={1: 0, 2: 21, 3: 42, 6: 60}) == {"V1": "a"}
    assert visits(scan("a", 66), cycles={1: 0, 2: 21, 3: 42, 6: 60}) == {"T1": "a"}


DAYS = st.none() | st.integers(-300, 300)


@given(st.dictionaries(st.integers(1, 7), DAYS), st.lists(DAYS, max_size=8))
def test_t1_lies_after_t0_and_t2_after_t1_whatever_the_cycles_say(cycles, scanned):
    found = rows(*(scan(f"s{n}", at) for n, at in enumerate(scanned)), cycles=cycles)
    dates = [found[v]["scan_date"] for v in ("T0", "T1", "T2") if v in found]
    assert all(a < b for a, b in pairwise(dates))
    if dates:
        assert cycles[1] is not None
        assert all(found[v]["scan_date"] > day(cycles[1]) for v in ("T1", "T2") if v in found)
    assert "T0" not in found or found["T0"]["scan_date"] <= day(cycles[1])


def test_a_scan_after_death_is_named_and_stays():
    found = derive_timepoints(
        table("scans", scan("a", -5), scan("b", 60), scan("c", None)),
        treatments(EVERY_THREE_WEEKS),
        RULES,
    )
    died = pl.DataFrame(
        {
            "site": ["AA"] * 2,
            "patient": ["P1"] * 2,
            "event": ["death", "alive"],
            "event_date": [day(59), day(100)],
        }
    )
    late = refuse_after_death(found, died)
    assert late.select("stage", "item").rows() == [("timepoints", "scan b")]
    assert "correct the row of the death" in late["reason"][0]
    assert (
        refuse_after_death(found, died.with_columns(event_date=pl.lit(None, pl.Date))).height == 0
    )
    assert refuse_after_death(found, died.with_columns(event_date=pl.lit(day(60)))).height == 0
