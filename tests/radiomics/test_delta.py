"""Change between visits, one numbered case a rule."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.lake.tables import DELTA_FEATURES
from dagster_project.radiomics.delta import derive_delta_features

VISITS = {"T0": date(2025, 1, 1), "T1": date(2025, 3, 2), "T2": date(2025, 4, 11)}
FEATURE = {
    "site": "AA",
    "patient": "P1",
    "lesion": "L1",
    "region": "tumor",
    "feature": "original_firstorder_Mean",
    "simulated": True,
}
FEATURE_SCHEMA = {
    **dict.fromkeys(FEATURE, pl.String),
    "simulated": pl.Boolean,
    "visit": pl.String,
    "value": pl.Float64,
    "reason": pl.String,
}


def features(*rows):
    """Rows (visit, value) or dicts on top of one patient's feature."""
    full = [
        FEATURE
        | (dict(zip(("visit", "value"), row, strict=True)) if isinstance(row, tuple) else row)
        for row in rows
    ]
    return pl.DataFrame([{"reason": None} | row for row in full], schema=FEATURE_SCHEMA)


def timepoints(patient="P1", **dates):
    rows = [
        {"site": "AA", "patient": patient, "visit": v, "scan_date": d}
        for v, d in (dates or VISITS).items()
    ]
    return pl.DataFrame(
        rows,
        schema={"site": pl.String, "patient": pl.String, "visit": pl.String, "scan_date": pl.Date},
    )


def change(frame, start="T0", end="T1"):
    found = frame.filter((pl.col("from_visit") == start) & (pl.col("to_visit") == end)).to_dicts()
    assert len(found) == 1
    return found[0]


def test_1_the_three_pairs_of_visits_with_their_days():
    found = derive_delta_features(features(("T0", 10.0), ("T1", 16.0), ("T2", 4.0)), timepoints())
    assert {
        (r["from_visit"], r["to_visit"]): (r["days"], r["delta"]) for r in found.to_dicts()
    } == {("T0", "T1"): (60, 6.0), ("T1", "T2"): (40, -12.0), ("T0", "T2"): (100, -6.0)}
    assert tuple(found.columns) == DELTA_FEATURES.names[:-1]


def test_2_symmetric_change_and_change_a_day():
    row = change(derive_delta_features(features(("T0", 10.0), ("T1", 16.0)), timepoints()))
    assert row["delta_symmetric"] == pytest.approx(12 / 26)
    assert row["delta_per_day"] == pytest.approx(0.1)
    assert row["reason"] is None
    assert row["simulated"] is True


@pytest.mark.parametrize(
    ("before", "after", "symmetric"),
    [(0.0, 5.0, 2.0), (5.0, 0.0, -2.0), (-3.0, 3.0, 2.0), (0.0, 0.0, 0.0), (-2.0, -2.0, 0.0)],
)
def test_3_features_of_any_sign_stay_within_two(before, after, symmetric):
    row = change(derive_delta_features(features(("T0", before), ("T1", after)), timepoints()))
    assert row["delta_symmetric"] == symmetric
    assert row["reason"] is None


def test_4_a_vanished_lesion_has_null_and_not_minus_its_feature():
    row = change(
        derive_delta_features(features(("T0", 10.0)), timepoints(T0=VISITS["T0"], T1=VISITS["T1"]))
    )
    assert (row["delta"], row["delta_symmetric"], row["delta_per_day"]) == (None, None, None)
    assert row["reason"] == "the lesion has no features at T1"


def test_5_a_visit_without_a_scan_gives_no_row():
    found = derive_delta_features(
        features(("T0", 10.0), ("T1", 11.0)), timepoints(T0=VISITS["T0"], T1=VISITS["T1"])
    )
    assert found.select("from_visit", "to_visit").rows() == [("T0", "T1")]
    assert derive_delta_features(
        features(("V1", 10.0), ("V2", 11.0)), timepoints(V1=VISITS["T0"], V2=VISITS["T1"])
    ).is_empty()


def test_6_a_null_feature_passes_its_reason_on_with_the_visit():
    rows = features(
        ("T0", 10.0), {"visit": "T1", "value": None, "reason": "less than 30% of the ring is lung"}
    )
    assert (
        change(derive_delta_features(rows, timepoints()))["reason"]
        == "T1: less than 30% of the ring is lung"
    )


def test_7_an_undated_scan_costs_the_rate_alone():
    row = change(
        derive_delta_features(
            features(("T0", 10.0), ("T1", 11.0)), timepoints(T0=None, T1=VISITS["T1"])
        )
    )
    assert (row["delta"], row["days"], row["delta_per_day"], row["reason"]) == (
        1.0,
        None,
        None,
        "the date of a scan is missing",
    )


def test_8_scans_of_one_day_have_no_rate():
    row = change(
        derive_delta_features(
            features(("T0", 10.0), ("T1", 11.0)), timepoints(T0=VISITS["T0"], T1=VISITS["T0"])
        )
    )
    assert (row["days"], row["delta_per_day"], row["reason"]) == (
        0,
        None,
        "both scans were taken on one day",
    )


def test_9_lesions_regions_patients_and_sites_are_not_mixed():
    rows = [
        {
            "site": s,
            "patient": p,
            "lesion": lesion,
            "region": region,
            "visit": v,
            "value": float(i * 10 + k),
        }
        for i, (s, p, lesion, region) in enumerate(
            [
                ("AA", "P1", "L1", "tumor"),
                ("AA", "P1", "L1", "ring_0_3"),
                ("AA", "P1", "L2", "tumor"),
                ("AA", "P2", "L1", "tumor"),
            ]
        )
        for k, v in enumerate(("T0", "T1"))
    ]
    found = derive_delta_features(features(*rows), pl.concat([timepoints(), timepoints("P2")]))
    assert (
        found.filter(pl.col("to_visit") == "T1", pl.col("from_visit") == "T0")["delta"].to_list()
        == [1.0] * 4
    )


def test_10_slope_and_curvature_over_actual_days():
    """The slope is that of an independent least-squares fit.

    The curvature is the later rate minus the earlier.
    """
    values = [10.0, 16.0, 4.0]
    found = derive_delta_features(features(*zip(VISITS, values, strict=True)), timepoints())
    row = change(found, "T0", "T2")
    assert row["slope_per_day"] == pytest.approx(np.polyfit([0, 60, 100], values, 1)[0])
    assert row["curvature_per_day"] == pytest.approx(-12 / 40 - 6 / 60)
    assert row["reason"] is None
    assert change(found)["slope_per_day"] is None


@pytest.mark.parametrize(
    ("rows", "visits", "reason"),
    [
        (
            [("T0", 1.0), ("T2", 2.0)],
            VISITS,
            "no trend over three visits: the lesion has no features at T1",
        ),
        (
            [("T0", 1.0), ("T2", 2.0)],
            {"T0": VISITS["T0"], "T2": VISITS["T2"]},
            "no trend over three visits: no scan at T1",
        ),
        (
            [("T0", 1.0), ("T1", 1.5), ("T2", 2.0)],
            VISITS | {"T1": VISITS["T0"]},
            "no trend over three visits: both scans were taken on one day",
        ),
        ([("T1", 1.0), ("T2", 2.0)], VISITS, "the lesion has no features at T0"),
        ([("T0", 1.0), ("T1", 2.0)], VISITS, "the lesion has no features at T2"),
    ],
    ids=["not at T1", "no scan at T1", "one day", "new", "vanished"],
)
def test_11_without_three_visits_there_is_no_trend_but_a_reason(rows, visits, reason):
    row = change(derive_delta_features(features(*rows), timepoints(**visits)), "T0", "T2")
    assert (row["slope_per_day"], row["curvature_per_day"], row["reason"]) == (None, None, reason)


@settings(deadline=None)
@given(rate=st.floats(-10, 10), start=st.floats(-100, 100))
def test_what_changes_by_the_day_has_that_slope_and_no_curvature(rate, start):
    rows = [(visit, start + rate * (day - VISITS["T0"]).days) for visit, day in VISITS.items()]
    row = change(derive_delta_features(features(*rows), timepoints()), "T0", "T2")
    assert row["slope_per_day"] == pytest.approx(rate, abs=1e-9)
    assert row["curvature_per_day"] == pytest.approx(0, abs=1e-9)


def test_no_features_give_an_empty_table_of_the_right_columns():
    found = derive_delta_features(features(), timepoints())
    assert found.is_empty()
    assert tuple(found.columns) == DELTA_FEATURES.names[:-1]


@settings(deadline=None)
@given(before=st.floats(-1e12, 1e12), after=st.floats(-1e12, 1e12))
def test_swapping_the_visits_changes_the_sign_alone(before, after):
    there, back = (
        change(derive_delta_features(features(("T0", a), ("T1", b)), timepoints()))
        for a, b in ((before, after), (after, before))
    )
    assert there["delta"] == -back["delta"]
    assert there["delta_symmetric"] == -back["delta_symmetric"]
    assert math.fabs(there["delta_symmetric"]) <= 2
