"""Bounds by patient, kappa, change, and monitoring.

They are tested against other implementations, and with one case per rule.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from dagster_project.domain.reading.agreement import derive_pairs
from dagster_project.domain.reading.reader_figures import FORMS, derive_reader_figures
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import READER_FIGURES
from dagster_project.statistics.icc import icc
from dagster_project.statistics.icc_by_patient import TOO_FEW_PAIRS, icc_by_patient
from dagster_project.study import load_study
from tests.domain.rows import LOCKED, table

RULES = load_study().section("agreement")


def read(reader, patient, size, lesion="L1", visit="T0", **facts):
    return {
        "reader": reader,
        "patient": patient,
        "lesion": lesion,
        "visit": visit,
        "scan": f"S{visit}",
        "longest_diameter_mm": size,
        "short_axis_mm": size * 0.6,
        "volume_mm3": size**3 / 2,
        "mask_digest": f"{reader}{patient}{lesion}{visit}",
        **facts,
    }


def cohort(n=40, error=3.0, seed=0, **facts):
    random = np.random.default_rng(seed)
    sizes = random.uniform(10, 80, n)
    return derive_pairs(
        table(
            "reads",
            *(
                read(r, f"P{i:02}", size + random.normal(0, error), **facts)
                for i, size in enumerate(sizes)
                for r in ("R1", "R2")
            ),
        )
    )


def figures(pairs, distances=None, responses=(), cases=()):
    return derive_reader_figures(
        pairs, distances or {}, table("responses", *responses), table("arbitrations", *cases), RULES
    )


def one(found, figure, **where):
    (row,) = found.filter(pl.col("statistic") == figure).filter(**where).rows(named=True)
    return row


def test_columns_are_those_of_the_table_and_the_key_is_unique():
    found = figures(cohort(), responses=graded("PR", "SD"))
    assert found.schema == polars_schema(READER_FIGURES)
    assert found.select(READER_FIGURES.key).is_unique().all()
    assert figures(cohort(0)).height == 0


@pytest.mark.parametrize("form", FORMS)
def test_all_six_forms_are_those_of_the_pairs(form):
    pairs = cohort()
    values = pairs.select("longest_diameter_mm_a", "longest_diameter_mm_b").to_numpy()
    bounds = icc_by_patient(values, pairs.select("site", "patient").rows(), form)
    row = one(figures(pairs), form, scope="cohort", measurement="longest_diameter_mm")
    assert (row["value"], row["lower"], row["upper"], row["n"], row["verdict"]) == (
        icc(values, form).value,
        bounds.lower,
        bounds.upper,
        40,
        "given",
    )


def test_a_form_of_few_pairs_has_a_value_and_a_reason_for_its_bounds():
    row = one(figures(cohort(8)), "ICC(3,k)", scope="cohort", measurement="longest_diameter_mm")
    assert row["value"] is not None
    assert (row["lower"], row["upper"], row["verdict"]) == (None, None, "too_few")
    assert row["reason"] == TOO_FEW_PAIRS


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        (cohort(10), "too_few"),
        (cohort(error=0.0), "identical"),
        (
            derive_pairs(table("reads", read("R1", "P1", 20.0), read("R2", "P1", 21.0))),
            "not_defined",
        ),
        (
            derive_pairs(
                table(
                    "reads",
                    *(
                        read(r, f"P{i}", s)
                        for i in range(40)
                        for r, s in (("R1", 20.0), ("R2", 21.0))
                    ),
                )
            ),
            "no_variance",
        ),
        (
            derive_pairs(
                table(
                    "reads",
                    *(
                        read(r, f"P{i}", 20.0 + i + d)
                        for i in range(40)
                        for r, d in (("R1", 0.0), ("R2", 1.0))
                    ),
                )
            ),
            "no_bounds",
        ),
    ],
)
def test_what_may_not_be_leant_on_is_named_and_never_a_pass(pairs, verdict):
    assert (
        one(figures(pairs), "ICC(2,1)", scope="cohort", measurement="longest_diameter_mm")[
            "verdict"
        ]
        == verdict
    )


def test_the_gates_form_has_bounds_clustered_by_patient():
    pairs = cohort(25, seed=3)
    row = one(
        figures(pairs), "ICC(2,1) by patient", scope="cohort", measurement="longest_diameter_mm"
    )
    values = pairs.select("longest_diameter_mm_a", "longest_diameter_mm_b").to_numpy()
    expected = icc_by_patient(values, pairs.select("site", "patient").rows())
    assert (row["value"], row["lower"], row["upper"], row["n"]) == (
        expected.value,
        expected.lower,
        expected.upper,
        25,
    )


def graded(a, b, patient="P00", visit="T1", sums=(30.0, 40.0)):
    return [
        {
            "patient": patient,
            "visit": visit,
            "evaluator": reader,
            "overall_response": r,
            "sum_mm": s,
            "baseline_sum_mm": 50.0,
        }
        for reader, r, s in zip(("R1", "R2"), (a, b), sums, strict=True)
    ]


def test_the_change_of_the_sums_and_the_responses_are_compared_by_visit():
    answers = [("PR", "PR"), ("SD", "SD"), ("PD", "SD"), ("NE", "PR")]
    rows = [
        r
        for i, (a, b) in enumerate(answers)
        for r in graded(a, b, f"P{i:02}", sums=(30.0 + 5 * i, 31.0 + 4 * i))
    ]
    found = figures(cohort(), responses=rows)
    assert one(found, "weighted_kappa", scope="visit", visit="T1")["n"] == 3, (
        "what could not be graded is left out"
    )
    changes = np.array([[-20.0 + 5 * i, -19.0 + 4 * i] for i in range(4)])
    assert one(found, "ICC(2,1)", scope="cohort", measurement="sum_change_mm")[
        "value"
    ] == pytest.approx(icc(changes).value)
    alone = figures(cohort(), responses=graded("PR", "PR"))
    assert one(alone, "weighted_kappa", scope="cohort")["verdict"] == "no_variance"


def test_differences_in_percent_have_limits():
    pairs = derive_pairs(
        table(
            "reads",
            *(
                read(r, f"P{i}", s)
                for i, (a, b) in enumerate([(100.0, 110.0), (50.0, 50.0)])
                for r, s in (("R1", a), ("R2", b))
            ),
        )
    )
    row = one(
        figures(pairs), "difference_percent", scope="cohort", measurement="longest_diameter_mm"
    )
    first = 1000 / 105
    assert row["value"] == pytest.approx(first / 2)
    assert row["upper"] - row["value"] == pytest.approx(1.96 * first / np.sqrt(2))


def test_distances_stand_for_each_lesion_and_their_median_for_each_scope():
    pairs = cohort(2)
    keys = pairs.select("mask_digest_a", "mask_digest_b").rows()
    known = {
        key: {"surface_dice": 0.9, "hd95_mm": d, "mean_surface_distance_mm": 0.5}
        for key, d in zip(keys, (2.0, 4.0), strict=True)
    }
    found = figures(pairs, known)
    assert sorted(found.filter(scope="lesion", statistic="hd95_mm")["value"]) == [2.0, 4.0]
    assert one(found, "hd95_mm_median", scope="site", site="AA")["value"] == 3.0


def test_monitoring_by_site_reader_and_month():
    late = {"locked_at": LOCKED + dt.timedelta(days=31)}
    rows = [
        read("R1", "P1", 90.0),
        read("R2", "P1", 110.0),
        read("R1", "P2", 110.0, **late),
        read("R2", "P2", 90.0, **late),
        read("R1", "P3", 50.0),
        read("R2", "P3", 50.0),
    ]
    cases = [{"patient": "P1", "status": "settled", "accepted_reader": "R1"}, {"patient": "P2"}]
    found = figures(derive_pairs(table("reads", *rows)), cases=cases)
    assert one(found, "adjudication_rate", scope="site")["value"] == pytest.approx(2 / 3)
    assert {
        r["reader"]: r["value"]
        for r in found.filter(statistic="disagreement_index").rows(named=True)
    } == {"R1": 0.0, "R2": pytest.approx(1 / 3)}
    drift = {
        (r["reader"], r["month"]): r["value"]
        for r in found.filter(statistic="drift_percent").rows(named=True)
    }
    assert drift == {
        ("R1", "01"): pytest.approx(-10),
        ("R2", "01"): pytest.approx(10),
        ("R1", "02"): pytest.approx(20),
        ("R2", "02"): pytest.approx(-20),
    }
