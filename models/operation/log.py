"""The log of every model: one MLflow run each.

A run has snapshot, gate, figures, and a model that is tensors and plain facts.
"""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dagster_project.domain.cohort.quality import GateVerdict, gate_closed
from dagster_project.lake.schema import conform
from dagster_project.lake.tables import MODEL_RUNS
from dagster_project.statistics.roc import auc_delong
from models.data.datasets import Task
from models.evaluation.sanity import check_networks
from models.evaluation.training import TrainedModel, best_model
from models.learners.learners import Section
from models.operation.card import TrainingRecord, figures, role
from models.operation.files import write_artifacts
from models.operation.promotion import NOT_DUE, judge_promotion, look_due, next_look
from models.operation.registry import (
    LOOK,
    find_registered,
    looks_taken,
    make_client,
    register_version,
    registered_name,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

USER = "lakehouse"
"""Said to be the author of every run: no account name of the machine is logged."""


EXPERIMENTS = "lakehouse-"
"""How the names of experiments begin; the task follows."""

NOTE = "mlflow.note.content"
"""MLflow's tag of a description."""


class GateClosedError(RuntimeError):
    """Models were handed over together with a cohort rule that closes the gate."""

    def __init__(self, closed: Sequence[GateVerdict]) -> None:
        shown = "; ".join(
            f"{v.rule} at {v.scope}: {v.verdict}, figure {v.statistic}, limit {v.threshold}"
            for v in closed
        )
        super().__init__(
            f"the gate is closed, so nothing is logged: {shown}. "
            "Train from training_cohort, which evaluates the gate first"
        )


@dataclass(frozen=True)
class _Context:
    """Where the runs of one training are logged, and what is the same for all of them."""

    client: MlflowClient
    experiment: str
    record: TrainingRecord
    trained_at: datetime
    alias: str
    champion: np.ndarray | None = None
    section: Section | None = None
    parent: str = ""


def log_models(
    trained: Sequence[TrainedModel],
    *,
    tracking_uri: str,
    artifact_root: Path,
    snapshot: int,
    verdicts: Sequence[GateVerdict],
    protocol_digest: str,
    alias: str,
    trained_at: datetime | None = None,
    section: Section | None = None,
    champion: np.ndarray | None = None,
    amendments: str | None = None,
) -> pl.DataFrame:
    """Log every model as a run and a registered version; the rows of model_runs.

    1. A cohort rule that failed or could not be evaluated stops everything, since nothing may be
       trained behind a closed gate.
    2. Each model becomes one run of the experiment of its task, and one version of the registered
       model of its task.
    3. The alias goes to the version of `best_model`. A raised leakage alarm is written on run and
       version, and stops nothing.
    4. All are nested in one run of the training, and each holds one run per fold.
    5. Where `section` is given, the rule of `models.operation.promotion` says, at its registered
       looks, whether that version becomes the champion; the reasons are tags.

    Parameters
    ----------
    tracking_uri : str
        Such as sqlite:////srv/lakehouse/mlflow/mlflow.db; its folder must exist, or be a parent of
        `artifact_root`.
    artifact_root : Path
        Folder of the artifacts.
    snapshot : int
        Snapshot of the lake that the cohort was read from.
    trained_at : datetime, optional
        UTC; now where it is not given.
    champion : float array, optional
        The present champion's probability of each patient of the cohort, NaN where it has none out
        of sample.
    amendments : str, optional
        Recorded decisions by which the protocol is looser than the registration, a line each.

    Raises
    ------
    GateClosedError
        Rule 1.
    """
    closed = gate_closed(verdicts)
    if closed:
        raise GateClosedError(closed)
    artifact_root.mkdir(parents=True, exist_ok=True)
    client = make_client(tracking_uri)
    context = _Context(
        client=client,
        experiment=make_experiment(
            client,
            f"{EXPERIMENTS}{trained[0].dataset.task.name}",
            artifact_root,
            _note(trained[0].dataset.task),
        ),
        record=TrainingRecord(
            trained=tuple(trained),
            snapshot=snapshot,
            protocol_digest=protocol_digest,
            verdicts=tuple(asdict(v) for v in verdicts),
            amendments=amendments,
            checks={} if section is None else check_networks(trained, section),
        ),
        trained_at=trained_at or datetime.now(UTC),
        alias=alias,
        champion=champion,
        section=section,
    )
    with _run("training", _shared_tags(context), context) as parent:
        nested = replace(context, parent=parent)
        rows = [_log_model(model, nested) for model in trained]
        if section is not None:
            rows = _promote(rows, nested, section)
    return conform(pl.DataFrame(rows, infer_schema_length=None), MODEL_RUNS)


def _promote(
    rows: Sequence[dict[str, Any]], context: _Context, section: Section
) -> list[dict[str, Any]]:
    """Give the champion's alias to the candidate where the protocol's rule allows it.

    The reasons, for or against, are written on version, training and row.
    """
    return [
        _judged(model, row, context, section) if row["alias"] else row
        for model, row in zip(context.record.trained, rows, strict=True)
    ]


def _judged(
    model: TrainedModel, row: dict[str, Any], context: _Context, section: Section
) -> dict[str, Any]:
    name, alias = registered_name(model.dataset.task.name), section["champion_alias"]
    looked = looks_taken(context.client, name)
    look = look_due(model.dataset.y.size, looked, section)
    if look is None:
        return {**row, **_noted(NOT_DUE, next_look(looked, section), name, row, context)}
    there = find_registered(context.client, name, (alias,))
    nothing = np.full(model.dataset.y.size, np.nan)
    known = nothing if context.champion is None else context.champion
    champion = None if there is None else known
    found = judge_promotion(
        model, context.record.trained, champion, section, context.record.checks, look
    )
    context.client.set_registered_model_tag(name, LOOK, str(look.number))
    entries = _noted(
        found.verdict, "; ".join(found.reasons) or "every condition is met", name, row, context
    )
    if found.promoted:
        context.client.set_registered_model_alias(name, alias, row["model_version"])
    return {**row, **entries, "alias": alias if found.promoted else row["alias"]}


def _noted(
    verdict: str, reasons: str, name: str, row: dict[str, Any], context: _Context
) -> dict[str, str]:
    """The columns of a verdict, which also become tags of version and training."""
    entries = {"promotion": verdict, "promotion_reasons": reasons}
    for key, value in entries.items():
        context.client.set_model_version_tag(name, row["model_version"], key, value)
        context.client.set_tag(context.parent, key, value)
    return entries


def _note(task: Task) -> str:
    """What the page of an experiment says of itself."""
    return (
        f"Models that predict from the CTs up to {task.landmark}: {task.label}. One run per "
        "training; within it one per model, and within that one per fold. Tags name the snapshot "
        "of the lake, the gate's verdicts and the protocol; `model_runs` in the lake has the same "
        "rows."
    )


def make_experiment(client: MlflowClient, name: str, artifact_root: Path, note: str) -> str:
    """The experiment of that name with its description, made where there is none.

    An experiment keeps its first artifact folder for ever. One that was made elsewhere (the home
    folder has moved since) is left as it is, and a new one carries the digest of the folder behind
    its name.
    """
    location = artifact_root.resolve().as_uri()
    for candidate in (name, f"{name}-{hashlib.sha256(location.encode()).hexdigest()[:8]}"):
        found = client.get_experiment_by_name(candidate)
        if found is None:
            made = client.create_experiment(candidate, artifact_location=location)
            client.set_experiment_tag(made, NOTE, note)
            return made
        if found.artifact_location == location and found.lifecycle_stage == "active":
            if found.tags.get(NOTE) != note:
                client.set_experiment_tag(found.experiment_id, NOTE, note)
            return found.experiment_id
    raise RuntimeError(
        f"MLflow's experiment {candidate} was deleted; restore it with "
        "`mlflow experiments restore`, or start a new MLflow store"
    )


def _log_model(model: TrainedModel, context: _Context) -> dict[str, Any]:
    with (
        _run(model.name, _tags(model, context), context) as run,
        tempfile.TemporaryDirectory() as folder,
    ):
        write_artifacts(Path(folder), model, context.record)
        context.client.log_artifacts(run, folder)
        context.client.log_batch(
            run, metrics=_metric_entities(model, context), params=_param_entities(model)
        )
        _log_folds(model, replace(context, parent=run))
    alias = context.alias if model is best_model(context.record.trained) else None
    version = register_version(context.client, model, context.record.snapshot, run, alias)
    return _row(model, context, run, version, alias)


@contextmanager
def _run(name: str, tags: Mapping[str, str], context: _Context) -> Iterator[str]:
    """A run, nested in the context's parent; it ends FINISHED, or FAILED if the body raises."""
    start = int(context.trained_at.timestamp() * 1000)
    run = context.client.create_run(
        context.experiment,
        run_name=name,
        start_time=start,
        tags={**tags, **({"mlflow.parentRunId": context.parent} if context.parent else {})},
    )
    try:
        yield run.info.run_id
    except BaseException:
        context.client.set_terminated(run.info.run_id, status="FAILED")
        raise
    context.client.set_terminated(run.info.run_id)


def _log_folds(model: TrainedModel, context: _Context) -> None:
    """One run per fold: its AUC where it has both classes, its cut-off and its patients."""
    from mlflow.entities import Metric

    moment = int(context.trained_at.timestamp() * 1000)
    for k, cutoff in enumerate(model.cutoffs):
        held = model.fold == k
        auc = auc_delong(model.dataset.y[held], model.probabilities[held]).value
        entries = {
            "auc": auc,
            "cutoff": float(cutoff),
            "n_patients": float(held.sum()),
            "n_positive": float(model.dataset.y[held].sum()),
        }
        with _run(
            f"{model.name} fold {k}", {"mlflow.user": USER, "role": "fold", "fold": str(k)}, context
        ) as run:
            context.client.log_batch(
                run, metrics=[Metric(n, v, moment, 0) for n, v in entries.items() if v is not None]
            )


def _shared_tags(context: _Context) -> dict[str, str]:
    """Tags of the training and of each of its models."""
    kinds = [v["verdict"] for v in context.record.verdicts if v["kind"] == "cohort"]
    return {
        "mlflow.user": USER,
        "snapshot": str(context.record.snapshot),
        "protocol_digest": context.record.protocol_digest,
        "cohort_digest": context.record.trained[0].cohort_digest,
        "gate": "open",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "gate_rules": f"{len(kinds)} cohort rules, {kinds.count('warn')} warnings",
        "amendments": context.record.amendments or "none",
    }


def _tags(model: TrainedModel, context: _Context) -> dict[str, str]:
    return {
        **_shared_tags(context),
        "role": role(model),
        "simulated": str(bool(model.dataset.simulated.any())).lower(),
        "label": model.dataset.label_definition,
        **{v.name: v.verdict for v in model.verdicts},
        **{f"{v.name}_detail": v.detail for v in model.verdicts},
    }


def _metric_entities(model: TrainedModel, context: _Context) -> list[Any]:
    from mlflow.entities import Metric

    moment = int(context.trained_at.timestamp() * 1000)
    curve = [
        Metric("final_training_loss", value, moment, step)
        for step, value in enumerate(model.final.curve)
    ]
    return [
        *(
            Metric(name, value, moment, 0)
            for name, value in figures(model, context.record.trained).items()
        ),
        *curve,
    ]


def _param_entities(model: TrainedModel) -> list[Any]:
    from mlflow.entities import Param

    facts = {
        "task": model.dataset.task.name,
        "landmark": model.dataset.task.landmark,
        "model": model.name,
        "kind": model.final.model.kind,
        "blocks": ",".join(sorted(set(model.dataset.feature_blocks))),
        "n_patients": model.dataset.y.size,
        "n_positive": int(model.dataset.y.sum()),
        "n_features": len(model.dataset.columns),
        "n_folds": len(model.cutoffs),
        **{f"final_{name}": value for name, value in model.final.chosen.items()},
    }
    return [Param(name, str(value)) for name, value in facts.items()]


def _row(
    model: TrainedModel, context: _Context, run: str, version: str, alias: str | None
) -> dict[str, Any]:
    e, data = model.evaluation, model.dataset
    return {
        "task": data.task.name,
        "model": model.name,
        "model_version": version,
        "mlflow_run_id": run,
        "alias": alias,
        "promotion": None,
        "promotion_reasons": None,
        "n_patients": data.y.size,
        "n_positive": int(data.y.sum()),
        "n_features": len(data.columns),
        "auc": e.auc.value,
        "auc_lower": e.auc.lower,
        "auc_upper": e.auc.upper,
        "sensitivity": e.sensitivity.value,
        "specificity": e.specificity.value,
        "accuracy": e.accuracy.value,
        "ppv": e.ppv.value,
        "npv": e.npv.value,
        **_in_practice(model),
        "brier": e.brier,
        "cutoff": float(model.cutoffs.mean()),
        "cohort_digest": model.cohort_digest,
        "protocol_digest": context.record.protocol_digest,
        "amendments": context.record.amendments,
        "snapshot": context.record.snapshot,
        "trained_at": context.trained_at,
        "simulated": bool(data.simulated.any()),
    }


def _in_practice(model: TrainedModel) -> dict[str, float | None]:
    """Predictive values at the share of responders in practice, with bounds.

    They are columns of model_runs.
    """
    found = {name: model.appraisal.figures[name] for name in ("ppv_in_practice", "npv_in_practice")}
    return {
        f"{name}{end}": getattr(e, part)
        for name, e in found.items()
        for end, part in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))
    }
