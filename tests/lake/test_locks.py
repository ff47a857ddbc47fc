"""Whoever comes second waits and is shown who holds the lock.

A lock that a killed process leaves behind holds nobody up.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dagster_project.lake.home import Home
from dagster_project.lake.locks import HeldError, home_locked, locked
from tests.waiting import PATIENCE

HOLD = (
    "import sys; from pathlib import Path; from dagster_project.lake.locks import locked\n"
    "with locked(Path(sys.argv[1]), 'the other', shared=sys.argv[2] == 'shared'): "
    "print('held', flush=True); sys.stdin.read()"
)


class Other:
    """A process that holds a lock until it is told to end, or killed."""

    def __init__(self, file: Path, kind: str = "alone") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(file), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.timers: list[threading.Timer] = []
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def __enter__(self) -> Other:
        return self

    def __exit__(self, *_: object) -> None:
        for timer in self.timers:
            timer.join()
        self.end()

    def end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait(PATIENCE)

    def end_after(self, seconds: float) -> None:
        self.timers.append(threading.Timer(seconds, self.end))
        self.timers[0].start()


def test_who_comes_second_waits_and_is_told_who_holds_it_and_since_when(tmp_path: Path) -> None:
    heard: list[str] = []
    with Other(tmp_path / "lock") as other:
        other.end_after(0.5)
        with locked(tmp_path / "lock", "we", waiting=heard.append):
            pass
    assert re.fullmatch(
        rf"the other, process {other.process.pid} since "
        rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\+\d\d:\d\d",
        heard[0],
    )


def test_after_so_many_seconds_the_holder_is_named(tmp_path: Path) -> None:
    with (
        Other(tmp_path / "lock") as other,
        pytest.raises(HeldError, match=f"the other, process {other.process.pid} since"),
        locked(tmp_path / "lock", "we", seconds=0.1),
    ):
        pass


def test_a_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    with Other(tmp_path / "lock") as other:
        other.process.send_signal(signal.SIGKILL)
        other.process.wait()
        with locked(tmp_path / "lock", "we", seconds=0.0):
            pass


def test_those_who_share_it_hold_it_together_and_one_alone_waits_for_them(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with Other(file, "shared"):
        with locked(file, "we", shared=True, seconds=0.0):
            pass
        with pytest.raises(HeldError), locked(file, "we", seconds=0.0):
            pass


def test_a_thread_that_holds_it_does_not_wait_for_itself_and_another_thread_does(
    tmp_path: Path,
) -> None:
    file, found = tmp_path / "lock", []

    def take() -> None:
        try:
            with locked(file, "a thread", seconds=0.0):
                found.append("taken")
        except HeldError:
            found.append("held")

    with locked(file, "we"), locked(file, "we", shared=True):
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
    take()
    assert found == ["held", "taken"]


def test_a_home_in_use_is_said_in_words(tmp_path: Path) -> None:
    heard: list[str] = []
    with Other(tmp_path / "run.lock") as other:
        other.end_after(0.2)
        with home_locked(Home(tmp_path), "we", waiting=heard.append):
            pass
    assert heard[0].startswith("This home is in use (the other, process ")
    assert heard[0].endswith("); waiting for that to end.")
