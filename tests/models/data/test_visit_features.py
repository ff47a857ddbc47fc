"""Features of a visit are of that visit and of baseline, and of nothing later."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from dagster_project.lake import tables
from models.data.visit_features import DHI_SEEN, build_visit_features
from tests.models.cohorts import frame

WHO = {"site": "NORTH", "patient": "NORTH-1"}
T1, T2 = ("NORTH", "NORTH-1", "T1"), ("NORTH", "NORTH-1", "T2")
NAME = "entropy@tumor"


def build(changes=(), levels=(), dhi=()):
    """Two lesions of 1000 and 3000 mm3 at baseline."""
    lesions = [
        {**WHO, "lesion": name, "visit": "T0", "volume_mm3": volume}
        for name, volume in (("L1", 1000.0), ("L2", 3000.0))
    ]
    return build_visit_features(
        frame(tables.LESIONS, lesions),
        frame(tables.RADIOMIC_FEATURES, list(levels)),
        frame(tables.DELTA_FEATURES, list(changes)),
        frame(tables.DHI, list(dhi)),
    )


def change(lesion, value, ends=("T0", "T1")):
    return {
        **WHO, "lesion": lesion, "feature": "entropy", "region": "tumor",
        "from_visit": ends[0], "to_visit": ends[1], "delta_symmetric": value,
    }  # fmt: skip


def level(lesion, value, visit="T0"):
    return {
        **WHO, "lesion": lesion, "feature": "entropy", "region": "tumor",
        "visit": visit, "value": value,
    }  # fmt: skip


def compared(visit, scope="patient", earlier="T0"):
    values = dict.fromkeys(DHI_SEEN, 0.5) | {"radial": None}
    return {**WHO, "scope": scope, "lesion": "*", "from_visit": earlier, "to_visit": visit} | values


def test_change_is_weighted_by_volume_at_baseline_and_level_is_not():
    found = build(
        [change("L1", 0.4), change("L2", 0.8)], [level("L1", 1.0), level("L2", 2.0)]
    ).of_visits([T1])
    assert found.tolist() == [[1.5, pytest.approx((0.4 + 3 * 0.8) / 4)]]


def test_names_are_sorted_and_say_what_they_are():
    found = build([change("L1", 0.4)], [level("L1", 1.0)], [compared("T1")])
    dhi = [f"{name}@patient@change" for name in DHI_SEEN if name != "radial"]
    assert found.names == tuple(sorted([f"{NAME}@T0", f"{NAME}@change", *dhi]))


def test_nothing_of_a_later_visit_is_in_the_row_of_an_earlier_one():
    rows = [change("L1", 0.4), change("L2", 0.8)]
    alone = build(rows, [level("L1", 1.0)], [compared("T1")])
    later = build(
        [*rows, change("L1", -1.0, ("T0", "T2")), change("L1", 1.9, ("T1", "T2"))],
        [level("L1", 1.0), level("L1", 9.0, "T1"), level("L1", 9.0, "T2")],
        [compared("T1"), compared("T2"), compared("T2", earlier="T1"), compared("T1", "lesion")],
    )
    assert list(alone.places) == [T1]
    assert set(later.places) == {T1, T2}
    assert (alone.of_visits([T1]) == later.of_visits([T1])).all()


def test_a_visit_without_a_change_has_no_row_and_a_missing_value_stays_missing():
    assert not build([], [level("L1", 1.0)]).places
    found = build([change("L1", 0.4)], [], [compared("T2")])
    place = found.names.index(f"{NAME}@change")
    assert np.isnan(found.of_visits([T2])[0, place])
    assert found.of_visits([T1])[0, place] == 0.4


def test_readers_are_those_of_the_patients_asked_for_each_once():
    pairs = pl.DataFrame(
        [
            {
                **WHO, "patient": name, "visit": "T0", "region": "tumor", "feature": "entropy",
                "n_pairs": 2, "mean_of_means": 1.0, "squares_of_means": 1.0,
                "mean_difference": 0.0, "squares_of_differences": 0.1, "largest": 2.0,
            }
            for name in ("NORTH-1", "NORTH-2")
        ]
    )  # fmt: skip
    rows = [change("L1", 0.4), {**change("L1", 0.4), "patient": "NORTH-2"}]
    weights = [
        {**WHO, "patient": name, "lesion": "L1", "visit": "T0", "volume_mm3": 1.0}
        for name in ("NORTH-1", "NORTH-2")
    ]
    found = build_visit_features(
        frame(tables.LESIONS, weights),
        frame(tables.RADIOMIC_FEATURES, []),
        frame(tables.DELTA_FEATURES, rows),
        frame(tables.DHI, []),
        pairs,
    )
    one = found.readers_of([("NORTH", "NORTH-2")] * 2)
    assert one.n_pairs.tolist() == [[2]]
    assert found.readers_of([("NORTH", "NORTH-1"), ("NORTH", "NORTH-2")]).n_pairs.sum() == 4
