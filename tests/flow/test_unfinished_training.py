"""A training that is killed before its rows are written leaves the registry as it found it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dagster_project.flow.unfinished_training import (
    note_registry,
    training_is_written,
    undo_unfinished,
)
from dagster_project.flow.withdrawal import mark_learnt
from dagster_project.lake.tables import MODEL_RUNS
from dagster_project.resources import Lakehouse
from models.operation.card import ROLES
from models.operation.registry import LOOK, make_client, mark_models, registered_name
from tests.domain.records import table

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CANDIDATE = "champion", "candidate"
MODEL, CONTROL = (registered_name("T1", role) for role in ROLES)


@pytest.fixture(autouse=True)
def _random_numbers_stay() -> Iterator[None]:
    """MLflow draws names of runs from Python's random numbers."""
    drawn = random.getstate()
    yield
    random.setstate(drawn)


@pytest.fixture
def lakehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    for name in ("LAKEHOUSE_DATA", "LAKEHOUSE_CATALOG"):
        monkeypatch.delenv(name, raising=False)
    found = Lakehouse(root=str(tmp_path / "home"))
    found.home.make()
    return found


@pytest.fixture
def client(lakehouse: Lakehouse) -> MlflowClient:
    made = make_client(lakehouse.home.mlflow_uri)
    made.create_experiment("T1", artifact_location=str(lakehouse.home.mlflow / "artifacts"))
    for name in (MODEL, CONTROL):
        made.create_registered_model(name)
    return made


def _train(client: MlflowClient, look: int) -> str:
    """What a training does to the registry; the run of its model."""
    run = client.create_run(client.get_experiment_by_name("T1").experiment_id).info.run_id
    source, tags = f"runs:/{run}/model", {"model": "delta"}
    model, _ = (
        client.create_model_version(name, source, run, tags=tags).version
        for name in (MODEL, CONTROL)
    )
    for alias in (CHAMPION, CANDIDATE):
        client.set_registered_model_alias(MODEL, alias, model)
    client.set_registered_model_tag(MODEL, LOOK, str(look))
    return run


def _write(lakehouse: Lakehouse, *runs: str) -> None:
    """The rows that end a training."""
    rows = table(MODEL_RUNS.name, *({"task": "T1", "mlflow_run_id": run} for run in runs))
    lakehouse.lake.replace(MODEL_RUNS.name, rows)


def _held(client: MlflowClient) -> tuple[dict[str, str], str | None, list[list[str]]]:
    model = client.get_registered_model(MODEL)
    versions = [
        sorted(str(v.version) for v in client.search_model_versions(f"name='{name}'"))
        for name in (MODEL, CONTROL)
    ]
    return {a: str(v) for a, v in model.aliases.items()}, model.tags.get(LOOK), versions


def test_versions_aliases_and_look_are_as_before_and_the_look_can_be_taken(
    lakehouse: Lakehouse, client: MlflowClient
) -> None:
    _write(lakehouse, _train(client, 1))
    before = _held(client)
    note_registry(lakehouse, "T1")
    _train(client, 2)
    assert _held(client) != before
    assert undo_unfinished(lakehouse) == ("T1",)
    assert _held(client) == before
    assert undo_unfinished(lakehouse) == ()


def test_the_first_training_of_a_task_leaves_no_alias_and_no_look(
    lakehouse: Lakehouse, client: MlflowClient
) -> None:
    note_registry(lakehouse, "T1")
    _train(client, 1)
    assert undo_unfinished(lakehouse) == ("T1",)
    assert _held(client) == ({}, None, [[], []])


@pytest.mark.parametrize("noted", [True, False])
def test_a_training_whose_rows_are_written_stays(
    lakehouse: Lakehouse, client: MlflowClient, noted: bool
) -> None:
    note_registry(lakehouse, "T1")
    _write(lakehouse, _train(client, 1))
    if noted:
        training_is_written(lakehouse)
    before = _held(client)
    assert undo_unfinished(lakehouse) == ()
    assert _held(client) == before


def test_an_alias_does_not_go_back_to_a_version_that_was_withdrawn_since(
    lakehouse: Lakehouse, client: MlflowClient
) -> None:
    first = _train(client, 1)
    _write(lakehouse, first)
    note_registry(lakehouse, "T1")
    _train(client, 2)
    mark_models(lakehouse.home.mlflow_uri, [first])
    assert undo_unfinished(lakehouse) == ("T1",)
    assert _held(client) == ({}, "1", [["1"], ["1"]])


def test_a_withdrawal_finds_a_model_that_no_row_describes(
    lakehouse: Lakehouse, client: MlflowClient
) -> None:
    note_registry(lakehouse, "T1")
    _train(client, 1)
    mark_learnt(lakehouse, [])
    assert _held(client) == ({}, None, [[], []])
