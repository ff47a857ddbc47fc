"""Locks between processes.

The kernel holds them, so that a process that is killed leaves none behind; a process that waits
learns for whom.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dagster_project.lake.home import Home

LOOK_SECONDS = 0.002
"""How often a lock with a deadline is tried.

Much shorter than the pause between two objects of a PACS.
"""

_HELD: set[tuple[Path, int]] = set()
"""Locks that a thread of this process holds alone: within them it waits for nobody."""


class HeldError(RuntimeError):
    """Another process holds the lock; `holder` says which, where it is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextlib.contextmanager
def locked(
    file: Path,
    what: str,
    *,
    shared: bool = False,
    seconds: float | None = None,
    waiting: Callable[[str], None] = lambda _: None,
) -> Iterator[None]:
    """Hold a lock file while the block runs: alone, or beside others that share it.

    1. `waiting` hears once who holds it (`what` of the holder, process, since when).
    2. Without `seconds` it is waited for as long as it takes, else until they are over.

    Raises
    ------
    HeldError
        Where the other still holds it after so many seconds.
    """
    held = (file, threading.get_ident())
    if held in _HELD:
        yield
        return
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, seconds, waiting)
        os.pwrite(descriptor, f"{_me(what):<200.200}".encode(), 0)
        if not shared:
            _HELD.add(held)
        yield
    finally:
        _HELD.discard(held)
        os.close(descriptor)


def _take(
    descriptor: int, kind: int, seconds: float | None, waiting: Callable[[str], None]
) -> None:
    if _taken(descriptor, kind):
        return
    if seconds is None:
        waiting(_holder(descriptor))
        fcntl.flock(descriptor, kind)
        return
    deadline = time.monotonic() + seconds
    while not _taken(descriptor, kind):
        if time.monotonic() >= deadline:
            raise HeldError(_holder(descriptor))
        time.sleep(LOOK_SECONDS)


def _taken(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _me(what: str) -> str:
    since = dt.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"{what}, process {os.getpid()} since {since}"


def _holder(descriptor: int) -> str:
    """Who wrote last that it holds it, if that process is still there."""
    text = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
    process = text.partition(", process ")[2].partition(" ")[0]
    return text if process and Path("/proc", process).is_dir() else "another process"


@contextlib.contextmanager
def home_locked(
    home: Home, what: str, *, shared: bool = False, waiting: Callable[[str], None]
) -> Iterator[None]:
    """One command at a time works on a home; runs that Dagster starts share it among themselves."""
    home.root.mkdir(parents=True, exist_ok=True)

    def tell(holder: str) -> None:
        waiting(f"This home is in use ({holder}); waiting for that to end.")

    with locked(home.root / "run.lock", what, shared=shared, waiting=tell):
        yield
