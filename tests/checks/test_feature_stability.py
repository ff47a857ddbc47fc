"""The check of the negative controls: an alarm where one tells the response."""

from __future__ import annotations

import dagster as dg
import numpy as np
import pytest

from checks.feature_stability import negative_controls
from dagster_project.resources import Lakehouse


def deliver(fill, n, leak):
    """n patients, every other a responder, with two controls of some texture."""
    rng = np.random.default_rng(8)
    fill("outcomes", *({"patient": f"P{k}", "responder": k % 2 == 0} for k in range(n)))
    fill(
        "control_features",
        *(
            {
                "patient": f"P{k}",
                "scan": f"S{k}",
                "visit": "T0",
                "control_type": control,
                "replicate": 0,
                "feature": f"original_glcm_F{j}",
                "region_volume_mm3": 900.0 + k,
                "value": float(rng.normal() + leak * (k % 2 == 0) * (control == "muscle")),
            }
            for k in range(n)
            for control in ("shuffled", "muscle")
            for j in range(12)
        ),
    )


@pytest.mark.parametrize(("leak", "passed"), [(0.0, True), (1.5, False)])
def test_a_control_that_tells_the_response_is_an_alarm(
    lakehouse: Lakehouse, fill, leak: float, passed: bool
) -> None:
    deliver(fill, 40, leak)
    result = negative_controls(lakehouse)
    assert result.passed == passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert result.metadata["shuffled verdict"].value == "pass"
    assert result.metadata["muscle verdict"].value == ("pass" if passed else "fail")
    assert "of 20 responders, 20 others" in str(result.description)


def test_too_few_patients_are_no_alarm_and_are_said(lakehouse: Lakehouse, fill) -> None:
    deliver(fill, 10, 1.5)
    result = negative_controls(lakehouse)
    assert result.passed
    assert "too few patients" in str(result.description)
