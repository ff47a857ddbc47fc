"""Migrations in processes of their own, each killed by SIGKILL at a moment of choice.

`python -m tests.lakes.killed` reads homes and moments from its input as JSON, forks a process for
each, one after the other, and prints their exit codes. It imports once what all of them need.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from dagster_project.lake.home import Home
from dagster_project.lake.store import Lake
from tests.conftest import REPOSITORY


class Killed:
    """A connection that ends its process.

    Parameters
    ----------
    statement
        Before the statement of this number, from 1.
    commit, seconds
        Within the COMMIT of this number, from 1, so many seconds after its beginning.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        statement: int = 0,
        commit: int = 0,
        seconds: float = 0.0,
    ) -> None:
        self._connection = connection
        self._statement, self._commit, self._seconds = statement, commit, seconds
        self._statements = self._commits = 0

    def execute(self, statement: str, *parameters: Any) -> duckdb.DuckDBPyConnection:
        self._statements += 1
        if self._statements == self._statement:
            os.kill(os.getpid(), signal.SIGKILL)
        if statement == "COMMIT":
            self._commits += 1
            if self._commits == self._commit:
                threading.Thread(target=_kill_after, args=(self._seconds,)).start()
        return self._connection.execute(statement, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def _kill_after(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def _migrate(root: str, moment: dict[str, Any]) -> None:
    home = Home(Path(root))
    with Lake(home.catalog, home.data) as lake:
        lake._connection = Killed(lake._connection, **moment)
        lake.migrate()


def _forked(root: str, moment: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        _migrate(root, moment)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def migrate_and_kill(cases: Sequence[tuple[Home, dict[str, Any]]]) -> list[int]:
    """Exit codes of the processes: -9 where one was killed, 0 where its moment never came."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.lakes.killed"],
        input=json.dumps([(str(home.root), moment) for home, moment in cases]),
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.stdout.write(json.dumps([_forked(*case) for case in json.load(sys.stdin)]))
