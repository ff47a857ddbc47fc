"""Parses files in a child process with limits on memory and time.

A few bytes can declare gigabytes, or never end.
"""

from __future__ import annotations

import logging
import os
import pickle
import resource
import select
import struct
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from dagster_project.intake.identity.session import Session
from dagster_project.intake.opening import LARGEST_FILE
from dagster_project.intake.vault.process_file import TOO_MUCH, Outcome, Task, take_file

MOST_MEMORY = LARGEST_FILE
"""Bytes beyond what the child needs to start."""

LARGEST_WRITTEN = 2 * LARGEST_FILE
"""Bytes of a file that the child may write: some megabytes of archive can unpack to a full disk."""

SECONDS_A_FILE = 120.0
"""A whole chest segmentation takes about two."""

IDLE_SECONDS = 60.0
"""A child without requests ends by itself, and the keys with it."""

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[3])
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Batch:
    """Outcomes in the order of the tasks; actions on their elements, counted by action and tag."""

    outcomes: tuple[Outcome, ...]
    actions: Counter[tuple[str, str]]


def take_files(session: Session, tasks: Sequence[Task]) -> Batch:
    """Take a batch of files through this process's child.

    It is picklable, so that any executor can map it.
    """
    outcomes: list[Outcome] = []
    actions: Counter[tuple[str, str]] = Counter()
    with _LOCK:
        _CHILD.serve(session)
        for task in tasks:
            outcome = _CHILD.take(task)
            actions.update(outcome.actions)
            outcomes.append(replace(outcome, actions={}))
    return Batch(tuple(outcomes), actions)


def close_child() -> None:
    """End this process's child, and with it the keys that it holds."""
    with _LOCK:
        _CHILD.close()


class ReadingProcess:
    """A child process that takes one file after the other.

    A file that kills or hangs it is refused, and the next file gets a new child.
    """

    def __init__(self, *, seconds: float = SECONDS_A_FILE, memory: int = MOST_MEMORY) -> None:
        self._seconds, self._memory = seconds, memory
        self._process: subprocess.Popen[bytes] | None = None
        self._session: Session | None = None
        self._told: Session | None = None

    def serve(self, session: Session) -> None:
        """The session of the files that follow."""
        self._session = session

    def take(self, task: Task) -> Outcome:
        """The outcome of one file."""
        for _ in range(2):
            process = self._running()
            answer = self._asked(process, task)
            if answer is not None:
                return answer
            if process.poll() != 0:  # 0: it had gone idle just before it was asked
                break
        return self._given_up(task)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            environment = {
                **os.environ,
                "PYTHONPATH": _PACKAGE_ROOT,
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            }
            # a group of its own: a Ctrl-C at the terminal is no fault of the file in hand
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dagster_project.intake.vault.sandbox"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
            self._told = None
        return self._process

    def _asked(self, process: subprocess.Popen[bytes], task: Task) -> Outcome | None:
        try:
            if self._told is None:
                _send(process.stdin, self._memory)
            if self._told is not self._session:
                _send(process.stdin, self._session)
                self._told = self._session
            _send(process.stdin, task)
            return _receive(process.stdout, time.monotonic() + self._seconds)
        except (EOFError, BrokenPipeError):
            process.wait()
            return None
        except TimeoutError:
            return None

    def _given_up(self, task: Task) -> Outcome:
        self.close()
        digest = task.digest()
        keyed = self._session.keys.digest("file", digest) if self._session else ""
        return Outcome(digest, keyed, waits_for="next_run", reason=TOO_MUCH)

    def close(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


_CHILD = ReadingProcess()
"""This process's child; it starts with the first file."""


def _send(stream: IO[bytes] | None, message: object) -> None:
    data = pickle.dumps(message)
    if stream is not None:
        stream.write(struct.pack("<Q", len(data)) + data)
        stream.flush()


def _receive(stream: IO[bytes] | None, deadline: float) -> Any:
    (length,) = struct.unpack("<Q", _read(stream, 8, deadline))
    return pickle.loads(_read(stream, length, deadline))  # noqa: S301 - our own process wrote it


def _read(stream: IO[bytes] | None, length: int, deadline: float) -> bytes:
    """Exactly `length` bytes.

    EOFError where the other side is gone, TimeoutError after the deadline.
    """
    if stream is None:
        raise EOFError
    parts: list[bytes] = []
    while length:
        if not select.select([stream.fileno()], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        part = os.read(stream.fileno(), min(length, 2**20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def serve() -> None:
    """The child: take files until there are no more requests."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    try:
        _limit_memory(_receive(requests, time.monotonic() + IDLE_SECONDS))
        while True:
            message = _receive(requests, time.monotonic() + IDLE_SECONDS)
            if isinstance(message, Session):
                session = message
            else:
                _send(answers, take_file(session, message))
    except (EOFError, TimeoutError, BrokenPipeError):
        return
    except MemoryError:
        sys.exit(1)


def _limit_memory(memory: int) -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (LARGEST_WRITTEN, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    )


if __name__ == "__main__":
    serve()
