"""Thick slices, gaps and artifacts are counted as warnings.

A reader's judgement takes precedence over the machine's.
"""

from __future__ import annotations

import dagster as dg
import pytest

from checks.scans import artifacts, slice_thickness
from dagster_project.resources import Lakehouse
from tests.checks.evaluation import evaluate, evaluate_site

FINE = {
    "slice_thickness_mm": 1.0,
    "slice_spacing_mm": 1.0,
    "n_missing_slices": 0,
    "n_duplicate_slices": 0,
}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, 0),
        ({"slice_thickness_mm": 1.009}, 0),  # 1. within the tolerance of 0.01 mm
        ({"slice_thickness_mm": 1.25}, 1),  # 2. thicker by its header
        (
            {"slice_thickness_mm": None, "slice_spacing_mm": 5.0},
            1,
        ),  # 3. thicker as measured, whatever the header lacks
        ({"n_missing_slices": 1}, 1),  # 4. a slice is missing
        ({"n_duplicate_slices": 1}, 1),  # 5. a slice is there twice
        ({"slice_thickness_mm": None}, 1),  # 6. the header does not say
    ],
)
def test_slice_thickness(
    lakehouse: Lakehouse, fill, changes: dict[str, object], found: int
) -> None:
    fill("scans", {"scan": "S1", **FINE, **changes}, {"scan": "S2", **FINE})
    result = evaluate(slice_thickness, lakehouse)
    assert (result.metadata["found"].value, result.passed) == (found, not found)
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert result.metadata["which"].value == ("S1" if found else "")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, 0),
        ({"metal_flag": True}, 1),  # 1. an automatic flag
        ({"motion_flag": True, "reader_artifact_flag": False}, 0),  # 2. a reader denies it
        ({"reader_artifact_flag": True}, 1),  # 3. a reader alone says so
    ],
)
def test_artifacts(lakehouse: Lakehouse, fill, changes: dict[str, object], found: int) -> None:
    fill("scans", {"scan": "S1", **FINE, **changes})
    result = evaluate(artifacts, lakehouse)
    assert (result.metadata["found"].value, result.passed) == (found, not found)


def test_a_sites_run_counts_that_sites_scans_alone(lakehouse: Lakehouse, fill) -> None:
    thick = {**FINE, "slice_thickness_mm": 5.0, "site": "AA", "scan": "S1", "patient": "AA-1"}
    fill("scans", thick, {**FINE, "site": "BB", "scan": "S2", "patient": "BB-1"})
    found = [evaluate_site(slice_thickness, lakehouse, site) for site in ("AA", "BB")]
    assert [f.metadata["scans"].value for f in found] == [1, 1]
    assert [f.metadata["which"].value for f in found] == ["S1", ""]
    assert [f.passed for f in found] == [False, True]
