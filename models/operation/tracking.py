"""The log of every model: one MLflow run each.

A run has snapshot, gate, figures, and a model that is tensors and plain facts.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dagster_project.domain.cohort.quality import GateVerdict, gate_closed
from dagster_project.lake.schema import conform
from dagster_project.lake.tables import MODEL_RUNS
from dagster_project.statistics.calibration import calibration
from dagster_project.statistics.pooling import pool_sites
from dagster_project.statistics.roc import auc_delong
from dagster_project.study import TARGET_PREVALENCE
from models.evaluation.curves import PICTURES, curves, sanity_png, shown
from models.evaluation.explanation import importance
from models.evaluation.sanity import SanityCheck, check_networks, judge_attributions
from models.evaluation.training import TrainedModel, best_model, compare_with_references
from models.evaluation.training_distribution import TrainingDistribution
from models.learners.baselines import LinearModel
from models.learners.boosting import BoostedModel
from models.learners.fusion import StackModel
from models.learners.harmonised import HarmonisedModel
from models.learners.learners import FittedModel, Section
from models.learners.networks import NetworkModel
from models.operation.environment import describe_environment
from models.operation.prediction import ServedModel
from models.operation.promotion import NOT_DUE, judge_promotion, look_due, next_look
from models.operation.reporting import answer_items, model_card, write_items

if TYPE_CHECKING:
    from mlflow import MlflowClient

KINDS = {
    kind.kind: kind
    for kind in (LinearModel, BoostedModel, NetworkModel, StackModel, HarmonisedModel)
}
"""Classes that a stored model can be read into, by the `kind` in its config.json."""

TENSORS, CONFIG = "model.safetensors", "config.json"
"""The two files of a stored model."""

REFERENCE = "reference.safetensors"
"""Means and deviations of the training patients, beside them."""

WITHDRAWN = "learnt_from_withdrawn"
"""Tag of runs and versions whose training data held a patient who has withdrawn consent since."""

LOOK = "promotion_look"
"""Tag of a registered model: the number of the last look at its candidates."""

USER = "lakehouse"
"""Said to be the author of every run: no account name of the machine is logged."""


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
    """What is the same for every run of one training."""

    client: MlflowClient
    experiment: str
    snapshot: int
    protocol_digest: str
    verdicts: tuple[dict[str, Any], ...]
    trained_at: datetime
    trained: tuple[TrainedModel, ...]
    alias: str
    champion: np.ndarray | None = None
    section: Section | None = None
    amendments: str | None = None
    checks: Mapping[str, SanityCheck] = field(default_factory=dict)
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
            client, f"lakehouse-{trained[0].dataset.task.name}", artifact_root
        ),
        snapshot=snapshot,
        protocol_digest=protocol_digest,
        verdicts=tuple(asdict(v) for v in verdicts),
        trained_at=trained_at or datetime.now(UTC),
        trained=tuple(trained),
        alias=alias,
        champion=champion,
        section=section,
        amendments=amendments,
        checks={} if section is None else check_networks(trained, section),
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
        for model, row in zip(context.trained, rows, strict=True)
    ]


def _judged(
    model: TrainedModel, row: dict[str, Any], context: _Context, section: Section
) -> dict[str, Any]:
    name, alias = _registered_name(model.dataset.task.name, "model"), section["champion_alias"]
    looked = _looks_taken(context.client, name)
    look = look_due(model.dataset.y.size, looked, section)
    if look is None:
        return {**row, **_noted(NOT_DUE, next_look(looked, section), name, row, context)}
    there = find_registered(context.client, name, (alias,))
    nothing = np.full(model.dataset.y.size, np.nan)
    known = nothing if context.champion is None else context.champion
    champion = None if there is None else known
    found = judge_promotion(model, context.trained, champion, section, context.checks, look)
    context.client.set_registered_model_tag(name, LOOK, str(look.number))
    entries = _noted(
        found.verdict, "; ".join(found.reasons) or "every condition is met", name, row, context
    )
    if found.promoted:
        context.client.set_registered_model_alias(name, alias, row["model_version"])
    return {**row, **entries, "alias": alias if found.promoted else row["alias"]}


def _looks_taken(client: MlflowClient, name: str) -> int:
    """Number of the last look at a task's candidates.

    It is on the registered model, since a version may be removed.
    """
    return int(client.get_registered_model(name).tags.get(LOOK, 0))


def _noted(
    verdict: str, reasons: str, name: str, row: dict[str, Any], context: _Context
) -> dict[str, str]:
    """The columns of a verdict, which also become tags of version and training."""
    entries = {"promotion": verdict, "promotion_reasons": reasons}
    for key, value in entries.items():
        context.client.set_model_version_tag(name, row["model_version"], key, value)
        context.client.set_tag(context.parent, key, value)
    return entries


def make_client(tracking_uri: str) -> MlflowClient:
    """A client of this store alone.

    No global state, no tags taken from git, host or account, no telemetry.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def make_experiment(client: MlflowClient, name: str, artifact_root: Path) -> str:
    """The experiment of that name, made where there is none.

    An experiment keeps its first artifact folder for ever. One that was made elsewhere (the home
    folder has moved since) is left as it is, and a new one carries the digest of the folder behind
    its name.
    """
    location = artifact_root.resolve().as_uri()
    for candidate in (name, f"{name}-{hashlib.sha256(location.encode()).hexdigest()[:8]}"):
        found = client.get_experiment_by_name(candidate)
        if found is None:
            return client.create_experiment(candidate, artifact_location=location)
        if found.artifact_location == location and found.lifecycle_stage == "active":
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
        _write_artifacts(Path(folder), model, context)
        context.client.log_artifacts(run, folder)
        context.client.log_batch(
            run, metrics=_metric_entities(model, context), params=_param_entities(model)
        )
        _log_folds(model, replace(context, parent=run))
    alias = context.alias if model is best_model(context.trained) else None
    return _row(model, context, run, _register(model, context, run, alias), alias)


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
    kinds = [v["verdict"] for v in context.verdicts if v["kind"] == "cohort"]
    return {
        "mlflow.user": USER,
        "snapshot": str(context.snapshot),
        "protocol_digest": context.protocol_digest,
        "cohort_digest": context.trained[0].cohort_digest,
        "gate": "open",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "gate_rules": f"{len(kinds)} cohort rules, {kinds.count('warn')} warnings",
        "amendments": context.amendments or "none",
    }


def _tags(model: TrainedModel, context: _Context) -> dict[str, str]:
    return {
        **_shared_tags(context),
        "role": _role(model),
        "simulated": str(bool(model.dataset.simulated.any())).lower(),
        "label": model.dataset.label_definition,
        **{v.name: v.verdict for v in model.verdicts},
        **{f"{v.name}_detail": v.detail for v in model.verdicts},
    }


def _role(model: TrainedModel) -> str:
    return "negative_control" if model.negative_control else "model"


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
            for name, value in figures(model, context.trained).items()
        ),
        *curve,
    ]


def figures(model: TrainedModel, trained: Sequence[TrainedModel]) -> dict[str, float]:
    """The model's figures by name, without those that cannot exist.

    evaluation.json says why they cannot.
    """
    estimates = {
        name: getattr(model.evaluation, name)
        for name in ("auc", "sensitivity", "specificity", "accuracy", "ppv", "npv")
    }
    estimates |= {f"auc_site_{site}": auc for site, auc in model.evaluation.auc_by_site.items()}
    bounds = {
        f"{name}{end}": getattr(e, part)
        for name, e in estimates.items()
        for end, part in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))
    }
    intercept, slope = calibration(model.dataset.y, model.probabilities)
    pooled = pool_sites(model.dataset.y, model.probabilities, model.dataset.sites, len(model.fits))
    rest = {
        "brier": model.evaluation.brier,
        "calibration_intercept": intercept,
        "calibration_slope": slope,
        "auc_sites_pooled": pooled.auc.value,
        "auc_sites_i2": pooled.i2,
        "cutoff": float(model.cutoffs.mean()),
        "final_cutoff": model.final.cutoff,
        "missing_share": _missing_share(model),
        **compare_with_references(model, trained),
        **{
            f"control_auc_{t.name}": t.auc for t in trained if t.negative_control and t is not model
        },
    }
    appraised = {
        f"{name}{end}": getattr(e, part)
        for name, e in model.appraisal.figures.items()
        for end, part in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))
    }
    return {
        name: float(value)
        for name, value in {**appraised, **bounds, **rest}.items()
        if value is not None and np.isfinite(value)
    }


def _missing_share(model: TrainedModel) -> float:
    return float(np.isnan(model.dataset.X).mean())


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


def _write_artifacts(folder: Path, model: TrainedModel, context: _Context) -> None:
    """Write the files of a run, none of which names a patient.

    They are the model, its card and guidelines, pictures, curves, evaluation, appraisal,
    attributions, signature, gate and environment.
    """
    save_trained(
        folder / "model", model, model_facts(model, context.snapshot, context.protocol_digest)
    )
    for name, draw in PICTURES:
        (folder / name).write_bytes(draw(model))
    _write_roc(folder / "roc.csv", model)
    _write_json(folder / "curves.json", curves(model))
    evaluation = {k: v for k, v in asdict(model.evaluation).items() if k != "roc"}
    _write_json(
        folder / "evaluation.json",
        {
            **evaluation,
            "verdicts": [asdict(v) for v in model.verdicts],
            "cutoffs": model.cutoffs.tolist(),
        },
    )
    _write_appraisal(folder / "appraisal", model)
    _write_json(folder / "signature.json", signature(model))
    _write_json(folder / "environment.json", describe_environment())
    _write_json(
        folder / "gate_verdicts.json",
        {"snapshot": context.snapshot, "verdicts": list(context.verdicts)},
    )
    facts = card_facts(model, context, _write_attributions(folder, model, context))
    items = answer_items(facts)
    write_items(folder / "guidelines.csv", items)
    (folder / "model_card.md").write_text(model_card(facts, items), encoding="utf-8")


def _write_appraisal(folder: Path, model: TrainedModel) -> None:
    """Write every figure and table of the appraisal, and the facts of how they were obtained.

    The code names none of them: whatever the appraisal has is written.
    """
    folder.mkdir()
    found = model.appraisal
    pl.DataFrame(
        [{"figure": name, **vars(e)} for name, e in found.figures.items()], infer_schema_length=None
    ).write_csv(folder / "figures.csv")
    for name, table in found.tables.items():
        if table.width:
            table.write_csv(folder / f"{name}.csv")
    _write_json(folder / "facts.json", dict(found.facts))


def _write_attributions(folder: Path, model: TrainedModel, context: _Context) -> str:
    """Write a model's attributions, and give the verdict on them in words.

    Of a network: importance, stability over seeds, and the check by shuffling. Of a stack: the
    check of the networks it leans on.
    """
    network, rests_on = (
        model.final.model,
        judge_attributions(model.name, model.final.model, context.checks),
    )
    entries: dict[str, Any] = (
        importance(network, model.dataset) if isinstance(network, NetworkModel) else {}
    )
    if check := context.checks.get(model.name):
        (folder / "attribution_sanity.png").write_bytes(sanity_png(check))
        entries["sanity"] = {**asdict(check), **asdict(check.verdict)}
    elif rests_on:
        entries["sanity"] = {name: asdict(verdict) for name, verdict in rests_on.items()}
    if entries:
        _write_json(folder / "attributions.json", entries)
    said = "; ".join(
        f"{'' if name == model.name else f'{name}: '}{v.verdict}, {v.detail}"
        for name, v in rests_on.items()
    )
    return said or (
        "not asked for" if isinstance(network, NetworkModel) else "is based on no network"
    )


def model_facts(model: TrainedModel, snapshot: int, protocol_digest: str) -> dict[str, Any]:
    """What someone who finds the two files must know to use them."""
    task = model.dataset.task
    return {
        "name": model.name,
        "role": _role(model),
        "task": task.name,
        "visits": list(task.visits),
        "landmark": task.landmark,
        "label": model.dataset.label_definition,
        "cutoff": model.final.cutoff,
        "cohort_digest": model.cohort_digest,
        "protocol_digest": protocol_digest,
        "snapshot": snapshot,
        "simulated": bool(model.dataset.simulated.any()),
    }


def save_model(folder: Path, model: FittedModel, facts: Mapping[str, Any]) -> None:
    """Write model.safetensors and config.json; nothing that could run code when it is read."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: np.ascontiguousarray(values) for name, values in model.tensors().items()},
        folder / TENSORS,
    )
    _write_json(folder / CONFIG, {"kind": model.kind, **facts, "model": model.config()})


def save_trained(folder: Path, model: TrainedModel, facts: Mapping[str, Any]) -> None:
    """Write the model, and the models of its folds in folders beside it.

    Also whom it was trained on, as means and deviations.
    """
    from safetensors.numpy import save_file

    reference = TrainingDistribution.fitted(model.dataset)
    save_model(folder, model.final.model, {**facts, "reference_columns": list(reference.names)})
    save_file(reference.tensors(), folder / REFERENCE)
    for k, fit in enumerate(model.fits):
        save_model(folder / f"fold_{k:02d}", fit.model, {**facts, "fold": k, "cutoff": fit.cutoff})


def _load_reference(folder: Path) -> TrainingDistribution:
    from safetensors.numpy import load_file

    names = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["reference_columns"]
    return TrainingDistribution.from_tensors(tuple(names), load_file(folder / REFERENCE))


def load_model(folder: Path) -> tuple[FittedModel, dict[str, Any]]:
    """Read a stored model and its facts.

    Its probabilities are those of the model that was saved, to the last bit.
    """
    from safetensors.numpy import load_file

    facts = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if facts["kind"] not in KINDS:
        raise ValueError(
            f"{CONFIG} names the kind {facts['kind']}, known are {', '.join(KINDS)}; "
            "read it with the version that wrote it"
        )
    return KINDS[facts["kind"]].from_tensors(load_file(folder / TENSORS), facts["model"]), facts


@dataclass(frozen=True)
class Registered:
    """A version of a registered model, its model's name, the alias it was found by, and its run."""

    model: str
    version: str
    alias: str
    run: str


def find_registered(client: MlflowClient, name: str, aliases: Sequence[str]) -> Registered | None:
    """The version that holds the first of the aliases that any holds; None where none does."""
    from mlflow.exceptions import MlflowException

    for alias in aliases:
        try:
            found = client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
        else:
            return Registered(found.tags["model"], str(found.version), alias, str(found.run_id))
    return None


def find_served(tracking_uri: str, task: str, aliases: Sequence[str]) -> Registered | None:
    """`find_registered` among the models of a task."""
    return find_registered(make_client(tracking_uri), _registered_name(task, "model"), aliases)


def load_served(tracking_uri: str, found: Registered) -> ServedModel:
    """Read a registered version with the models of its folds and its reference."""
    client = make_client(tracking_uri)
    with tempfile.TemporaryDirectory() as target:
        folder = Path(client.download_artifacts(found.run, "model", target))
        model, facts = load_model(folder)
        folds = tuple(load_model(f)[0] for f in sorted(folder.glob("fold_*")))
        return ServedModel(model, folds, _load_reference(folder), facts, found.version, found.alias)


def load_registered(tracking_uri: str, task: str, alias: str) -> tuple[FittedModel, dict[str, Any]]:
    """Read the model that carries the alias among the registered models of a task.

    Raises
    ------
    LookupError
        No version carries it.
    """
    found = find_served(tracking_uri, task, (alias,))
    if found is None:
        raise LookupError(
            f"no model of task {task} carries the alias {alias}; materialise model_runs, "
            "or see the tag promotion_reasons of the newest version"
        )
    served = load_served(tracking_uri, found)
    return served.model, dict(served.facts)


def aliases_held(tracking_uri: str, task: str, aliases: Sequence[str]) -> dict[str, str]:
    """The alias that each run's version holds now, of several the first; by run."""
    client, name = make_client(tracking_uri), _registered_name(task, "model")
    held = (find_registered(client, name, (alias,)) for alias in reversed(aliases))
    return {found.run: found.alias for found in held if found}


def _registered_name(task: str, role: str) -> str:
    return f"response-{task}" if role == "model" else f"response-{task}-{role.replace('_', '-')}"


def _register(model: TrainedModel, context: _Context, run: str, alias: str | None) -> str:
    """Make the run's model a version.

    A negative control goes under a name of its own, where nobody looks for a model.
    """
    from mlflow.exceptions import MlflowException

    name = _registered_name(model.dataset.task.name, _role(model))
    try:
        context.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    alarm = {v.name: v.verdict for v in model.verdicts}
    tags = {
        "model": model.name,
        "snapshot": str(context.snapshot),
        "cohort_digest": model.cohort_digest,
        **alarm,
    }
    version = str(
        context.client.create_model_version(
            name, source=f"runs:/{run}/model", run_id=run, tags=tags
        ).version
    )
    if alias:
        context.client.set_registered_model_alias(name, alias, version)
    return version


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
        "protocol_digest": context.protocol_digest,
        "amendments": context.amendments,
        "snapshot": context.snapshot,
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


def mark_models(tracking_uri: str, runs: Sequence[str]) -> None:
    """Mark runs and versions whose training data held a patient who withdrew consent.

    The versions' aliases are taken away.
    """
    client = make_client(tracking_uri)
    for run in runs:
        client.set_tag(run, WITHDRAWN, "true")
        for found in client.search_model_versions(f"run_id = '{run}'"):
            version = client.get_model_version(
                found.name, str(found.version)
            )  # a search does not tell aliases
            client.set_model_version_tag(version.name, str(version.version), WITHDRAWN, "true")
            for alias in version.aliases:
                client.delete_registered_model_alias(version.name, alias)


def signature(model: TrainedModel) -> dict[str, Any]:
    """What the model takes and gives, by name, block and visits."""
    series = model.dataset.series
    return {
        "columns": [asdict(c) for c in model.dataset.columns],
        "output": "probability of response, 0 to 1",
        "series": {k: list(getattr(series, k)) for k in ("visits", "regions", "features")}
        if series
        else None,
    }


def card_facts(model: TrainedModel, context: _Context, sanity: str) -> dict[str, str]:
    """What the model card and the guidelines' answers are filled in with."""
    entries, data = figures(model, context.trained), model.dataset
    slope = entries.get("calibration_slope")
    gained = "; ".join(
        f"AUC {entries[k]:+.3f} over {k.removeprefix('auc_gain_over_')} (p {entries[f'{k}_p']:.2g})"
        for k in entries
        if f"{k}_p" in entries
    )
    return {
        "name": model.name,
        "task": data.task.name,
        "landmark": data.task.landmark,
        "visits": ", ".join(data.task.visits),
        "label": data.label_definition,
        "kind": model.final.model.kind,
        "blocks": ", ".join(sorted(set(data.feature_blocks))) or "series",
        "n_features": str(len(data.columns)),
        "n_patients": str(data.y.size),
        "n_positive": str(int(data.y.sum())),
        "n_sites": str(len(set(data.sites))),
        "n_folds": str(len(model.cutoffs)),
        "prevalence": f"{data.y.mean():.1%}",
        "predictive_values": _told_predictive_values(model),
        "missing_share": f"{entries.get('missing_share', 0.0):.1%}",
        "snapshot": str(context.snapshot),
        "cohort_digest": model.cohort_digest,
        "protocol_digest": context.protocol_digest,
        "amendments": context.amendments or "",
        "simulated": str(bool(data.simulated.any())).lower(),
        "auc": shown(model.evaluation.auc),
        "brier": f"{entries['brier']:.3f}",
        "calibration_slope": "none" if slope is None else f"{slope:.2f}",
        "final_cutoff": f"{entries['final_cutoff']:.3f}",
        "comparison": gained or "no reference model was compared with it",
        "sanity": sanity,
    }


def _told_predictive_values(model: TrainedModel) -> str:
    """PPV and NPV in the cohort, and in practice or why not."""
    e, found, share = (
        model.evaluation,
        model.appraisal.figures,
        model.appraisal.facts.get(TARGET_PREVALENCE),
    )
    ppv, npv = found["ppv_in_practice"], found["npv_in_practice"]
    cohort = f"in this cohort PPV {shown(e.ppv)}, NPV {shown(e.npv)}"
    if ppv.value is None and npv.value is None:
        return f"{cohort}; in practice not known: {ppv.reason}"
    return (
        f"{cohort}; where {share:.0%} respond, as assumed of practice, "
        f"PPV {shown(ppv)}, NPV {shown(npv)}"
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(
        json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )


def _write_roc(path: Path, model: TrainedModel) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["threshold", "false_positive_rate", "true_positive_rate"])
        writer.writerows(
            [p.threshold, p.false_positive_rate, p.true_positive_rate] for p in model.evaluation.roc
        )
