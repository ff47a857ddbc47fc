"""Training behind the gate: read the judged snapshot, train what has not been trained on these very rows, log it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.flow.feature_stability import moments_of_patients
from dagster_project.flow.gate import pass_gate
from dagster_project.lake.files import write_parquet_whole
from dagster_project.lake.schema import conform, empty
from dagster_project.lake.store import read_lake
from dagster_project.lake.tables import MODEL_RUNS, PREDICTIONS
from dagster_project.resources import Lakehouse

if TYPE_CHECKING:
    from models.datasets import Dataset, Task

FEATURES_SEEN = """
SELECT f.site, f.patient, f.visit, f.lesion, f.region, f.feature, f.value FROM radiomic_features f
JOIN lesions l USING (site, patient, visit, lesion) WHERE f.reader = l.reader AND list_contains(?, f.feature)"""
"""The accepted reads' values of the features that networks look at."""

CHANGES_SEEN = """
SELECT site, patient, lesion, region, feature, from_visit, to_visit, delta_symmetric FROM delta_features
WHERE delta_symmetric IS NOT NULL AND list_contains(?, from_visit) AND list_contains(?, to_visit)"""
"""Changes between the visits that the task may see: a third of the rows and half of the columns of a cohort's."""

KERNELS = "SELECT t.site, t.patient, s.kernel FROM timepoints t JOIN scans s USING (site, scan) WHERE t.visit = 'T0'"
"""The kernel of each patient's baseline scan."""

SEEN = ("patients", "responses", "lesions", "dhi", "outcomes")
"""Tables that a data set is made of, beside the cohort, the changes and the features."""


@dataclass(frozen=True)
class Learned:
    """All rows of model_runs, those of this training first, and whether anything had to be trained."""

    model_runs: pl.DataFrame
    trained: bool
    snapshot: int
    left_out: dict[str, str] = field(default_factory=dict)


def train_behind_the_gate(lakehouse: Lakehouse) -> Learned:
    """Train the task of the protocol on the snapshot that passed the gate; the same rows and protocol are trained on once."""
    from models.datasets import TASKS, build_dataset
    from models.roster import choose_learners
    from models.tracking import log_models
    from models.training import derive_predictions, train

    verdicts, snapshot = pass_gate(lakehouse)
    section, protocol = lakehouse.study.section("model"), lakehouse.study.digest
    task = TASKS[section["task"]]
    tables = tables_seen(lakehouse, snapshot, task, section["network_features"])
    dataset = build_dataset(task, **tables)
    learners, left_out = choose_learners(dataset, section)
    runs = lakehouse.lake.read(MODEL_RUNS.name)
    known = runs.filter((pl.col("cohort_digest") == dataset.digest) & (pl.col("protocol_digest") == protocol)).height > 0
    held_out = kept_predictions(lakehouse).filter(pl.col("fold").is_not_null())
    if not known:
        trained = train(learners, dataset, section, section["seed"])
        fresh = log_models(trained, tracking_uri=lakehouse.home.mlflow_uri, artifact_root=lakehouse.home.mlflow / "artifacts", snapshot=snapshot,
                           verdicts=verdicts, protocol_digest=protocol, alias=section["alias"], section=section)
        held_out, runs = derive_predictions(trained, fresh, section), pl.concat([fresh, runs])
    _keep_predictions(lakehouse, conform(pl.concat([held_out, predict_untrained(lakehouse, tables, dataset, runs)], how="diagonal_relaxed"), PREDICTIONS))
    return Learned(runs, trained=not known, snapshot=snapshot, left_out=left_out)


def predict_untrained(lakehouse: Lakehouse, tables: dict[str, Any], dataset: Dataset, runs: pl.DataFrame) -> pl.DataFrame:
    """What the registered candidate says of the eligible patients whom the cohort leaves out; asked anew each run, since they change."""
    from models.datasets import build_others
    from models.tracking import load_registered
    from models.training import predict_others

    section, task = lakehouse.study.section("model"), dataset.task
    others = build_others(task, **tables)
    if others is None:
        return empty(PREDICTIONS)
    model, facts = load_registered(lakehouse.home.mlflow_uri, task.name, section["alias"])
    named = runs.filter((pl.col("model") == facts["name"]) & (pl.col("task") == task.name)).sort("trained_at")
    return predict_others(model, facts, named["model_version"][-1], dataset, others, section)


def tables_seen(lakehouse: Lakehouse, snapshot: int, task: Task, features: list[str]) -> dict[str, Any]:
    """The arguments of `build_dataset`, as they stood at a snapshot."""
    cohort, *seen = lakehouse.read("training_cohort", *SEEN, as_of=snapshot)
    with read_lake(lakehouse.home, as_of=snapshot) as frozen:
        values, changes = frozen.query(FEATURES_SEEN, [features]).pl(), frozen.query(CHANGES_SEEN, [list(task.visits)] * 2).pl()
        pairs, kernels = moments_of_patients(frozen, task.visits), frozen.query(KERNELS).pl()
    return {"cohort": cohort, **dict(zip(SEEN, seen, strict=True)), "delta_features": changes, "radiomic_features": values, "reader_pairs": pairs,
            "kernels": kernels}


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
