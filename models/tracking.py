"""The log of every model: one MLflow run each, with snapshot, gate, figures and a model that is tensors and plain facts."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dagster_project.domain.quality import Verdict
from dagster_project.lake.schema import conform
from dagster_project.lake.tables import MODEL_RUNS
from models.baselines import LinearModel
from models.boosting import BoostedModel
from models.calibration import calibration, calibration_curve, net_benefit, pool_sites
from models.evaluation import Estimate, auc_delong
from models.explanation import importance
from models.fusion import FusionModel
from models.harmonised import HarmonisedModel
from models.learners import FittedModel, Section
from models.networks import NetworkModel
from models.promotion import judge_promotion
from models.training import TrainedModel, best_model, gains

if TYPE_CHECKING:
    from mlflow import MlflowClient

KINDS = {kind.kind: kind for kind in (LinearModel, BoostedModel, NetworkModel, FusionModel, HarmonisedModel)}
"""Classes that a stored model can be read into, by the `kind` in its config.json."""

TENSORS, CONFIG = "model.safetensors", "config.json"
"""The two files of a stored model."""

WITHDRAWN = "learnt_from_withdrawn"
"""Tag of runs and versions whose training data held a patient who has withdrawn consent since."""

THRESHOLDS = tuple(t / 20 for t in range(1, 20))
"""Probabilities at which the decision curve asks what acting would gain."""

USER = "lakehouse"
"""Said to be the author of every run: no account name of the machine is logged."""


class GateClosedError(RuntimeError):
    """Models were handed over together with a cohort rule that closes the gate."""

    def __init__(self, closed: Sequence[Verdict]) -> None:
        shown = "; ".join(f"{v.rule} at {v.scope}: {v.verdict}, figure {v.figure}, limit {v.limit}" for v in closed)
        super().__init__(f"the gate is closed, so nothing is logged: {shown}. Train from training_cohort, which evaluates the gate first")


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
    parent: str = ""


def log_models(trained: Sequence[TrainedModel], *, tracking_uri: str, artifact_root: Path, snapshot: int, verdicts: Sequence[Verdict],
               protocol_digest: str, alias: str, trained_at: datetime | None = None, section: Section | None = None) -> pl.DataFrame:
    """Log every model as a run and a registered version; the rows of model_runs.

    1. A cohort rule that failed or could not be evaluated stops everything, since nothing may be trained behind a closed gate.
    2. Each model becomes one run of the experiment of its task, and one version of the registered model of its task.
    3. The alias goes to the version of `best_model`. A raised leakage alarm is written on run and version, and stops nothing.
    4. All are nested in one run of the training, and each holds one run a fold.
    5. Where `section` is given, the rule of `models.promotion` says whether that version becomes the champion; the reasons are tags.

    Parameters
    ----------
    tracking_uri : str
        Such as sqlite:////srv/lakehouse/mlflow/mlflow.db; its folder must exist, or be a parent of `artifact_root`.
    artifact_root : Path
        Folder of the artifacts.
    snapshot : int
        Snapshot of the lake that the cohort was read from.
    trained_at : datetime, optional
        UTC; now where it is not given.

    Raises
    ------
    GateClosedError
        Rule 1.
    """
    closed = [v for v in verdicts if v.kind == "cohort" and v.verdict in {"fail", "cannot_evaluate"}]
    if closed:
        raise GateClosedError(closed)
    artifact_root.mkdir(parents=True, exist_ok=True)
    client = _client(tracking_uri)
    context = _Context(
        client=client, experiment=_experiment(client, f"lakehouse-{trained[0].dataset.task.name}", artifact_root), snapshot=snapshot,
        protocol_digest=protocol_digest, verdicts=tuple(asdict(v) for v in verdicts),
        trained_at=trained_at or datetime.now(UTC), trained=tuple(trained), alias=alias)
    with _run("training", _shared_tags(context), context) as parent:
        nested = replace(context, parent=parent)
        rows = [_log_model(model, nested) for model in trained]
        if section is not None:
            _promote(rows, nested, section)
    return conform(pl.DataFrame(rows, infer_schema_length=None), MODEL_RUNS)


def _promote(rows: Sequence[Mapping[str, Any]], context: _Context, section: Section) -> None:
    """Give the champion's alias to the candidate where the protocol's rule allows it; say why not on version and training."""
    candidates = [(m, r) for m, r in zip(context.trained, rows, strict=True) if r["alias"]]
    if not candidates:
        return
    (model, row), name = candidates[0], _registered_name(context.trained[0].dataset.task.name, "model")
    found = judge_promotion(model, context.trained, _champion_auc(context.client, name, section["champion_alias"]), section)
    reasons = "; ".join(found.reasons) or "every condition is met"
    for key, value in (("promotion", found.verdict), ("promotion_reasons", reasons)):
        context.client.set_model_version_tag(name, row["model_version"], key, value)
        context.client.set_tag(context.parent, key, value)
    if found.promoted:
        context.client.set_registered_model_alias(name, section["champion_alias"], row["model_version"])


def _champion_auc(client: MlflowClient, name: str, alias: str) -> float | None:
    """The AUC logged for the present champion; None where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_model_version_by_alias(name, alias)
    except MlflowException:
        return None
    return client.get_run(str(version.run_id)).data.metrics.get("auc")


def _client(tracking_uri: str) -> MlflowClient:
    """A client of this store alone: no global state, no tags taken from git, host or account, no telemetry."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _experiment(client: MlflowClient, name: str, artifact_root: Path) -> str:
    """The experiment of that name, made where there is none.

    An experiment keeps its first artifact folder for ever. One that was made elsewhere (the home folder has moved since) is left as
    it is, and a new one carries the digest of the folder behind its name.
    """
    location = artifact_root.resolve().as_uri()
    for candidate in (name, f"{name}-{hashlib.sha256(location.encode()).hexdigest()[:8]}"):
        found = client.get_experiment_by_name(candidate)
        if found is None:
            return client.create_experiment(candidate, artifact_location=location)
        if found.artifact_location == location and found.lifecycle_stage == "active":
            return found.experiment_id
    raise RuntimeError(f"MLflow's experiment {candidate} was deleted; restore it with `mlflow experiments restore`, or start a new MLflow store")


def _log_model(model: TrainedModel, context: _Context) -> dict[str, Any]:
    with _run(model.name, _tags(model, context), context) as run, tempfile.TemporaryDirectory() as folder:
        _write_artifacts(Path(folder), model, context)
        context.client.log_artifacts(run, folder)
        context.client.log_batch(run, metrics=_metric_entities(model, context), params=_param_entities(model))
        _log_folds(model, replace(context, parent=run))
    alias = context.alias if model is best_model(context.trained) else None
    return _row(model, context, run, _register(model, context, run, alias), alias)


@contextmanager
def _run(name: str, tags: Mapping[str, str], context: _Context) -> Iterator[str]:
    """A run, nested in the context's parent, that ends FINISHED, or FAILED where the body raises."""
    start = int(context.trained_at.timestamp() * 1000)
    run = context.client.create_run(context.experiment, run_name=name, start_time=start,
                                    tags={**tags, **({"mlflow.parentRunId": context.parent} if context.parent else {})})
    try:
        yield run.info.run_id
    except BaseException:
        context.client.set_terminated(run.info.run_id, status="FAILED")
        raise
    context.client.set_terminated(run.info.run_id)


def _log_folds(model: TrainedModel, context: _Context) -> None:
    """One run a fold: its AUC where it has both classes, its cut-off and its patients."""
    from mlflow.entities import Metric

    moment = int(context.trained_at.timestamp() * 1000)
    for k, cutoff in enumerate(model.cutoffs):
        held = model.fold == k
        auc = auc_delong(model.dataset.y[held], model.probabilities[held]).value
        told = {"auc": auc, "cutoff": float(cutoff), "n_patients": float(held.sum()), "n_positive": float(model.dataset.y[held].sum())}
        with _run(f"{model.name} fold {k}", {"mlflow.user": USER, "role": "fold", "fold": str(k)}, context) as run:
            context.client.log_batch(run, metrics=[Metric(n, v, moment, 0) for n, v in told.items() if v is not None])


def _shared_tags(context: _Context) -> dict[str, str]:
    """Tags of the training and of each of its models."""
    kinds = [v["verdict"] for v in context.verdicts if v["kind"] == "cohort"]
    return {
        "mlflow.user": USER, "snapshot": str(context.snapshot), "protocol_digest": context.protocol_digest,
        "cohort_digest": context.trained[0].cohort_digest, "gate": "open",
        "gate_rules": f"{len(kinds)} cohort rules, {kinds.count('warn')} warnings",
    }


def _tags(model: TrainedModel, context: _Context) -> dict[str, str]:
    return {
        **_shared_tags(context), "role": _role(model),
        "simulated": str(bool(model.dataset.simulated.any())).lower(), "label": model.dataset.label_definition,
        **{v.name: v.verdict for v in model.verdicts}, **{f"{v.name}_detail": v.detail for v in model.verdicts},
    }


def _role(model: TrainedModel) -> str:
    return "negative_control" if model.negative_control else "model"


def _metric_entities(model: TrainedModel, context: _Context) -> list[Any]:
    from mlflow.entities import Metric

    moment = int(context.trained_at.timestamp() * 1000)
    curve = [Metric("final_training_loss", value, moment, step) for step, value in enumerate(model.final.curve)]
    return [*(Metric(name, value, moment, 0) for name, value in figures(model, context.trained).items()), *curve]


def figures(model: TrainedModel, trained: Sequence[TrainedModel]) -> dict[str, float]:
    """The model's figures by name; those that cannot exist are left out, evaluation.json says why."""
    estimates = {name: getattr(model.evaluation, name) for name in ("auc", "sensitivity", "specificity", "accuracy")}
    estimates |= {f"auc_site_{site}": auc for site, auc in model.evaluation.auc_by_site.items()}
    bounds = {f"{name}{end}": getattr(e, part) for name, e in estimates.items()
              for end, part in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))}
    intercept, slope = calibration(model.dataset.y, model.probabilities)
    pooled = pool_sites(model.dataset.y, model.probabilities, model.dataset.sites)
    rest = {"brier": model.evaluation.brier, "calibration_intercept": intercept, "calibration_slope": slope,
            "auc_sites_pooled": pooled.auc.value, "auc_sites_i2": pooled.i2, "cutoff": float(model.cutoffs.mean()), "final_cutoff": model.final.cutoff,
            "missing_share": _missing_share(model), **gains(model, trained),
            **{f"control_auc_{t.name}": t.auc for t in trained if t.negative_control and t is not model}}
    return {name: float(value) for name, value in {**bounds, **rest}.items() if value is not None}


def _missing_share(model: TrainedModel) -> float:
    return float(np.isnan(model.dataset.X).mean())


def _param_entities(model: TrainedModel) -> list[Any]:
    from mlflow.entities import Param

    facts = {
        "task": model.dataset.task.name, "landmark": model.dataset.task.landmark, "model": model.name, "kind": model.final.model.kind,
        "blocks": ",".join(sorted(set(model.dataset.feature_blocks))), "n_patients": model.dataset.y.size,
        "n_positive": int(model.dataset.y.sum()), "n_features": len(model.dataset.columns), "n_folds": len(model.cutoffs),
        **{f"final_{name}": value for name, value in model.final.chosen.items()},
    }
    return [Param(name, str(value)) for name, value in facts.items()]


def _write_artifacts(folder: Path, model: TrainedModel, context: _Context) -> None:
    """model/, model_card.md, the curves, evaluation.json, attributions and gate_verdicts.json; none of them names a patient."""
    save_model(folder / "model", model.final.model, model_facts(model, context.snapshot, context.protocol_digest))
    _write_roc(folder / "roc.csv", model)
    (folder / "roc.png").write_bytes(_roc_png(model))
    evaluation = {k: v for k, v in asdict(model.evaluation).items() if k != "roc"}
    _write_json(folder / "evaluation.json", {**evaluation, "verdicts": [asdict(v) for v in model.verdicts], "cutoffs": model.cutoffs.tolist()})
    y, p = model.dataset.y, model.probabilities
    _write_json(folder / "calibration.json", {"curve": calibration_curve(y, p), "net_benefit": net_benefit(y, p, THRESHOLDS)})
    _write_json(folder / "signature.json", signature(model))
    (folder / "model_card.md").write_text(model_card(model, context.trained, context.snapshot), encoding="utf-8")
    if isinstance(model.final.model, NetworkModel):
        _write_json(folder / "attributions.json", importance(model.final.model, model.dataset))
    _write_json(folder / "gate_verdicts.json", {"snapshot": context.snapshot, "verdicts": list(context.verdicts)})


def model_facts(model: TrainedModel, snapshot: int, protocol_digest: str) -> dict[str, Any]:
    """What someone who finds the two files must know to use them."""
    task = model.dataset.task
    return {"name": model.name, "role": _role(model), "task": task.name, "visits": list(task.visits), "landmark": task.landmark,
            "label": model.dataset.label_definition, "cutoff": model.final.cutoff, "cohort_digest": model.cohort_digest,
            "protocol_digest": protocol_digest, "snapshot": snapshot, "simulated": bool(model.dataset.simulated.any())}


def save_model(folder: Path, model: FittedModel, facts: Mapping[str, Any]) -> None:
    """Write model.safetensors and config.json; nothing that could run code when it is read."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(values) for name, values in model.tensors().items()}, folder / TENSORS)
    _write_json(folder / CONFIG, {"kind": model.kind, **facts, "model": model.config()})


def load_model(folder: Path) -> tuple[FittedModel, dict[str, Any]]:
    """Read a stored model and its facts; its probabilities are those of the model that was saved, to the last bit."""
    from safetensors.numpy import load_file

    facts = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if facts["kind"] not in KINDS:
        raise ValueError(f"{CONFIG} names the kind {facts['kind']}, known are {', '.join(KINDS)}; read it with the version that wrote it")
    return KINDS[facts["kind"]].from_tensors(load_file(folder / TENSORS), facts["model"]), facts


def load_registered(tracking_uri: str, task: str, alias: str) -> tuple[FittedModel, dict[str, Any]]:
    """Read the model that carries the alias among the registered models of a task."""
    client = _client(tracking_uri)
    version = client.get_model_version_by_alias(_registered_name(task, "model"), alias)
    with tempfile.TemporaryDirectory() as folder:
        return load_model(Path(client.download_artifacts(str(version.run_id), "model", folder)))


def _registered_name(task: str, role: str) -> str:
    return f"response-{task}" if role == "model" else f"response-{task}-{role.replace('_', '-')}"


def _register(model: TrainedModel, context: _Context, run: str, alias: str | None) -> str:
    """Make the run's model a version; a negative control goes under a name of its own, where nobody looks for a model."""
    from mlflow.exceptions import MlflowException

    name = _registered_name(model.dataset.task.name, _role(model))
    try:
        context.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    alarm = {v.name: v.verdict for v in model.verdicts}
    tags = {"model": model.name, "snapshot": str(context.snapshot), "cohort_digest": model.cohort_digest, **alarm}
    version = str(context.client.create_model_version(name, source=f"runs:/{run}/model", run_id=run, tags=tags).version)
    if alias:
        context.client.set_registered_model_alias(name, alias, version)
    return version


def _row(model: TrainedModel, context: _Context, run: str, version: str, alias: str | None) -> dict[str, Any]:
    e, data = model.evaluation, model.dataset
    return {
        "task": data.task.name, "model": model.name, "model_version": version, "mlflow_run_id": run, "alias": alias,
        "n_patients": data.y.size, "n_positive": int(data.y.sum()), "n_features": len(data.columns),
        "auc": e.auc.value, "auc_lower": e.auc.lower, "auc_upper": e.auc.upper, "sensitivity": e.sensitivity.value,
        "specificity": e.specificity.value, "accuracy": e.accuracy.value, "brier": e.brier, "cutoff": float(model.cutoffs.mean()),
        "cohort_digest": model.cohort_digest, "protocol_digest": context.protocol_digest, "snapshot": context.snapshot,
        "trained_at": context.trained_at, "simulated": bool(data.simulated.any()),
    }


def mark_models(tracking_uri: str, runs: Sequence[str]) -> None:
    """Write on runs and versions that somebody of their training data withdrew consent, and take their aliases away."""
    client = _client(tracking_uri)
    for run in runs:
        client.set_tag(run, WITHDRAWN, "true")
        for version in client.search_model_versions(f"run_id = '{run}'"):
            client.set_model_version_tag(version.name, str(version.version), WITHDRAWN, "true")
            for alias in version.aliases:
                client.delete_registered_model_alias(version.name, alias)


def signature(model: TrainedModel) -> dict[str, Any]:
    """What the model takes and gives, by name, block and visits."""
    series = model.dataset.series
    return {"columns": [asdict(c) for c in model.dataset.columns], "output": "probability of response, 0 to 1",
            "series": {k: list(getattr(series, k)) for k in ("visits", "regions", "features")} if series else None}


def model_card(model: TrainedModel, trained: Sequence[TrainedModel], snapshot: int) -> str:
    """The model card, and TRIPOD+AI, CLEAR and METRICS items that its facts answer; what is not done is said as such."""
    told, data = figures(model, trained), model.dataset
    rows = [
        ("TRIPOD+AI 5, CLEAR 7", "data", f"snapshot {snapshot}, cohort {model.cohort_digest}, {len(set(data.sites))} hospitals"),
        ("TRIPOD+AI 8", "outcome", data.label_definition),
        ("TRIPOD+AI 9, CLEAR 30", "predictors", f"{len(data.columns)} columns, visits {', '.join(data.task.visits)}; none later"),
        ("TRIPOD+AI 10", "sample size", f"{data.y.size} patients, {int(data.y.sum())} responders"),
        ("TRIPOD+AI 11", "missing data", f"{told['missing_share']:.1%} of values, filled in within training folds"),
        ("TRIPOD+AI 12, METRICS 18", "validation", f"{len(model.cutoffs)} outer folds by patient, inner folds for every choice"),
        ("TRIPOD+AI 23", "performance", f"AUC {_shown(model.evaluation.auc)}, Brier {told['brier']:.3f}, calibration slope {told.get('calibration_slope', 'none')}"),
        ("CLEAR 45, METRICS 24", "comparison", "; ".join(f"{k} {v:.3f}" for k, v in told.items() if k.startswith("auc_gain")) or "none"),
        ("METRICS 27", "external validation", "not done"), ("TRIPOD+AI 14", "fairness across groups", "sites only; other groups not done"),
        ("TRIPOD+AI 18d", "protocol", "the digest is a tag of the run"),
    ]
    table = "\n".join(f"| {item} | {what} | {answer} |" for item, what, answer in rows)
    warning = "Trained on simulated data: it says nothing of patients.\n\n" if data.simulated.any() else ""
    return f"# {model.name}, task {data.task.name}\n\n{warning}For research; no medical device.\n\n| item | what | answer |\n|---|---|---|\n{table}\n"


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _write_roc(path: Path, model: TrainedModel) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["threshold", "false_positive_rate", "true_positive_rate"])
        writer.writerows([p.threshold, p.false_positive_rate, p.true_positive_rate] for p in model.evaluation.roc)


def _roc_png(model: TrainedModel) -> bytes:
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="1 − specificity", ylabel="Sensitivity", title=f"{model.name}, task {model.dataset.task.name}", aspect="equal")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    curve = [(p.false_positive_rate, p.true_positive_rate) for p in model.evaluation.roc]
    axes.plot(*zip(*curve, strict=True), label=f"out of fold, AUC {_shown(model.evaluation.auc)}")
    axes.legend(loc="lower right", frameon=False)
    target = io.BytesIO()
    FigureCanvasAgg(figure).print_png(target)
    return target.getvalue()


def _shown(estimate: Estimate) -> str:
    if estimate.value is None or estimate.lower is None:
        return "–" if estimate.value is None else f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.lower:.3f}–{estimate.upper:.3f})"
