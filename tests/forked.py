"""Commands in processes of their own, each forked from one that has imported what they need.

A signal comes to such a process when it calls a function for the first time. Python would take
longer to import the flow than most of them live.

`python -m tests.forked` reads commands from its input as lines of JSON, forks a process for each,
one after the other, and prints their exit codes.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster_project.intake.vault.audit_words import program_words

PLACES = {
    "Lake": "dagster_project.lake.store:Lake",
    "run": "dagster_project.commands.run",
    "vault": "dagster_project.intake.vault.vault",
    "withdrawal": "dagster_project.flow.withdrawal",
}
"""Modules, and classes in them, at whose functions a signal may come."""

IMPORTED = ("dagster_project.cli", "dagster_project.definitions", "models.operation.log")
"""What a command imports besides."""


class Commands:
    """The process from which commands are forked."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def signalled(
        self,
        number: signal.Signals,
        place: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
    ) -> tuple[int, str]:
        """Exit code and output of a command to which a signal comes at a place."""
        asked = {
            "number": int(number),
            "place": place,
            "arguments": list(arguments),
            "environment": dict(environment),
            "output": str(output),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(asked)}\n")
        self._process.stdin.flush()
        code = json.loads(self._process.stdout.readline())
        return code, output.read_text(encoding="utf-8")


@contextmanager
def commands() -> Iterator[Commands]:
    """Commands until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.forked"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as process:
        yield Commands(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    for name in (*IMPORTED, *(place.partition(":")[0] for place in PLACES.values())):
        importlib.import_module(name)
    sys.modules["checks.expectations"].library()
    program_words()
    assert threading.active_count() == 1, "a fork has the thread alone that forks"
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(asked: dict[str, Any]) -> None:
    """Be the process of a command, as its own interpreter would be."""
    os.environ.clear()
    os.environ.update(asked["environment"])
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(target, stream)
    place, _, name = asked["place"].rpartition(".")
    module, _, inner = PLACES[place].partition(":")
    _signal_at(
        getattr(sys.modules[module], inner) if inner else sys.modules[module], name, asked["number"]
    )
    from dagster_project.cli import main

    code: str | int | None = 0
    try:
        main(asked["arguments"])
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # libraries that were imported before the fork may fall over while the interpreter is taken down
    os._exit(code if isinstance(code, int) else int(code is not None))


def _signal_at(place: Any, name: str, number: int) -> None:
    own = getattr(place, name)

    def instead(*arguments: Any, **named: Any) -> Any:
        os.kill(os.getpid(), number)
        return own(*arguments, **named)

    setattr(place, name, instead)


if __name__ == "__main__":
    _serve()
