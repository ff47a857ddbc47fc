"""Which model predicts for which patients.

The champion comes before the candidate, no model predicts for a patient it was trained on, and none
predicts twice for the same inputs.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dagster_project.flow.predictions import (
    PredictionSet,
    champion_probabilities,
    forget_predictions,
    load_predictions,
    predict_outside_cohort,
    save_predictions,
    training_predictions,
)
from dagster_project.resources import Lakehouse
from models.data.datasets import TASKS, build_dataset
from models.evaluation.training import best_model, train_baselines
from models.operation import log as log_module
from models.operation.log import log_models
from models.operation.promotion import Look
from tests.models.cohorts import SECTION, simulate

OUT = ("NORTH-000", "EAST-002", "SOUTH-001")
EASY = {**SECTION, "promotion_slope": [-100, 100]}
WHO = ["site", "patient"]


@dataclass(frozen=True)
class Night:
    """A home whose champion was trained on all but three patients."""

    lakehouse: Lakehouse
    tables: dict[str, pl.DataFrame]
    trained: list
    prediction_set: PredictionSet


def tables_without(*out: str) -> dict[str, pl.DataFrame]:
    made, gone = simulate(effect=0.3), pl.col("patient").is_in(list(out))
    return made.replace(
        cohort=made.cohort.with_columns(
            included=~gone, exclusion=pl.when(gone).then(pl.lit("progressed_by_T1"))
        )
    )


def log(
    lakehouse: Lakehouse, trained: list, section: dict, *, level: float = math.inf, **changed
) -> pl.DataFrame:
    """Log at a look that may spend `level`."""
    lakehouse.home.make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_module, "look_due", lambda *_: Look(1, level))
        return log_models(
            trained,
            tracking_uri=lakehouse.home.mlflow_uri,
            artifact_root=lakehouse.home.mlflow / "artifacts",
            snapshot=1,
            verdicts=(),
            protocol_digest="p",
            alias="candidate",
            section=section,
            **changed,
        )


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    lakehouse = Lakehouse(root=str(tmp_path_factory.mktemp("home")))
    tables = tables_without(*OUT)
    best, *_ = trained = _best_first(
        train_baselines(build_dataset(TASKS["T1"], **tables), SECTION, seed=11)
    )
    fresh = log(lakehouse, trained, EASY)
    assert fresh["alias"].to_list() == ["champion", *[None] * (len(trained) - 1)]
    prediction_set = training_predictions(trained, fresh, SECTION)
    save_predictions(lakehouse, prediction_set)
    assert best.name == fresh["model"][0]
    return Night(lakehouse, tables, trained, prediction_set)


@pytest.fixture
def later(night: Night, tmp_path: Path) -> Night:
    """A copy of its home, for what changes models or predictions."""
    shutil.copytree(night.lakehouse.home.root, tmp_path / "home")
    return replace(night, lakehouse=Lakehouse(root=str(tmp_path / "home")))


def _best_first(trained: list) -> list:
    best = best_model(trained)
    return [
        replace(best, verdicts=()),
        *(t for t in trained if t.name != best.name and not t.negative_control),
    ]


def test_1_the_champion_is_compared_by_what_it_held_out_and_by_patients_it_never_learnt_from(
    night: Night,
) -> None:
    whole = build_dataset(TASKS["T1"], **tables_without())
    found = dict(zip(whole.patients, champion_probabilities(night.lakehouse, whole), strict=True))
    best = night.trained[0]
    assert {p: found[p] for p in best.dataset.patients} == dict(
        zip(best.dataset.patients, best.probabilities, strict=True)
    )
    others = whole.take(np.isin(whole.patients, OUT))
    assert [found[p] for p in others.patients] == best.final.model.probabilities(others).tolist()


def test_2_patients_outside_the_cohort_are_asked_of_the_champion_and_explained(
    night: Night,
) -> None:
    prediction_set, reasons = predict_outside_cohort(
        night.lakehouse, TASKS["T1"], night.tables, night.prediction_set
    )
    rows = prediction_set.predictions.filter(pl.col("fold").is_null())
    assert (sorted(rows["patient"]), set(rows["alias"]), reasons) == (sorted(OUT), {"champion"}, ())
    assert set(
        prediction_set.attributions.filter(pl.col("patient").is_in(list(OUT)))["patient"]
    ) == set(OUT)
    assert rows.select("lower", "upper", "input_digest", "ood_score").null_count().row(0) == (
        0,
        0,
        0,
        0,
    )
    assert rows.filter(
        (pl.col("lower") <= pl.col("probability")) & (pl.col("probability") <= pl.col("upper"))
    ).height == len(OUT)
    assert (
        prediction_set.predictions.filter(pl.col("fold").is_not_null()).height
        == night.prediction_set.predictions.height
    )


def test_3_a_row_stays_until_the_patients_inputs_change(night: Night) -> None:
    """A kept row is marked: it is found again where nothing changed, and only there."""
    prediction_set, _ = predict_outside_cohort(
        night.lakehouse, TASKS["T1"], night.tables, night.prediction_set
    )
    new = pl.col("fold").is_null()
    marked = replace(
        prediction_set,
        predictions=prediction_set.predictions.with_columns(
            probability=pl.when(new).then(0.123).otherwise("probability")
        ),
    )
    moved = pl.when(pl.col("patient") == OUT[0]).then(pl.col("sum_mm") + 7).otherwise("sum_mm")
    pd_l1 = (
        pl.when(pl.col("patient") == OUT[0])
        .then(pl.col("pd_l1_tps").fill_null(3) + 1)
        .otherwise("pd_l1_tps")
    )
    changed = {
        **night.tables,
        "responses": night.tables["responses"].with_columns(sum_mm=moved),
        "patients": night.tables["patients"].with_columns(pd_l1_tps=pd_l1),
    }
    again, _ = predict_outside_cohort(night.lakehouse, TASKS["T1"], changed, marked)
    told = dict(again.predictions.filter(new).select("patient", "probability").iter_rows())
    assert {p: v == 0.123 for p, v in told.items()} == {OUT[0]: False, OUT[1]: True, OUT[2]: True}
    assert set(again.attributions["patient"]) == set(prediction_set.attributions["patient"])


def test_4_nobody_is_asked_about_a_patient_it_has_learnt_from(night: Night) -> None:
    learnt = night.trained[0].dataset.patients[0]
    prediction_set, _ = predict_outside_cohort(
        night.lakehouse, TASKS["T1"], tables_without(*OUT, learnt), night.prediction_set
    )
    assert sorted(prediction_set.predictions.filter(pl.col("fold").is_null())["patient"]) == sorted(
        OUT
    )
    unknown, _ = predict_outside_cohort(
        night.lakehouse,
        TASKS["T1"],
        night.tables,
        PredictionSet(
            night.prediction_set.predictions.clear(), night.prediction_set.attributions.clear()
        ),
    )
    assert unknown.predictions.is_empty(), "where nobody knows whom it trained on, it is not asked"


def test_5_a_later_training_keeps_the_champions_words_and_compares_with_them(later: Night) -> None:
    whole = build_dataset(TASKS["T1"], **tables_without())
    trained = _best_first(train_baselines(whole, SECTION, seed=11))
    fresh = log(
        later.lakehouse,
        trained,
        EASY,
        level=1e-9,
        champion=champion_probabilities(later.lakehouse, whole),
    )
    assert fresh["promotion"][0] == "held_back"
    assert "not better than the champion: gain" in fresh["promotion_reasons"][0]
    assert "on 24 patients" in fresh["promotion_reasons"][0]
    before = pl.DataFrame(
        {"task": "T1", "model": later.trained[0].name, "model_version": "1", "alias": "champion"}
    )
    prediction_set = later.prediction_set.replaced_by(
        training_predictions(trained, fresh, SECTION), before
    )
    mine = prediction_set.predictions.filter(
        (pl.col("model") == later.trained[0].name) & (pl.col("model_version") == "1")
    )
    assert sorted(mine["patient"]) == sorted(later.trained[0].dataset.patients)
    assert (
        prediction_set.predictions.filter(
            pl.col("model_version") == fresh["model_version"][0]
        ).height
        == 24
    )


def test_6_who_withdraws_is_forgotten_in_all_that_is_kept(later: Night) -> None:
    patient = later.trained[0].dataset.patients[0]
    assert load_predictions(later.lakehouse).attributions.filter(patient=patient).height > 0
    forget_predictions(later.lakehouse, patient)
    left = load_predictions(later.lakehouse)
    assert left.predictions.filter(patient=patient).is_empty()
    assert left.attributions.filter(patient=patient).is_empty()


def test_7_a_champion_whose_columns_are_gone_is_passed_over_with_the_reason(later: Night) -> None:
    """A champion that needs a column which is not measured any more.

    It is the candidate too, so no model is left.
    """
    best, *others = later.trained
    model = replace(
        best.final.model, features=("a_feature_of_old@tumor@T0-T1", *best.final.model.features[1:])
    )
    old = [replace(best, final=replace(best.final, model=model)), *others]
    fresh = log(later.lakehouse, old, EASY, champion=1 - best.probabilities)
    assert fresh["alias"][0] == "champion"
    save_predictions(later.lakehouse, prediction_set := training_predictions(old, fresh, SECTION))
    found, reasons = predict_outside_cohort(
        later.lakehouse, TASKS["T1"], later.tables, prediction_set
    )
    assert found.predictions.filter(pl.col("fold").is_null()).is_empty()
    assert [r.split(" version ")[0] for r in reasons] == ["champion", "candidate"]
    assert all(
        r.endswith("build the data set with the protocol that the model was trained under")
        for r in reasons
    )
    assert all(
        "1 columns that are not there, first a_feature_of_old@tumor@T0-T1" in r for r in reasons
    )
