"""A small home at the start of each stage of the flow, and processes killed while working in it."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.viewing import SECONDS
from dagster_project.intake.vault import audit_words
from dagster_project.simulation.cohort import simulate_cohort
from tests.trial import SMALLEST, Trial, write_protocol

WAITING = 0.2
"""Seconds after which a thread that waits in the kernel is taken for stopped.

One that begins a process waits there until that, which is stopped too, has loaded its program.
"""

HUNG = -int(signal.SIGALRM)
"""Exit code of what was ended for taking too long."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code (negative: the signal), processor seconds, return value."""

    code: int
    seconds: float
    answer: Any


def in_process(
    work: Callable[[], Any],
    log: Path,
    *,
    kill_after: float = math.inf,
    moments: Sequence[float] = (),
    at: Callable[[float], None] = print,
) -> Ended:
    """Run work in a forked process group, killed after some seconds of the processor where asked.

    1. Seconds of the processor, of it and of its own children, and not of the clock: where other
       work takes the machine, the same moment is as far into the stage.
    2. At each of the moments before it every process is stopped, `at` is called, and they go on:
       what lies on the disk is then what a kill would have left.
    3. A fork costs nothing where an interpreter that imports everything costs seconds. This process
       therefore has to stay without threads of its own: it uses no Polars, DuckDB or Torch itself.
    """
    answer = log.with_suffix(".json")
    answer.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        _work(work, log, answer)
    with contextlib.suppress(OSError):  # the child does it too, whoever comes first
        os.setpgid(child, child)
    left, deadline = sorted((m for m in moments if m < kill_after), reverse=True), _deadline()
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        hung, spent = time.monotonic() >= deadline, 0.0 if done else processor_seconds(child)
        if done or hung or spent >= kill_after:
            break
        if left and spent >= left[-1]:
            began = time.monotonic()
            _stopped(child, at, spent)
            left, deadline = [m for m in left if m > spent], deadline + time.monotonic() - began
        time.sleep(0.015)
    if not done:
        os.killpg(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
    _end_group(child)
    found = json.loads(answer.read_text(encoding="utf-8")) if answer.is_file() else None
    code = HUNG if hung and not done else os.waitstatus_to_exitcode(status)
    return Ended(code, used.ru_utime + used.ru_stime, found)


def _deadline() -> float:
    return time.monotonic() + SECONDS


def _stopped(process: int, at: Callable[[float], None], spent: float) -> None:
    """Call `at` while a process and all its children are stopped."""
    stopped: set[int] = set()
    while new := {one for one, _ in _statistics(process)} - stopped:
        for one in new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGSTOP)
        stopped |= new
    began = time.monotonic()
    while states := set("".join(map(_states, stopped))) - {*"TtZX"}:
        if states == {"D"} and time.monotonic() > began + WAITING:
            break
        time.sleep(0.001)
    at(spent)
    for one in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGCONT)


def warm(modules: Sequence[str]) -> None:
    """Import here what a stage imports, so that what is forked has it; and read what is constant.

    Raises
    ------
    RuntimeError
        Where a module began a thread of Python: what is forked would inherit its locks. Allocators
        of Polars and Arrow have threads of their own from the first import, which hold none.
    """
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    audit_words.program_words()
    audit_words.program_numbers()
    if threading.active_count() > 1:
        raise RuntimeError("an imported module began a thread")


def processor_seconds(process: int) -> float:
    """Of a process and its children, those that ended too; 0 where it is gone."""
    ticks = sum(sum(map(int, fields[11:15])) for _, fields in _statistics(process))
    return ticks / os.sysconf("SC_CLK_TCK")


def _states(process: int) -> str:
    """Letters of the states of its threads."""
    found = ""
    for thread in Path(f"/proc/{process}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            found += thread.read_text().rpartition(")")[2].split()[0]
    return found


def _statistics(process: int) -> Iterator[tuple[int, list[str]]]:
    """Fields of /proc/…/stat from the third on, of a process and its children."""
    left = [process]
    while left:
        one = left.pop()
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            for thread in Path(f"/proc/{one}/task").iterdir():
                left += map(int, (thread / "children").read_text().split())
            yield one, fields


def _work(work: Callable[[], Any], log: Path, answer: Path) -> None:
    """In the child: a group of its own, output into the log."""
    code = 1
    try:
        with contextlib.suppress(PermissionError):
            os.setpgid(0, 0)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
        result = work()
        answer.write_text(json.dumps(result), encoding="utf-8")
        code = 0
    except SystemExit as end:
        code = int(end.code or 0) if isinstance(end.code, int | None) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end_group(group: int) -> None:
    """Workers that outlive their parent."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class OneProcess(Trial):
    """A home whose lesions are computed in the process of the run itself.

    Workers would be interpreters that import everything anew at each attempt, which is most of what
    would then be killed.
    """

    @property
    def settings(self) -> dict[str, str]:
        """Environment of a process that works in this home."""
        return {**super().settings, "LAKEHOUSE_WORKERS": "0"}


def trial_of(root: Path) -> Trial:
    """The home of a benchmark below its folder."""
    return OneProcess(root / "home", root / "study.toml", SMALLEST)


def first_home(root: Path) -> Trial:
    """A delivery with its protocol, and nothing taken in."""
    write_protocol(root / "study.toml")
    trial = trial_of(root)
    simulate_cohort(trial.home.make().landing, root / "truth", SMALLEST)
    return trial


def restore(snapshot: Path, home: Path) -> None:
    """The home as it was at the beginning of a stage, at the same path."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(snapshot, home, symlinks=True)


def materialise(trial: Trial, names: Sequence[str], *, by_site: bool) -> None:
    """Assets of a stage, as `lakehouse run` makes them, with the home locked."""
    from dagster_project.commands.run import materialise_tables
    from dagster_project.lake.locks import home_locked

    with trial.entered(), home_locked(trial.home, "lakehouse run", waiting=print):
        for site in trial.home.sites() if by_site else [None]:
            failed = materialise_tables(trial.home, site, names)
            if failed:
                raise AssertionError("; ".join(failed))


def command(trial: Trial, *arguments: str) -> None:
    """A command line, in this process."""
    from dagster_project.cli import main

    with trial.entered():
        main(["--home", str(trial.root), *arguments], standalone_mode=True)
