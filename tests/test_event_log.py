"""Dagster's event log with open connections: the files are those of Dagster's own class."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.test_utils import create_run_for_test
from dagster._utils.interrupts import capture_interrupts, raise_interrupts_as

from dagster_project.commands.run import install_dagster_settings
from dagster_project.event_log import EventLog
from dagster_project.lake.home import Home

WRITTEN = {"RUN_START", "STEP_START", "ASSET_MATERIALIZATION", "STEP_SUCCESS", "RUN_SUCCESS"}
"""Among the events of a run that ended well, under the names of Dagster's types."""


@dg.asset
def rows() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"rows": 3})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with the settings that `lakehouse run` writes."""
    made = Home(tmp_path / "home").make()
    monkeypatch.setenv("LAKEHOUSE_HOME", str(made.root))
    monkeypatch.setenv("DAGSTER_HOME", str(made.dagster))
    install_dagster_settings(made)
    return made


@pytest.fixture
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as made:
        yield made


def run(instance: dg.DagsterInstance) -> str:
    made = dg.materialize([rows], instance=instance)
    assert made.success
    return made.run_id


def kinds(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [
        event.dagster_event.event_type.name
        for event in instance.all_logs(run_id)
        if event.dagster_event
    ]


def open_files(home: Home) -> list[str]:
    """Names of the home's logs that this process has open."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    targets = [link.readlink() for link in links]
    return [target.name for target in targets if target.is_relative_to(home.dagster)]


def test_a_home_uses_it_and_dagster_s_own_class_reads_the_same(
    home: Home, instance: dg.DagsterInstance
) -> None:
    assert isinstance(instance.event_log_storage, EventLog)
    run_id = run(instance)
    (home.dagster / "dagster.yaml").unlink()
    with dg.DagsterInstance.get() as plain:
        assert type(plain.event_log_storage) is SqliteEventLogStorage
        assert set(kinds(plain, run_id)) >= WRITTEN
        assert kinds(plain, run_id) == kinds(instance, run_id)
        latest = plain.get_latest_materialization_event(dg.AssetKey("rows"))
        assert latest is not None
        assert latest.run_id == run_id
        other = run(plain)
    assert kinds(instance, other) == kinds(instance, run_id)


def test_the_file_of_a_run_begins_as_dagster_makes_it(
    home: Home, instance: dg.DagsterInstance
) -> None:
    first, second = run(instance), run(instance)
    (home.dagster / "dagster.yaml").unlink()
    with dg.DagsterInstance.get() as plain:
        third = run(plain)
    assert made_of(home, first) == made_of(home, second) == made_of(home, third)
    assert len(list((home.dagster / "history").glob("empty-*"))) == 1
    assert kinds(instance, first) == kinds(instance, second)


def test_a_file_that_is_there_is_never_replaced(home: Home, instance: dg.DagsterInstance) -> None:
    run_id = run(instance)
    log = instance.event_log_storage
    assert isinstance(log, EventLog)
    assert not log._begin_as_empty(run_id)
    assert set(kinds(instance, run_id)) >= WRITTEN


def made_of(home: Home, run_id: str) -> tuple[list[object], ...]:
    """Tables and indexes of a run's file, its revision, and how it writes."""
    with contextlib.closing(
        sqlite3.connect(home.dagster / "history" / "runs" / f"{run_id}.db")
    ) as log:
        return tuple(
            sorted(log.execute(statement).fetchall(), key=str)
            for statement in (
                "SELECT type, name, sql FROM sqlite_master",
                "SELECT * FROM alembic_version",
                "PRAGMA journal_mode",
            )
        )


def test_the_file_of_a_run_that_ended_is_closed(home: Home, instance: dg.DagsterInstance) -> None:
    first, second = run(instance), run(instance)
    held = open_files(home)
    assert not [name for name in held if first in name or second in name]
    instance.delete_run(first)
    (home.dagster / "history" / "runs" / f"{first}.db").unlink()
    assert run(instance) not in {first, second}


def test_a_process_that_starts_runs_elsewhere_has_none_of_them_open(
    home: Home, instance: dg.DagsterInstance
) -> None:
    """The daemon writes a few events of each run, for years."""
    runs = [create_run_for_test(instance, job_name="site") for _ in range(3)]
    for made in runs:
        instance.report_engine_event("created", made)
    assert {Path(name).stem for name in open_files(home)} >= {runs[-1].run_id, "index"}
    assert not any(made.run_id in name for name in open_files(home) for made in runs[:-1])
    starting = dg.DagsterEvent(dg.DagsterEventType.RUN_STARTING.value, job_name="site")
    instance.report_dagster_event(starting, runs[-1].run_id)
    assert not any(made.run_id in name for name in open_files(home) for made in runs)


def test_who_watches_a_run_sees_its_events_while_it_goes_on(
    instance: dg.DagsterInstance, home: Home
) -> None:
    seen, noticed = [], threading.Event()

    def notice(event: dg.EventLogEntry, _cursor: str) -> None:
        seen.append(event)
        noticed.set()

    @dg.asset
    def slow() -> None:
        with dg.DagsterInstance.get() as other:
            run_id = dg.AssetExecutionContext.get().run_id
            other.watch_event_logs(run_id, None, notice)
            dg.AssetExecutionContext.get().log.info("half of it")
            assert noticed.wait(30)
            other.end_watch_event_logs(run_id, notice)

    assert dg.materialize([slow], instance=instance).success
    assert seen


KILLED = """
import os, signal
import dagster as dg

@dg.asset
def rows():
    return dg.MaterializeResult(metadata={"rows": 3})

@dg.asset(deps=[rows])
def killed():
    os.kill(os.getpid(), signal.SIGKILL)

with dg.DagsterInstance.get() as instance:
    dg.materialize([rows, killed], instance=instance)
"""


def test_what_a_killed_run_wrote_is_there(home: Home, instance: dg.DagsterInstance) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED], check=False, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL
    (record,) = instance.get_run_records()
    found = kinds(instance, record.dagster_run.run_id)
    assert "ASSET_MATERIALIZATION" in found
    assert found[-1] == "STEP_START"
    run(instance)


class Stopped(BaseException):
    """What Dagster raises within a step where a signal comes."""


def moments_of(work: Callable[[], None], interrupted_at: int = 0) -> int:
    """Do some work as a step of Dagster does, with SIGTERM at one call or return; their number."""
    moments = 0

    def count(*_: object) -> None:
        nonlocal moments
        moments += 1
        if moments == interrupted_at:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGTERM)

    with capture_interrupts(), contextlib.suppress(Stopped), raise_interrupts_as(Stopped):
        sys.setprofile(count)
        try:
            work()
        finally:
            sys.setprofile(None)
    return moments


def test_a_signal_at_any_moment_of_a_write_leaves_the_log_to_the_next_event(home: Home) -> None:
    """Else the event of the failure waits for ever for a lock that nobody holds."""
    with dg.DagsterInstance.get() as instance:
        made, log = create_run_for_test(instance, job_name="site"), instance.event_log_storage
        assert isinstance(log, EventLog)

        def write() -> None:
            instance.report_engine_event("an event", made)

        write()
        for moment in range(1, moments_of(write), 7):
            moments_of(write, moment)
            assert not log._db_lock.locked(), moment
        before = len(kinds(instance, made.run_id))
        write()
        assert len(kinds(instance, made.run_id)) == before + 1
