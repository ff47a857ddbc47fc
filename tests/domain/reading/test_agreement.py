"""Pairs of reads and the figures of their agreement, one case a rule."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from dagster_project.domain.reading.agreement import PAIRS, derive_pairs, derive_reader_agreement
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import READER_AGREEMENT
from dagster_project.statistics.icc_by_patient import icc_by_patient
from dagster_project.study import load_study
from tests.domain.rows import DECISIONS, LOCKED, frame, table

RULES = load_study().section("agreement")
NONE_DECIDED = frame(DECISIONS)


def read(reader="R1", lesion="L1", visit="T0", **facts):
    usual = {
        "scan": f"S{visit}",
        "volume_mm3": 900.0,
        "longest_diameter_mm": 20.0,
        "short_axis_mm": 12.0,
        "mask_digest": f"{reader}{lesion}{visit}",
    }
    return {**usual, "reader": reader, "lesion": lesion, "visit": visit, **facts}


def pairs_of(*rows, dice_of=lambda *_: 0.9):
    return derive_pairs(table("reads", *rows), dice_of)


ABSENT = {
    "is_present": False,
    "volume_mm3": None,
    "longest_diameter_mm": None,
    "short_axis_mm": None,
    "mask_digest": None,
}


def test_columns_of_pairs():
    assert pairs_of().schema == PAIRS
    assert pairs_of(read(), read("R2")).schema == PAIRS


def test_a_lesion_read_by_both_is_a_pair_the_first_reader_by_name_first():
    (pair,) = pairs_of(read("R2", longest_diameter_mm=22.0), read("R1")).rows(named=True)
    assert (
        pair["reader_a"],
        pair["reader_b"],
        pair["longest_diameter_mm_a"],
        pair["longest_diameter_mm_b"],
        pair["dice"],
    ) == ("R1", "R2", 20.0, 22.0, 0.9)


@pytest.mark.parametrize(
    "rows",
    [
        [read()],
        [read(), read("R2", lesion="L2")],
        [read(), read("R2", visit="T1")],
        [read(), read("R2", locked_at=None)],
        [read(), read("SITE")],
        [read(), read("R2", patient="P2")],
        [read(), read("R2", site="BB")],
    ],
)
def test_what_is_no_pair(rows):
    assert pairs_of(*rows).height == 0


def test_of_three_readers_the_two_with_most_in_common_are_compared():
    rows = [
        read(r, lesion)
        for r, lesions in {"R1": ["L1"], "R2": ["L1", "L2"], "R3": ["L1", "L2"]}.items()
        for lesion in lesions
    ]
    assert set(pairs_of(*rows).select("reader_a", "reader_b").rows()) == {("R2", "R3")}


def test_an_absent_lesion_measures_0_where_the_other_sees_it():
    (pair,) = pairs_of(read(), read("R2", **ABSENT)).rows(named=True)
    assert (
        pair["longest_diameter_mm_b"],
        pair["volume_mm3_b"],
        pair["dice"],
        pair["dice_reason"],
    ) == (0.0, 0.0, 0.0, None)


def test_where_both_call_it_absent_nothing_is_compared():
    (pair,) = pairs_of(read(**ABSENT), read("R2", **ABSENT)).rows(named=True)
    assert {pair[f"longest_diameter_mm_{s}"] for s in "ab"} | {pair["dice"]} == {None}
    assert pair["dice_reason"].startswith("agree_absent")


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"mask_digest": None, "volume_mm3": None}, "not_outlined"),
        ({"scan": "S9"}, "different_series"),
    ],
)
def test_masks_that_cannot_be_compared_say_why(second, reason):
    (pair,) = pairs_of(read(), read("R2", **second)).rows(named=True)
    assert pair["dice"] is None
    assert pair["dice_reason"].startswith(reason)


def test_without_a_comparison_no_dice_is_claimed():
    (pair,) = derive_pairs(table("reads", read(), read("R2"))).rows(named=True)
    assert (pair["dice"], pair["dice_reason"]) == (None, "not_compared")


def cohort(sizes, seed=0, *, error=1.0, node=False):
    """Pairs of several sites: {site: (patients, lesions each)}."""
    random = np.random.default_rng(seed)
    rows = []
    for site, (patients, lesions) in sizes.items():
        for p in range(patients):
            for lesion in range(lesions):
                size = random.uniform(10, 80)
                for reader in ("R1", "R2"):
                    value = size + random.normal(0, error)
                    rows.append(
                        read(
                            reader,
                            f"L{lesion}",
                            site=site,
                            patient=f"P{p}",
                            longest_diameter_mm=value,
                            short_axis_mm=value * 0.6,
                            volume_mm3=value**3 / 2,
                            is_lymph_node=node,
                        )
                    )
    return pairs_of(*rows)


def agreement(pairs, decisions=NONE_DECIDED):
    return derive_reader_agreement(pairs, decisions, RULES)


def row(found, scope, measurement="longest_diameter_mm", site=None):
    wanted = found.filter(scope=scope, measurement=measurement)
    (one,) = (wanted.filter(site=site) if site else wanted).rows(named=True)
    return one


def decided(*patients, **facts):
    return frame(
        DECISIONS,
        *(
            {"patient": p, "accepted_reader": "R1", "arbiter": "R9", "decided_at": LOCKED, **facts}
            for p in patients
        ),
    )


def test_columns_are_those_of_the_table_and_the_key_is_unique():
    found = agreement(cohort({"AA": (4, 3), "BB": (2, 2)}))
    assert found.schema == polars_schema(READER_AGREEMENT)
    assert found.select(READER_AGREEMENT.key).is_unique().all()
    assert agreement(pairs_of()).schema == found.schema


def test_the_icc_is_that_of_the_pairs():
    pairs = cohort({"AA": (12, 3)}, error=6)
    found = row(agreement(pairs), "site")
    values = pairs.select("longest_diameter_mm_a", "longest_diameter_mm_b").to_numpy()
    expected = icc_by_patient(values, pairs.select("site", "patient").rows())
    assert (found["icc_raw"], found["icc_lower"], found["icc_upper"]) == (
        expected.value,
        expected.lower,
        expected.upper,
    )
    assert (
        found["n"],
        found["n_resolved"],
        found["arbitrated_share"],
        found["reason"],
        found["pooled_with"],
    ) == (36, 36, 0.0, None, None)


def test_a_row_for_each_lesion_holds_its_dice():
    found = agreement(
        pairs_of(read(), read("R2"), read(lesion="L2", **ABSENT), read("R2", "L2", **ABSENT))
    )
    lesions = found.filter(scope="lesion").sort("lesion")
    assert lesions["measurement"].unique().to_list() == ["mask"]
    assert lesions["dice_minimum"].to_list() == [0.9, None]
    assert lesions["n"].to_list() == [1, 0]
    assert lesions["reason"][1].startswith("agree_absent")


def test_arbitrated_patients_leave_the_resolved_set_and_both_figures_are_told():
    pairs = cohort({"AA": (13, 3)})
    bad = pairs.with_columns(
        longest_diameter_mm_b=pl.when(pl.col("patient") == "P0")
        .then(5.0)
        .otherwise("longest_diameter_mm_b")
    )
    found = row(agreement(bad, decided("P0")), "site")
    assert (found["n"], found["n_resolved"]) == (39, 36)
    assert found["arbitrated_share"] == pytest.approx(3 / 39)
    assert found["icc_raw"] < found["icc_resolved"]


@pytest.mark.parametrize(
    "facts",
    [
        {"accepted_reader": "R3"},
        {"arbiter": "R2"},
        {"arbiter": None},
        {"site": "BB"},
        {"decided_at": LOCKED - dt.timedelta(days=1)},
    ],
)
def test_a_decision_that_does_not_count_arbitrates_nothing(facts):
    assert (
        row(agreement(cohort({"AA": (13, 3)}), decided("P0", **facts)), "site")["n_resolved"] == 39
    )


def test_small_sites_are_judged_together_and_it_is_said():
    found = agreement(cohort({"AA": (12, 3), "BB": (6, 3), "CC": (5, 3)}))
    assert row(found, "site", site="AA")["pooled_with"] is None
    small = row(found, "site", site="BB")
    assert (small["n"], small["n_resolved"], small["pooled_with"]) == (33, 33, "CC")
    assert "18 resolved pairs of its own, fewer than 30" in small["reason"]
    assert (
        small["icc_raw"]
        == row(found, "site", site="CC")["icc_raw"]
        != row(found, "site", site="AA")["icc_raw"]
    )


def test_small_sites_that_stay_too_small_together_are_judged_with_all():
    found = agreement(cohort({"AA": (12, 3), "BB": (2, 3)}))
    small = row(found, "site", site="BB")
    assert (small["n"], small["pooled_with"]) == (42, "AA")
    assert small["n_resolved"] == 42
    assert row(found, "site", site="AA")["n"] == 36


def test_a_cohort_that_is_too_small_shows_it():
    small = row(agreement(cohort({"AA": (2, 3)})), "site")
    assert (small["n_resolved"], small["pooled_with"]) == (6, None)
    assert "fewer than 30" in small["reason"]


def test_a_site_that_is_small_only_by_its_arbitrations_is_pooled_too():
    found = agreement(cohort({"AA": (12, 3), "BB": (12, 3)}), decided("P0", "P1", "P2"))
    assert row(found, "site", site="AA")["pooled_with"] == "BB"
    assert row(found, "site", site="AA")["arbitrated_share"] == pytest.approx(9 / 36)


def test_a_site_with_pairs_enough_is_judged_by_its_own_readers_where_an_arbiter_took_most():
    """Else a careless reader would pass with the pairs of other hospitals."""
    pairs = cohort({"AA": (12, 3), "BB": (12, 3)}).with_columns(
        longest_diameter_mm_b=pl.when(
            (pl.col("site") == "AA") & pl.col("patient").is_in(["P0", "P1", "P2", "P3"])
        )
        .then(5.0)
        .otherwise("longest_diameter_mm_b")
    )
    found = row(agreement(pairs, decided("P0", "P1", "P2", "P3")), "site", site="AA")
    own = row(agreement(pairs.filter(site="AA")), "site")
    assert (found["pooled_with"], found["n"], found["n_resolved"]) == ("BB", 36, 24 + 36)
    assert (found["icc_raw"], found["icc_raw_lower"]) == (own["icc_raw"], own["icc_raw_lower"])
    assert found["icc_raw"] < 0.5
    assert found["icc_resolved"] > 0.9


def test_short_axes_are_compared_for_nodes_alone():
    assert agreement(cohort({"AA": (4, 3)})).filter(measurement="short_axis_mm").height == 0
    assert row(agreement(cohort({"AA": (4, 3)}, node=True)), "cohort", "short_axis_mm")["n"] == 12


def test_each_visit_and_the_cohort_have_a_row():
    rows = [
        read(r, visit=v, longest_diameter_mm=s)
        for v in ("T0", "T1")
        for r, s in (("R1", 20.0), ("R2", 21.0))
    ]
    found = agreement(pairs_of(*rows)).filter(measurement="longest_diameter_mm")
    assert sorted(found.select("scope", "site", "visit").rows()) == [
        ("cohort", "*", "*"),
        ("site", "AA", "*"),
        ("visit", "*", "T0"),
        ("visit", "*", "T1"),
    ]


def test_what_cannot_be_computed_is_null_with_a_reason():
    found = row(agreement(pairs_of(read(), read("R2"))), "cohort")
    assert (found["icc_raw"], found["icc_resolved"], found["icc_lower"]) == (None, None, None)
    assert "icc_raw: fewer than 10 pairs" in found["reason"]
    assert "icc_resolved:" in found["reason"]


def test_copied_reads_do_not_pass_for_agreement():
    found = row(agreement(cohort({"AA": (12, 3)}, error=0.0)), "site")
    assert (found["icc_resolved"], found["icc_lower"]) == (1.0, None)
    assert "copied" in found["reason"]


def test_where_reader_pairs_differ_the_form_is_icc_1_1_and_it_is_said():
    first, second = (
        cohort({"AA": (12, 3)}, 1, error=5),
        cohort({"BB": (12, 3)}, 2, error=5).with_columns(reader_b=pl.lit("R4")),
    )
    found = agreement(pl.concat([first, second]))
    assert "ICC(1,1)" in row(found, "cohort")["reason"]
    assert row(found, "site", site="AA")["reason"] is None
    both = pl.concat([first, second])
    values, whose = (
        both.select("longest_diameter_mm_a", "longest_diameter_mm_b").to_numpy(),
        both.select("site", "patient").rows(),
    )
    assert row(found, "cohort")["icc_raw"] == icc_by_patient(values, whose, "ICC(1,1)").value


def test_the_row_of_the_masks_has_median_and_minimum():
    values = iter([0.9, 0.6, 0.8])
    pairs = pairs_of(
        *(read(r, lesion) for lesion in ("L1", "L2", "L3") for r in ("R1", "R2")),
        dice_of=lambda *_: next(values),
    )
    found = row(agreement(pairs), "cohort", "mask")
    assert (found["dice_median"], found["dice_minimum"], found["n"], found["icc_raw"]) == (
        0.8,
        0.6,
        3,
        None,
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.randoms())
def test_the_order_of_pairs_and_the_names_of_patients_do_not_matter(seed, shuffle):
    pairs = cohort({"AA": (6, 2), "BB": (3, 2)}, seed, error=4)
    order = list(range(pairs.height))
    shuffle.shuffle(order)
    renamed = pairs[order].with_columns(patient=pl.lit("Q") + pl.col("patient"))
    figures = [c for c in READER_AGREEMENT.names if c != "patient"]
    a, b = (
        agreement(p)
        .filter(pl.col("scope") != "lesion")
        .select(figures)
        .sort("scope", "site", "visit", "measurement")
        for p in (pairs, renamed)
    )
    assert_frame_equal(a, b, check_exact=False, rel_tol=1e-9)
