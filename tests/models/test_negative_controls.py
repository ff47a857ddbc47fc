"""The negative controls' AUC: 0.5 where nothing is told, an alarm where something is, words where there are too few patients."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models.negative_controls import ALSO_THE_TUMOURS, KEPT_BY, held_out_scores, judge_control
from models.splits import stratified_folds

RULES = {"minimum_per_class": 8, "folds": 5, "seed": 1}
TEXTURE = [f"wavelet-LLH_glcm_F{k}" for k in range(60)]


def cohort(n=60, *, leak=0.0, volume_tells=False, seed=3):
    """Rows of a control: texture follows the volume and, with `leak`, the response."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2 == 0
    log_volume = rng.normal(8, 0.6, n) + (0.8 * label if volume_tells else 0)
    shown = {name: log_volume * rng.normal() + rng.normal(0, 0.4, n) + leak * label * rng.normal() for name in TEXTURE}
    shown |= {name: rng.normal(0, 1, n) + 0.1 * log_volume for name in KEPT_BY["shuffled"]}
    shown |= {"original_shape_Sphericity": label + rng.normal(0, 0.1, n)}
    return pl.DataFrame([
        {"site": "AB"[k % 4 // 2], "patient": f"P{k:03}", "responder": bool(label[k]), "feature": name, "value": float(values[k]), "region_volume_mm3": float(np.exp(log_volume[k]))}
        for name, values in shown.items() for k in range(n)
    ])


@pytest.mark.parametrize("control", KEPT_BY)
def test_what_tells_nothing_passes_though_the_volume_and_shape_tell_all(control):
    """Texture follows the volume, and the volume follows the response: that alone is no alarm; nor is the tumour's own shape."""
    judged = judge_control(cohort(volume_tells=True), control, **RULES)
    assert judged.verdict == "pass"
    assert judged.auc.lower < 0.5 < judged.auc.upper
    assert judged.detail.startswith(f"{control}: AUC 0.")


@pytest.mark.parametrize("control", KEPT_BY)
def test_what_tells_the_response_is_an_alarm(control):
    judged = judge_control(cohort(leak=0.1), control, **RULES)
    assert judged.verdict == "fail"
    assert 0.5 < judged.auc.lower < judged.auc.value < 1


def test_classes_told_apart_without_a_miss_are_an_alarm_though_there_is_no_interval():
    judged = judge_control(cohort(leak=3.0), "muscle", **RULES)
    assert (judged.verdict, judged.auc.value, judged.auc.lower) == ("fail", 1.0, None)
    assert judged.detail.startswith("muscle: AUC 1.000 of 30 responders")


def test_too_few_patients_are_said_to_be_too_few():
    judged = judge_control(cohort(15), "muscle", **RULES)
    assert (judged.verdict, judged.auc.value, judged.n_responders, judged.n_others) == ("cannot_evaluate", None, 8, 7)
    assert judged.detail == "muscle: too few patients: 8 of each class are needed (8 responders, 7 others)"
    assert judge_control(cohort().clear(), "shuffled", **RULES).verdict == "cannot_evaluate"


def test_a_patient_without_muscle_or_response_is_left_out_and_a_feature_that_one_lacks():
    rows = cohort(leak=1.0)
    gone = rows.with_columns(
        pl.when(pl.col("patient") == "P001").then(None).otherwise(pl.col("value")).alias("value"),
        pl.when(pl.col("patient") == "P002").then(None).otherwise(pl.col("responder")).alias("responder"))
    gone = gone.with_columns(pl.when((pl.col("patient") == "P003") & (pl.col("feature") == TEXTURE[0])).then(None).otherwise(pl.col("value")).alias("value"))
    expected = judge_control(rows.filter(~pl.col("patient").is_in(["P001", "P002"]) & (pl.col("feature") != TEXTURE[0])), "muscle", **RULES)
    assert judge_control(gone, "muscle", **RULES) == expected
    assert (expected.n_responders, expected.n_others) == (29, 29)


def test_under_the_null_the_auc_is_a_half_on_average_and_its_interval_holds_it():
    """100 data sets whose covariates tell the response and whose features follow the covariates."""
    rng, found = np.random.default_rng(2), []
    for seed in range(100):
        kept = rng.normal(size=(40, 4))
        features = kept @ rng.normal(size=(4, 150)) + rng.normal(size=(40, 8)) @ rng.normal(size=(8, 150))
        label = kept[:, 0] + rng.normal(size=40) > 0
        names = [f"P{k}" for k in range(40)]
        fold = stratified_folds(names, ["A"] * 40, label, folds=5, seed=seed, scope="null")
        scores = held_out_scores(features, kept, label, fold)
        found.append(np.mean(scores[label][:, None] > scores[~label][None, :]))
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)


def test_a_held_out_patient_has_no_part_in_his_own_score():
    rng = np.random.default_rng(5)
    features, kept, label, fold = rng.normal(size=(30, 50)), rng.normal(size=(30, 2)), np.arange(30) % 2 == 0, np.arange(30) % 5
    flipped = label.copy()
    flipped[fold == 2] = ~flipped[fold == 2]
    assert np.array_equal(held_out_scores(features, kept, label, fold)[fold == 2], held_out_scores(features, kept, flipped, fold)[fold == 2])


def test_every_control_is_known_by_both_lists():
    assert set(KEPT_BY) == set(ALSO_THE_TUMOURS)
