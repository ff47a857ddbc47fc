"""Simulated comparisons are what `compare_lesion` gives.

They follow their null where nothing changes, and let a fold fit limits of its own.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import SimpleITK as sitk

from dagster_project.radiomics.dhi import compare_lesion, derive_dhi
from dagster_project.radiomics.dhi_limits import KEY
from dagster_project.radiomics.dhi_limits_fit import COMPONENTS, fit_limits, held_back_ratios
from dagster_project.simulation.comparisons import DIMENSIONS, NO_COPIES, VISITS, draw_comparisons
from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.statistics.roc import auc_delong
from dagster_project.study import load_study
from models.data.datasets import TASKS, build_dataset
from models.evaluation.training import train_baselines

STUDY = load_study()
SETTINGS, FEATURES = STUDY.section("dhi"), ["original_firstorder_Entropy"]


def still_lesions(n: int, change: float, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Comparisons of `n` patients, each with one lesion that changes by exactly `change`.

    The lesion has 6 ml at every visit.
    """
    monkeypatch.setattr("dagster_project.simulation.comparisons.OWN_CHANGE", 0.0)
    who = pl.DataFrame(
        {
            "site": "S",
            "patient": [f"S-{i}" for i in range(n)],
            "lesion": "L1",
            "is_present": True,
            "volume_mm3": 6000.0,
        }
    )
    lesions = pl.concat([who.with_columns(visit=pl.lit(v)) for v in VISITS])
    return draw_comparisons(
        lesions,
        who.select("site", "patient", change=pl.lit(change)),
        SETTINGS,
        np.random.default_rng(3),
    )


def test_1_a_row_has_the_figures_of_compare_lesion(monkeypatch):
    image = sitk.Image(2, 2, 2, sitk.sitkInt16)
    wanted = compare_lesion(image, None, image, None, contour_mm=None, settings=SETTINGS)
    (row, *_) = still_lesions(1, 0.0, monkeypatch)
    assert set(row) == {*wanted, *KEY, "simulated"}
    pairs = SETTINGS["copies"] * (SETTINGS["copies"] - 1) // 2
    assert {len(row[f"null_{c}_{side}"]) for c in COMPONENTS for side in "ab"} == {pairs}
    assert set(DIMENSIONS) == set(COMPONENTS)


def test_2_without_change_one_lesion_in_twenty_goes_beyond_its_limits_and_with_change_most_do(
    monkeypatch,
):
    beyond = []
    for change in (0.0, 1.0):
        table = derive_dhi(pl.DataFrame(still_lesions(400, change, monkeypatch)), SETTINGS)
        lesions = table.filter((pl.col("scope") == "lesion") & (pl.col("to_visit") == "T1"))
        assert lesions["calibrated"].all()
        beyond.append(float((lesions["dhi"] > 1).mean()))
    assert beyond[0] == pytest.approx(0.05, abs=0.03)
    assert beyond[1] > 0.9


def test_3_held_back_repeats_of_other_lesions_keep_to_the_limits(monkeypatch):
    ratios = [
        np.stack(
            [held_back_ratios(row[f"null_{c}_a"], row[f"null_{c}_b"]) for c in COMPONENTS], axis=1
        )
        for row in still_lesions(200, 0.5, monkeypatch)
    ]
    ratios = [r for r in ratios if len(r)]
    limits, other = (
        fit_limits(ratios[:300], SETTINGS["quantile"], 100),
        np.concatenate(ratios[300:]),
    )
    units = other[np.isfinite(other).all(axis=1)] / np.array(limits.components)
    assert (np.sqrt(np.mean(units**2, axis=1)) / limits.combined > 1).mean() == pytest.approx(
        0.05, abs=0.015
    )


def test_4_what_cannot_be_compared_has_a_reason():
    made = simulate_tables(Truth(), FEATURES, patients=120, seed=2)
    lesions = made.dhi.filter(pl.col("scope") == "lesion")
    absent = made.lesions.filter(~pl.col("is_present"))
    told = lesions.filter(pl.col("reason").is_not_null())
    assert set(told["reason"]) == {
        "no outline at the earlier visit",
        "no outline at the later visit",
        "the lesion is smaller than 1000 mm3 at a visit",
    }
    ends = pl.concat(
        [
            absent.select("patient", "lesion", pl.col("visit").alias(end))
            for end in ("from_visit", "to_visit")
        ],
        how="diagonal",
    )
    for end in ("from_visit", "to_visit"):
        missed = lesions.join(
            ends.filter(pl.col(end).is_not_null()).select("patient", "lesion", end),
            on=["patient", "lesion", end],
        )
        assert missed["dhi"].null_count() == missed.height > 0
    assert lesions.filter(pl.col("reason").is_null())["dhi"].null_count() == 0
    assert made.comparisons.keys.height == lesions["dhi"].count()
    copied = np.bincount(made.comparisons.ratio_row, minlength=made.comparisons.keys.height)
    assert set(copied) <= {0, 10, 20}
    assert 1 - copied.mean() / 20 == pytest.approx(NO_COPIES, abs=0.01)


@pytest.mark.parametrize(
    ("truth", "tells"),
    [(Truth(heterogeneity=0.0, amount=1.5), True), (Truth(), False)],
    ids=["amount", "direction"],
)
def test_5_the_index_tells_response_where_the_amount_of_change_does(truth, tells):
    made = simulate_tables(truth, FEATURES, patients=300, seed=2)
    both = made.cohort.join(
        made.dhi.filter(scope="patient", from_visit="T0", to_visit="T1"), on=["site", "patient"]
    ).filter(pl.col("dhi").is_not_null())
    found = auc_delong(both["label"].to_numpy(), both["dhi"].to_numpy())
    assert found.lower > 0.6 if tells else found.lower < 0.5 < found.upper


def test_6_each_fold_of_a_simulated_cohort_fits_limits_of_its_own():
    section = {**STUDY.learning, "folds": 2, "inner_folds": 2, "leave_site_out_for": "none"}
    made = simulate_tables(Truth(), FEATURES, patients=80, sites=3, seed=2)
    data = build_dataset(TASKS["T1"], **made.of_dataset())
    found = {m.name: m for m in train_baselines(data, section, seed=1)}["delta_radiomics_dhi"]
    assert found.appraisal.facts["dhi_limits"] == "fitted in each training fold"
    fitted = [fit.model.limits for fit in (*found.fits, found.final)]
    assert len({limits.fingerprint for limits in fitted}) == 3
    assert min(limits.n_lesions for limits in fitted) > SETTINGS["calibration_lesions_minimum"]
