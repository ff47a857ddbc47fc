"""The registered models of a task: their versions, the aliases they hold, and how one is read."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.evaluation.training import TrainedModel
from models.learners.learners import FittedModel
from models.operation.card import ROLES, role
from models.operation.files import load_model, load_reference
from models.operation.prediction import ServedModel

if TYPE_CHECKING:
    from mlflow import MlflowClient

WITHDRAWN = "learnt_from_withdrawn"
"""Tag of runs and versions whose training data held a patient who has withdrawn consent since."""

LOOK = "promotion_look"
"""Tag of a registered model: the number of the last look at its candidates."""


def looks_taken(client: MlflowClient, name: str) -> int:
    """Number of the last look at a task's candidates.

    It is on the registered model, since a version may be removed.
    """
    return int(client.get_registered_model(name).tags.get(LOOK, 0))


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
    return find_registered(make_client(tracking_uri), registered_name(task), aliases)


def load_served(tracking_uri: str, found: Registered) -> ServedModel:
    """Read a registered version with the models of its folds and its reference."""
    client = make_client(tracking_uri)
    with tempfile.TemporaryDirectory() as target:
        folder = Path(client.download_artifacts(found.run, "model", target))
        model, facts = load_model(folder)
        folds = tuple(load_model(f)[0] for f in sorted(folder.glob("fold_*")))
        return ServedModel(model, folds, load_reference(folder), facts, found.version, found.alias)


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
    client, name = make_client(tracking_uri), registered_name(task)
    held = (find_registered(client, name, (alias,)) for alias in reversed(aliases))
    return {found.run: found.alias for found in held if found}


def registered_name(task: str, role: str = ROLES[0]) -> str:
    """Name of the registered model that holds a task's models, or its negative controls."""
    return f"response-{task}" if role == ROLES[0] else f"response-{task}-{role.replace('_', '-')}"


_DESCRIPTIONS = {
    ROLES[0]: (
        "Models that predict from the CTs up to {t.landmark}: {t.label}. For research: none "
        "decides a treatment. The alias names the version whose predictions the lake holds."
    ),
    ROLES[1]: "Negative controls of the models of {t.name}: no model to use.",
}
"""Descriptions of registered models, by role."""


def register_version(
    client: MlflowClient, model: TrainedModel, snapshot: int, run: str, alias: str | None
) -> str:
    """Make the run's model a version.

    A negative control goes under a name of its own, where nobody looks for a model.
    """
    from mlflow.exceptions import MlflowException

    name, task = registered_name(model.dataset.task.name, role(model)), model.dataset.task
    try:
        client.create_registered_model(name, description=_DESCRIPTIONS[role(model)].format(t=task))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    alarm = {v.name: v.verdict for v in model.verdicts}
    tags = {
        "model": model.name,
        "snapshot": str(snapshot),
        "cohort_digest": model.cohort_digest,
        **alarm,
    }
    version = str(
        client.create_model_version(
            name,
            source=f"runs:/{run}/model",
            run_id=run,
            tags=tags,
            description=(
                f"{model.name}, trained on {len(model.dataset.y)} patients of snapshot {snapshot}; "
                "figures, card and curves are in its run."
            ),
        ).version
    )
    if alias:
        client.set_registered_model_alias(name, alias, version)
    return version


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
