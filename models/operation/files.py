"""The files of a run: the model as tensors and plain facts, its card, curves and evaluation.

None of them names a patient, and none could run code when it is read.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from models.evaluation.curves import PICTURES, curves, sanity_png
from models.evaluation.explanation import importance
from models.evaluation.sanity import SanityCheck, judge_attributions
from models.evaluation.training import TrainedModel
from models.evaluation.training_distribution import TrainingDistribution
from models.learners.baselines import LinearModel
from models.learners.boosting import BoostedModel
from models.learners.fusion import StackModel
from models.learners.harmonised import HarmonisedModel
from models.learners.learners import FittedModel
from models.learners.networks import NetworkModel
from models.operation.card import TrainingRecord, card_facts, role, signature
from models.operation.environment import describe_environment
from models.operation.reporting import answer_items, model_card, write_items

KINDS = {
    kind.kind: kind
    for kind in (LinearModel, BoostedModel, NetworkModel, StackModel, HarmonisedModel)
}
"""Classes that a stored model can be read into, by the `kind` in its config.json."""

TENSORS, CONFIG = "model.safetensors", "config.json"
"""The two files of a stored model."""

REFERENCE = "reference.safetensors"
"""Means and deviations of the training patients, beside them."""


def write_artifacts(folder: Path, model: TrainedModel, record: TrainingRecord) -> None:
    """Write the files of a run, none of which names a patient.

    They are the model, its card and guidelines, pictures, curves, evaluation, appraisal,
    attributions, signature, gate and environment.
    """
    save_trained(
        folder / "model", model, model_facts(model, record.snapshot, record.protocol_digest)
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
        {"snapshot": record.snapshot, "verdicts": list(record.verdicts)},
    )
    facts = card_facts(model, record, write_attributions(folder, model, record.checks))
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


def write_attributions(folder: Path, model: TrainedModel, checks: Mapping[str, SanityCheck]) -> str:
    """Write a model's attributions, and give the verdict on them in words.

    Of a network: importance, stability over seeds, and the check by shuffling. Of a stack: the
    check of the networks it leans on.
    """
    network, rests_on = (
        model.final.model,
        judge_attributions(model.name, model.final.model, checks),
    )
    entries: dict[str, Any] = (
        importance(network, model.dataset) if isinstance(network, NetworkModel) else {}
    )
    if check := checks.get(model.name):
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
        "role": role(model),
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


def load_reference(folder: Path) -> TrainingDistribution:
    """Means and deviations of the patients whom the stored model was trained on."""
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
