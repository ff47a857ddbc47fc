"""What a test must leave as it found it: threads, child processes, environment, working folder, signal handlers."""

from __future__ import annotations

import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS_TO_GO = 3.0
"""How long a thread or child that was told to end may take; a test that leaves nothing waits for nothing."""

NOT_OF_THE_TEST = ("PYTEST_CURRENT_TEST", "PYTEST_VERSION", "_RJEM_MALLOC_CONF", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")
"""Set by pytest, and by polars and scikit-learn when the first test that needs them imports them. SIGALRM is pytest-timeout's."""


@dataclass(frozen=True)
class State:
    """A moment's threads by name, children by number, and settings of the process."""

    threads: frozenset[threading.Thread]
    children: frozenset[int]
    environment: dict[str, str]
    folder: str
    handlers: dict[int, Any]


def state() -> State:
    """As it is now, in a fraction of a millisecond."""
    return State(
        frozenset(t for t in threading.enumerate() if not _is_shared_thread(t)), frozenset(_children()),
        {k: v for k, v in os.environ.items() if k not in NOT_OF_THE_TEST}, str(Path.cwd()),
        {number: signal.getsignal(number) for number in signal.valid_signals() if number != signal.SIGALRM})


def left_behind(before: State) -> list[str]:
    """What differs from before, in words; threads and children have a moment to end."""
    deadline = time.monotonic() + SECONDS_TO_GO
    now = state()
    while (now.threads - before.threads or now.children - before.children) and time.monotonic() < deadline:
        time.sleep(0.02)
        now = state()
    return [*(f"thread {t.name}" for t in now.threads - before.threads),
            *(f"child {pid} {_command(pid)}" for pid in now.children - before.children if not _is_shared_child(pid)),
            *(f"environment {name}" for name in sorted(before.environment.keys() | now.environment.keys())
              if before.environment.get(name) != now.environment.get(name)),
            *([f"folder {now.folder}"] if now.folder != before.folder else []),
            *(f"handler of {signal.Signals(n).name}" for n in now.handlers if now.handlers[n] != before.handlers[n])]


def _children() -> list[int]:
    """Zombies too: they are children until somebody waits for them."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:  # the thread has ended
            continue
    return [pid for pid in found if not _is_shared_child(pid)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[-120:].strip() or "(a zombie)"
    except OSError:
        return ""


def _shared_executor_lives() -> bool:
    """Workers are kept between tests as between assets: they take seconds to start."""
    compute = sys.modules.get("dagster_project.compute")
    return compute is not None and bool(compute.shared_executor.cache_info().currsize)


def _is_shared_thread(thread: threading.Thread) -> bool:
    if thread.name.startswith("MlflowLocalArtifactRepository"):  # a pool that MLflow lets go with its repository
        return True
    shared = thread.name == "QueueFeederThread" or type(thread).__name__ == "_ExecutorManagerThread"
    return shared and _shared_executor_lives()


def _is_shared_child(pid: int) -> bool:
    """A worker of the shared executor, intake's child that parses files, or Python's own tracker of what processes share."""
    if "dagster_project.intake.reading" in _command(pid):
        return True
    if pid == multiprocessing.resource_tracker._resource_tracker._pid:
        return True
    return _shared_executor_lives() and "spawn_main" in _command(pid)
