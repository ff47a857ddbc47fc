"""A sampled lesion has its copies and its negative controls.

A night with nothing new measures none again.
"""

from __future__ import annotations

import polars as pl
import pytest

from dagster_project.study import load_study
from tests.trial import SITES, Stage

COPIES = load_study().section("perturbation")["copies"]


def test_one_lesion_of_each_patient_before_treatment_has_copies_and_controls(closed: Stage) -> None:
    rows = closed.table("control_features")
    reads = closed.table("reads").filter(
        (pl.col("visit") == "T0") & pl.col("mask_digest").is_not_null()
    )
    assert set(rows["visit"]) == {"T0"}
    assert set(rows.select("site", "patient").iter_rows()) == set(
        reads.select("site", "patient").iter_rows()
    )
    per_patient = rows.group_by("site", "patient").agg(
        pl.struct("scan", "lesion", "reader").n_unique(),
        pl.struct("control_type", "replicate").unique().sort(),
    )
    assert set(per_patient["scan"]) == {1}
    expected = [
        {"control_type": "muscle", "replicate": 0},
        *({"control_type": "perturbed", "replicate": k} for k in range(1, COPIES + 1)),
        {"control_type": "shuffled", "replicate": 0},
    ]
    assert all(row == expected for row in per_patient["control_type"].to_list())


def test_it_is_the_patients_largest_lesion_as_the_first_reader_outlined_it(closed: Stage) -> None:
    reads = closed.table("reads").filter(
        (pl.col("visit") == "T0") & pl.col("volume_mm3").is_not_null()
    )
    largest = reads.group_by("site", "patient").agg(pl.col("lesion").sort_by("volume_mm3").last())
    sampled = closed.table("control_features").select("site", "patient", "lesion").unique()
    assert sampled.sort("patient").equals(largest.sort("patient").select(sampled.columns))
    assert set(closed.table("control_features")["reader"]) == {"R1"}


def test_a_shuffle_keeps_the_densities_and_muscle_is_muscle(closed: Stage) -> None:
    rows = closed.table("control_features").filter(feature="original_firstorder_Mean")
    real = closed.table("radiomic_features").filter(
        region="tumor", feature="original_firstorder_Mean"
    )
    shuffled = rows.filter(control_type="shuffled").join(real, on=["scan", "lesion", "reader"])
    assert shuffled.height > 4
    assert (shuffled["value"] - shuffled["value_right"]).abs().max() == pytest.approx(0, abs=1e-9)
    muscle = rows.filter(control_type="muscle")
    assert (
        (muscle["value"].is_null() == muscle["reason"].is_not_null())
        & muscle["value"].fill_null(50).is_between(20, 80)
    ).all()
    assert muscle["value"].count() > 0


def test_copies_are_near_the_lesion_and_not_the_same(closed: Stage) -> None:
    copies = closed.table("control_features").filter(
        control_type="perturbed", feature="original_firstorder_Median"
    )
    real = closed.table("radiomic_features").filter(
        region="tumor", feature="original_firstorder_Median"
    )
    joined = copies.join(real, on=["scan", "lesion", "reader"])
    assert joined.height == copies.height
    assert joined["value"].n_unique() > joined.height / 2
    assert joined.select((pl.col("value") - pl.col("value_right")).abs().median()).item() < 20


def test_a_quiet_night_measures_nothing_again(closed: Stage, repeated: Stage, grown: Stage) -> None:
    """Nor does an arbiter's decision, or a scan that is not of T0."""
    rows = closed.table("control_features")
    assert repeated.table("control_features").equals(rows)
    assert grown.table("control_features").equals(rows)
    assert {
        site: grown.trial.told("control_features", site)["computed"] for site in SITES
    } == dict.fromkeys(SITES, 0)


def test_few_patients_are_said_to_be_too_few(grown: Stage) -> None:
    from checks.feature_stability import negative_controls

    with grown.trial.entered():
        result = negative_controls(grown.trial.lakehouse)
    assert result.passed
    assert "shuffled: too few patients: 8 of each class are needed" in str(result.description)
    assert result.metadata["muscle verdict"].value == "cannot_evaluate"
