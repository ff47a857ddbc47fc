"""The negative controls' AUC is 0.5 without a signal and raises an alarm with one.

Where there are too few patients, the control says so in words.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models.evaluation.negative_controls import (
    ALSO_THE_TUMOURS,
    KEPT_BY,
    held_out_operators,
    held_out_scores,
    judge_control,
)

RULES = {"minimum_per_class": 8, "folds": 5, "seed": 1}
TEXTURE = [f"wavelet-LLH_glcm_F{k}" for k in range(60)]


def cohort(n=60, *, leak=0.0, volume_tells=False, seed=3):
    """Rows of a control: texture follows the volume and, with `leak`, the response."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2 == 0
    log_volume = rng.normal(8, 0.6, n) + (0.8 * label if volume_tells else 0)
    shown = {
        name: log_volume * rng.normal() + rng.normal(0, 0.4, n) + leak * label * rng.normal()
        for name in TEXTURE
    }
    shown |= {name: rng.normal(0, 1, n) + 0.1 * log_volume for name in KEPT_BY["shuffled"]}
    shown |= {"original_shape_Sphericity": label + rng.normal(0, 0.1, n)}
    return pl.DataFrame(
        [
            {
                "site": "AB"[k % 4 // 2],
                "patient": f"P{k:03}",
                "responder": bool(label[k]),
                "feature": name,
                "value": float(values[k]),
                "region_volume_mm3": float(np.exp(log_volume[k])),
            }
            for name, values in shown.items()
            for k in range(n)
        ]
    )


@pytest.mark.parametrize("control", KEPT_BY)
def test_what_tells_nothing_passes_though_the_volume_and_shape_tell_all(control):
    """Texture follows the volume, and the volume follows the response.

    That alone is no alarm; nor is the tumour's own shape.
    """
    judged = judge_control(cohort(volume_tells=True), control, **RULES)
    assert judged.verdict == "pass"
    assert judged.auc.lower < 0.5 < judged.auc.upper
    assert judged.chance[0] < 0.5 < judged.chance[1]
    assert judged.detail.startswith(f"{control}: AUC 0.")


@pytest.mark.parametrize("control", KEPT_BY)
def test_what_tells_the_response_is_an_alarm(control):
    judged = judge_control(cohort(leak=0.17), control, **RULES)
    assert judged.verdict == "fail"
    assert 0.5 < judged.auc.lower < judged.auc.value < 1


def test_classes_told_apart_without_a_miss_are_an_alarm_though_there_is_no_interval():
    judged = judge_control(cohort(leak=3.0), "muscle", **RULES)
    assert (judged.verdict, judged.auc.value, judged.auc.lower) == ("fail", 1.0, None)
    assert judged.detail.startswith(
        "muscle: AUC 1.000 (no interval) of 30 responders, 30 others; chance gives 0."
    )


def test_too_few_patients_are_said_to_be_too_few():
    judged = judge_control(cohort(15), "muscle", **RULES)
    assert (judged.verdict, judged.auc.value, judged.n_responders, judged.n_others) == (
        "cannot_evaluate",
        None,
        8,
        7,
    )
    assert (
        judged.detail
        == "muscle: too few patients: 8 of each class are needed (8 responders, 7 others)"
    )
    assert judge_control(cohort().clear(), "shuffled", **RULES).verdict == "cannot_evaluate"


def test_a_patient_without_muscle_or_response_is_left_out_and_a_feature_that_one_lacks():
    rows = cohort(leak=1.0)
    gone = rows.with_columns(
        pl.when(pl.col("patient") == "P001").then(None).otherwise(pl.col("value")).alias("value"),
        pl.when(pl.col("patient") == "P002")
        .then(None)
        .otherwise(pl.col("responder"))
        .alias("responder"),
    )
    gone = gone.with_columns(
        pl.when((pl.col("patient") == "P003") & (pl.col("feature") == TEXTURE[0]))
        .then(None)
        .otherwise(pl.col("value"))
        .alias("value")
    )
    expected = judge_control(
        rows.filter(~pl.col("patient").is_in(["P001", "P002"]) & (pl.col("feature") != TEXTURE[0])),
        "muscle",
        **RULES,
    )
    assert judge_control(gone, "muscle", **RULES) == expected
    assert (expected.n_responders, expected.n_others) == (29, 29)


def test_of_clean_cohorts_a_twentieth_at_most_rings_though_densities_tell_the_response():
    """Densities predict the response, and texture follows the densities.

    There are 20 data sets of 24 patients.
    """
    rng, found = np.random.default_rng(2), []
    for _ in range(20):
        kept = rng.normal(size=(24, 4))
        label = np.argsort(np.argsort(kept[:, 0] + rng.normal(size=24))) >= 12
        texture = kept @ rng.normal(size=(4, 40)) + rng.normal(size=(24, 8)) @ rng.normal(
            size=(8, 40)
        )
        values = dict(zip(KEPT_BY["shuffled"], kept.T, strict=True)) | {
            f"original_glcm_F{k}": texture[:, k] for k in range(40)
        }
        rows = pl.concat(
            [
                pl.DataFrame(
                    {
                        "site": ["A"] * 24,
                        "patient": [f"P{k:02}" for k in range(24)],
                        "responder": label,
                        "feature": [name] * 24,
                        "value": column,
                        "region_volume_mm3": np.arange(24) + 900.0,
                    }
                )
                for name, column in values.items()
            ]
        )
        found.append(judge_control(rows, "shuffled", **RULES))
    assert np.mean([j.auc.value for j in found]) == pytest.approx(0.5, abs=0.08)
    assert sum(j.verdict == "fail" for j in found) <= 2
    assert np.mean([j.chance for j in found]) == pytest.approx(0.5, abs=0.03)


def test_a_held_out_patient_has_no_part_in_his_own_score():
    rng = np.random.default_rng(5)
    features, kept, label, fold = (
        rng.normal(size=(30, 50)),
        rng.normal(size=(30, 2)),
        np.arange(30) % 2 == 0,
        np.arange(30) % 5,
    )
    operators, flipped = held_out_operators(features, kept, fold), label.copy()
    flipped[fold == 2] = ~flipped[fold == 2]
    assert np.array_equal(
        held_out_scores(operators, label)[fold == 2], held_out_scores(operators, flipped)[fold == 2]
    )


def test_scores_are_those_of_ridge_regression():
    """Against the normal equations, column by column, without anything to be freed of."""
    rng = np.random.default_rng(6)
    features, label, fold = (
        rng.normal(3, 2, size=(20, 7)),
        np.arange(20) % 2 == 0,
        np.arange(20) % 4,
    )
    scores = held_out_scores(held_out_operators(features, np.ones((20, 1)), fold), label)
    out = fold == 1
    scaled = (features - features[~out].mean(axis=0)) / features[~out].std(axis=0)
    weights = np.linalg.solve(
        scaled[~out].T @ scaled[~out] + 7 * np.eye(7),
        scaled[~out].T @ (label[~out] - label[~out].mean()),
    )
    assert scores[out] == pytest.approx(scaled[out] @ weights)


def test_every_control_is_known_by_both_lists():
    assert set(KEPT_BY) == set(ALSO_THE_TUMOURS)
