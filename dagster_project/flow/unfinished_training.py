"""A training that was killed before its rows were written is undone by whoever comes next.

Otherwise a version that no row describes would be the champion, and a look would be spent on it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from dagster_project.flow.predictions import aliases
from dagster_project.lake.files import write_whole
from dagster_project.lake.tables import MODEL_RUNS
from dagster_project.resources import Lakehouse


def note_registry(lakehouse: Lakehouse, task: str) -> None:
    """Write down what the registry holds of a task, before it is trained."""
    from models.operation.registry_state import read_registry

    state = read_registry(lakehouse.home.mlflow_uri, task, aliases(lakehouse))
    write_whole(_file(lakehouse, task), json.dumps(asdict(state)).encode())


def undo_unfinished(lakehouse: Lakehouse) -> tuple[str, ...]:
    """Put the registry back where a training did not reach model_runs; the tasks it was of."""
    files = _files(lakehouse)
    if not files:
        return ()
    from models.operation.registry_state import RegistryState, restore_registry

    known, undone = frozenset(lakehouse.lake.read(MODEL_RUNS.name)["mlflow_run_id"]), []
    for file in files:
        task = file.stem.partition("-")[2]
        before = RegistryState(**json.loads(file.read_text(encoding="utf-8")))
        if restore_registry(lakehouse.home.mlflow_uri, task, before, known):
            undone.append(task)
        file.unlink()
    return tuple(undone)


def training_is_written(lakehouse: Lakehouse) -> None:
    """The rows are in the table: nothing has to be undone any more."""
    for file in _files(lakehouse):
        file.unlink()


def _file(lakehouse: Lakehouse, task: str) -> Path:
    return lakehouse.home.mlflow / f"unfinished-{task}.json"


def _files(lakehouse: Lakehouse) -> list[Path]:
    pattern = _file(lakehouse, "*")
    return sorted(pattern.parent.glob(pattern.name))
