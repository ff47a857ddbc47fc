"""Changes by patient: the view's aggregates of a feature against lesions written by hand.

Where there is no change, there is a reason.
"""

from __future__ import annotations

import duckdb
import polars as pl
import pytest

from dagster_project.lake.views import VIEWS

QUERY = VIEWS["patient_delta_features"].query
WHO = {"site": "AA", "patient": "p1"}
GONE = "the lesion has no features at T1"


def by_patient(
    lesions: dict[str, tuple[float | None, float | None, float | None]], region: str = "tumor"
) -> list[dict[str, object]]:
    """Rows of the view for one feature of the given lesions.

    A lesion is given as volume at T0, volume at T1 and symmetric change.
    """
    visits = [
        WHO | {"lesion": name, "visit": visit, "volume_mm3": volume}
        for name, of in lesions.items()
        for visit, volume in zip(("T0", "T1"), of, strict=False)
    ]
    changes = [
        WHO
        | {
            "lesion": name,
            "region": region,
            "feature": "f",
            "from_visit": "T0",
            "to_visit": "T1",
            "days": 60,
            "delta_symmetric": change,
            "reason": GONE if change is None else None,
            "simulated": True,
        }
        for name, (_, _, change) in lesions.items()
    ]
    with duckdb.connect() as c:
        c.register(
            "lesions", pl.DataFrame(visits, schema_overrides={"volume_mm3": pl.Float64}).to_arrow()
        )
        c.register(
            "delta_features",
            pl.DataFrame(
                changes, schema_overrides={"delta_symmetric": pl.Float64, "reason": pl.String}
            ).to_arrow(),
        )
        return c.execute(QUERY).pl().to_dicts()


def test_largest_weighted_worst_and_spread() -> None:
    """L1 is largest at T0; L3 grew most; the mean is (3000 × .2 − 1000 × .4 + 1000 × .6) / 5000."""
    (row,) = by_patient(
        {"L1": (3000.0, 2400.0, 0.2), "L2": (1000.0, 500.0, -0.4), "L3": (1000.0, 1500.0, 0.6)}
    )
    assert (row["largest"], row["worst"]) == (0.2, 0.6)
    assert row["weighted_mean"] == pytest.approx(0.16)
    assert row["between_sd"] == pytest.approx(0.5033, abs=1e-4)
    assert (
        row["n_lesions"],
        row["n_with_value"],
        row["days"],
        row["reason"],
        row["simulated"],
    ) == (3, 3, 60, None, True)


def test_a_largest_lesion_without_a_value_is_not_replaced_by_the_next() -> None:
    (row,) = by_patient(
        {"L1": (3000.0, None, None), "L2": (1000.0, 500.0, -0.4), "L3": (500.0, 100.0, 0.1)}
    )
    assert row["largest"] is None
    assert row["reason"] == f"the largest lesion has no value: {GONE}"
    assert row["weighted_mean"] == pytest.approx((-0.4 * 1000 + 0.1 * 500) / 1500)
    assert (row["worst"], row["n_with_value"]) == (-0.4, 2)


def test_of_two_equal_lesions_the_first_by_name_counts_whatever_their_order() -> None:
    lesions = {
        "L2": (1000.0, 1500.0, 0.6),
        "L1": (1000.0, 1500.0, 0.2),
        "L3": (1000.0, 1500.0, 0.4),
    }
    for order in (lesions, dict(reversed(lesions.items()))):
        (row,) = by_patient(order)
        assert (row["largest"], row["worst"]) == (0.2, 0.2)


def test_one_lesion_has_no_spread() -> None:
    (row,) = by_patient({"L1": (3000.0, 2400.0, 0.2)})
    assert (row["largest"], row["weighted_mean"], row["worst"], row["between_sd"]) == (
        0.2,
        0.2,
        0.2,
        None,
    )
    assert row["reason"] == "one lesion has a value: no spread between lesions"


def test_no_value_at_all_is_null_with_the_reason() -> None:
    (row,) = by_patient({"L1": (3000.0, None, None), "L2": (10.0, None, None)})
    assert [row[n] for n in ("largest", "weighted_mean", "worst", "between_sd")] == [None] * 4
    assert row["reason"] == f"no lesion has a value: {GONE}"


def test_rings_are_left_out() -> None:
    assert by_patient({"L1": (3000.0, 2400.0, 0.2)}, region="ring_0_3") == []
