"""A small home at the start of each stage of the flow, and processes killed while working in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_project.simulation.cohort import simulate_cohort
from tests.trial import OF_THE_RUN, SMALLEST, Trial, write_protocol

LEFT_OUT = (*OF_THE_RUN, "snapshot")
"""Columns that describe the run and not the data; snapshots are counted."""

SECONDS = 600.0
"""A stage that takes longer than this hangs."""

Digests = Mapping[str, str]
"""Of a table's rows of one site (`scans BJCH`), a page or a published table."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code (negative: the signal), seconds taken, and return value."""

    code: int
    seconds: float
    answer: Any


def in_process(
    work: Callable[[], Any],
    log: Path,
    *,
    kill_after: float | None = None,
    killed: signal.Signals = signal.SIGKILL,
) -> Ended:
    """Run work in a forked process group, which is killed after some seconds where asked.

    A fork costs nothing where an interpreter that imports everything costs four seconds. This
    process therefore has to stay without threads of its own: it uses no Polars, DuckDB or Torch
    itself.
    """
    answer = log.with_suffix(".json")
    answer.unlink(missing_ok=True)
    began = time.monotonic()
    child = os.fork()
    if not child:
        _work(work, log, answer)
    with contextlib.suppress(OSError):  # the child does it too, whoever comes first
        os.setpgid(child, child)
    deadline = began + (SECONDS if kill_after is None else kill_after)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done or time.monotonic() >= deadline:
            break
        time.sleep(0.002)
    if not done:
        os.killpg(child, signal.SIGKILL if kill_after is None else killed)
        _, status = os.waitpid(child, 0)
    _end_group(child)
    found = json.loads(answer.read_text(encoding="utf-8")) if answer.is_file() else None
    return Ended(os.waitstatus_to_exitcode(status), time.monotonic() - began, found)


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


def first_home(root: Path) -> Trial:
    """A delivery with its protocol, and nothing taken in."""
    trial = Trial(root / "home", write_protocol(root / "study.toml"), SMALLEST)
    simulate_cohort(trial.home.make().landing, root / "truth", SMALLEST)
    return trial


def restore(snapshot: Path, home: Path) -> None:
    """The home as it was at the beginning of a stage, at the same path."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(snapshot, home, symlinks=True)


def doubled_keys(trial: Trial) -> list[str]:
    """Tables in which two rows have one key."""
    from dagster_project.lake.store import open_lake
    from dagster_project.lake.tables import TABLES

    with open_lake(trial.home) as lake:
        return [
            table.name
            for table in TABLES
            if (rows := lake.read(table.name).select(table.key)).height > rows.unique().height
        ]


def digests_of(trial: Trial) -> dict[str, str]:
    """Digests of the rows of every table, of the published file, and of the names of pages.

    Rows are taken by site where a table has sites; a site without rows has no entry.
    """
    import duckdb

    from dagster_project.lake.store import open_lake
    from dagster_project.lake.tables import TABLES

    found: dict[str, str] = {}
    with open_lake(trial.home) as lake:
        for table in TABLES:
            rows = lake.read(table.name)
            own = rows.drop(LEFT_OUT, strict=False)
            parts = own.partition_by("site", as_dict=True) if table.by_site else {("",): own}
            found |= {
                f"{table.name} {name}".strip(): _digest(repr(r) for r in part.iter_rows())
                for (name,), part in parts.items()
            }
    file = trial.home.published / "lakehouse.duckdb"
    if file.is_file():
        with duckdb.connect(str(file), read_only=True) as store:
            names = [
                name
                for (name,) in store.execute(
                    "SELECT table_name FROM duckdb_tables() ORDER BY ALL"
                ).fetchall()
            ]
            for name in names:
                rows = store.execute(f'SELECT * FROM "{name}"').pl().drop(LEFT_OUT, strict=False)
                found[f"published {name}"] = _digest(repr(r) for r in rows.iter_rows())
    pages = trial.root / "reports"
    found["pages"] = (
        _digest(str(p.relative_to(pages)) for p in pages.rglob("*.html")) if pages.is_dir() else ""
    )
    return found


def _digest(lines: Any) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


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
