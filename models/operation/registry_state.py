"""The registry before a training, to which one that was cut short is put back.

MLflow writes versions, aliases and looks at once; the table model_runs has its rows when all tasks
are trained.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.operation.card import ROLES
from models.operation.registry import LOOK, WITHDRAWN, find_registered, make_client, registered_name

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class RegistryState:
    """Versions by registered model of a task, the version by alias, and the tag of the last look.

    Negative controls are a registered model of their own, which holds no alias.
    """

    versions: Mapping[str, Sequence[str]]
    aliases: Mapping[str, str]
    look: str | None


def read_registry(tracking_uri: str, task: str, aliases: Sequence[str]) -> RegistryState:
    """What the registry holds of a task now."""
    client, name = make_client(tracking_uri), registered_name(task)
    names = [registered_name(task, role) for role in ROLES]
    held = {alias: find_registered(client, name, (alias,)) for alias in aliases}
    models = client.search_registered_models(f"name='{name}'")
    return RegistryState(
        {n: _versions(client, n) for n in names},
        {alias: found.version for alias, found in held.items() if found},
        models[0].tags.get(LOOK) if models else None,
    )


def _versions(client: MlflowClient, name: str) -> list[str]:
    return [str(v.version) for v in client.search_model_versions(f"name='{name}'")]


def restore_registry(
    tracking_uri: str, task: str, before: RegistryState, known: Collection[str]
) -> bool:
    """Undo a training whose runs are not known to the table model_runs; whether there was one.

    1. An alias that one of its versions holds goes back to the version that held it, if that has
       not been withdrawn since.
    2. A look that it took is given back: nobody saw what came of it.
    3. Its versions are deleted. Their runs stay in MLflow, as what was tried.
    """
    client, name = make_client(tracking_uri), registered_name(task)
    found = [v for n in before.versions for v in client.search_model_versions(f"name='{n}'")]
    left = [
        v for v in found if str(v.version) not in before.versions[v.name] and v.run_id not in known
    ]
    if not left:
        return False
    usable = {str(v.version) for v in found if v.name == name and WITHDRAWN not in v.tags}
    moved = {str(v.version) for v in left if v.name == name}
    for alias, version in client.get_registered_model(name).aliases.items():
        if str(version) not in moved:
            continue
        client.delete_registered_model_alias(name, alias)
        if before.aliases.get(alias) in usable:
            client.set_registered_model_alias(name, alias, before.aliases[alias])
    if before.look is not None:
        client.set_registered_model_tag(name, LOOK, before.look)
    elif LOOK in client.get_registered_model(name).tags:
        client.delete_registered_model_tag(name, LOOK)
    for version in left:
        client.delete_model_version(version.name, str(version.version))
    return True
