"""Training behind the gate: read the judged snapshot, train what has not been trained on these very rows, log it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dagster_project.flow.gate import pass_gate
from dagster_project.lake.files import write_parquet_whole
from dagster_project.lake.schema import empty
from dagster_project.lake.tables import MODEL_RUNS, PREDICTIONS
from dagster_project.resources import Lakehouse

SEEN = ("patients", "responses", "lesions", "delta_features", "dhi")
"""Tables that a data set is made of, beside the cohort."""


@dataclass(frozen=True)
class Learned:
    """All rows of model_runs, those of this training first, and whether anything had to be trained."""

    model_runs: pl.DataFrame
    trained: bool
    snapshot: int


def train_behind_the_gate(lakehouse: Lakehouse) -> Learned:
    """Train the task of the protocol on the snapshot that passed the gate; the same rows and protocol are trained on once."""
    from models.datasets import TASKS, build_dataset
    from models.tracking import log_models
    from models.training import derive_predictions, train_baselines

    verdicts, snapshot = pass_gate(lakehouse)
    section = lakehouse.study.section("model")
    cohort, *seen = lakehouse.read("training_cohort", *SEEN, as_of=snapshot)
    dataset = build_dataset(TASKS[section["task"]], cohort=cohort, **dict(zip(SEEN, seen, strict=True)))
    before = lakehouse.lake.read(MODEL_RUNS.name)
    protocol = lakehouse.study.digest
    if before.filter((pl.col("cohort_digest") == dataset.digest) & (pl.col("protocol_digest") == protocol)).height:
        return Learned(before, trained=False, snapshot=snapshot)
    trained = train_baselines(dataset, section, section["seed"])
    runs = log_models(trained, tracking_uri=lakehouse.home.mlflow_uri, artifact_root=lakehouse.home.mlflow / "artifacts", snapshot=snapshot,
                      verdicts=verdicts, protocol_digest=protocol, alias=section["alias"])
    _keep_predictions(lakehouse, derive_predictions(trained, runs))
    return Learned(pl.concat([runs, before]), trained=True, snapshot=snapshot)


def _predictions_file(lakehouse: Lakehouse) -> Path:
    return lakehouse.home.mlflow / "predictions.parquet"


def _keep_predictions(lakehouse: Lakehouse, rows: pl.DataFrame) -> None:
    write_parquet_whole(_predictions_file(lakehouse), rows)


def kept_predictions(lakehouse: Lakehouse) -> pl.DataFrame:
    """Out-of-fold probabilities of the last training."""
    file = _predictions_file(lakehouse)
    return pl.read_parquet(file) if file.is_file() else empty(PREDICTIONS)


def forget_predictions(lakehouse: Lakehouse, patient: str) -> None:
    """Take a patient out of the kept probabilities."""
    kept = kept_predictions(lakehouse)
    if kept.filter(patient=patient).height:
        _keep_predictions(lakehouse, kept.filter(pl.col("patient") != patient))
