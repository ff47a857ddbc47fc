"""One training of the baselines, logged once."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from models.evaluation.training import train_baselines
from models.operation import log as log_module
from models.operation.promotion import Look
from models.operation.registry import make_client
from tests.models.cohorts import SECTION
from tests.models.operation.logged import DATA, Log, log


@pytest.fixture(scope="session")
def trained():
    return train_baselines(DATA, SECTION, seed=11)


@pytest.fixture
def fresh(logged, tmp_path) -> Path:
    """A folder with an MLflow store that holds no run.

    It is a copy, since making its tables takes seconds.
    """
    shutil.copy(logged.folder / "empty.db", tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="session")
def logged(trained, tmp_path_factory) -> Log:
    """Logged from an empty working folder, with every network connection refused."""
    folder, elsewhere = tmp_path_factory.mktemp("mlflow"), tmp_path_factory.mktemp("elsewhere")

    def refuse(*_):
        raise AssertionError("a connection was opened")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        patch.setattr(socket.socket, "connect", refuse)
        make_client(f"sqlite:///{folder}/empty.db")
        shutil.copy(folder / "empty.db", folder / "mlflow.db")
        runs = log(trained, folder)
        assert list(elsewhere.iterdir()) == []
    uri = f"sqlite:///{folder}/mlflow.db"
    return Log(folder, uri, runs, make_client(uri))


@pytest.fixture
def looking(monkeypatch):
    """Every training is a registered look that may spend a level."""
    return lambda level: monkeypatch.setattr(log_module, "look_due", lambda *_: Look(1, level))
