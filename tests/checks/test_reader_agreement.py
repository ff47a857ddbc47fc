"""The check asks the gate's own rules, and shows each figure."""

from __future__ import annotations

import dagster as dg
import pytest

from checks.reader_agreement import dice, icc
from dagster_project.resources import Lakehouse

SITE = {
    "scope": "site",
    "patient": "*",
    "visit": "*",
    "lesion": "*",
    "n": 40,
    "n_resolved": 40,
    "arbitrated_share": 0.0,
    "pooled_with": None,
    "reason": None,
}


def rows(**figures: object) -> list[dict[str, object]]:
    good = {"icc_resolved": 0.95, "icc_lower": 0.90, "icc_raw": 0.95}
    return [
        {**SITE, **good, **figures, "measurement": m} for m in ("longest_diameter_mm", "volume_mm3")
    ]


@pytest.mark.parametrize(
    ("figures", "broken"),
    [
        ({}, None),
        (
            {"icc_resolved": 0.84},
            "icc_resolved at BJCH longest_diameter_mm: figure 0.84, limit 0.85",
        ),  # 1. below by its point
        (
            {"icc_lower": 0.74},
            "icc_lower_bound at BJCH volume_mm3: figure 0.74, limit 0.75",
        ),  # 2. below by its bound
        (
            {"icc_raw": 0.69},
            "icc_raw at BJCH longest_diameter_mm: figure 0.69, limit 0.7",
        ),  # 7. readers who need training
        (
            {"arbitrated_share": 0.6},
            "arbitrated_share at BJCH: figure 0.6, limit 0.5",
        ),  # 3. arbitrated away
    ],
)
def test_icc(lakehouse: Lakehouse, fill, figures: dict[str, object], broken: str | None) -> None:
    fill("reader_agreement", *rows(**figures))
    result = icc(lakehouse)
    assert result.passed == (broken is None)
    assert (broken or "every site agrees") in (result.description or "")
    assert result.severity == dg.AssetCheckSeverity.ERROR


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        (
            {"icc_resolved": None, "icc_lower": None},
            "icc_resolved at BJCH longest_diameter_mm: figure none, limit 0.85",
        ),
        ({"n_resolved": 29}, "29 pairs settled without an arbiter, 30 required"),
    ],
)
def test_what_cannot_be_judged_is_a_warning(
    lakehouse: Lakehouse, fill, figures: dict[str, object], why: str
) -> None:
    """A site with one reader, or few lesions.

    The gate stays closed, and nothing in the data is wrong.
    """
    fill("reader_agreement", *rows(**figures))
    result = icc(lakehouse)
    assert not result.passed
    assert why in (result.description or "")
    assert result.severity == dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize(("median", "passed"), [(0.81, True), (0.79, False), (None, False)])
def test_dice(lakehouse: Lakehouse, fill, median: float | None, passed: bool) -> None:
    fill("reader_agreement", {**SITE, "measurement": "mask", "dice_median": median})
    assert dice(lakehouse).passed == passed
