"""Work fans out, and one task's failure is that task's alone.

A killed worker costs only the task that kills it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import psutil
import pytest

from dagster_project.compute import (
    SchedulerLostError,
    TaskFailedError,
    close_executor,
    map_tasks,
    reason_of,
    run_tasks,
    shared_executor,
)


def work(task: int) -> int:
    if task == 13:
        raise ValueError("secret value of a patient")
    if task == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    return task * task


def worker_of(task: tuple[int, str]) -> tuple[int, float]:
    if task == (99, "x"):
        os.kill(os.getpid(), signal.SIGKILL)
    begun = time.monotonic()
    time.sleep(0.05)
    return os.getpid(), begun


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    close_executor()
    monkeypatch.setenv("LAKEHOUSE_WORKERS", "2")
    monkeypatch.delenv("LAKEHOUSE_DASK", raising=False)
    yield
    close_executor()


@pytest.mark.usefixtures("two_workers")
def test_a_failing_task_has_a_reason_without_its_message() -> None:
    outcomes = {o.task: o for o in run_tasks(work, [1, 2, 13, 4])}
    assert {t: o.result for t, o in outcomes.items()} == {1: 1, 2: 4, 13: None, 4: 16}
    assert outcomes[13].reason is not None
    assert "ValueError" in outcomes[13].reason
    assert "secret" not in outcomes[13].reason


def test_a_worker_uses_one_thread_whatever_its_main_module_has_loaded_before() -> None:
    """A spawned worker runs its main module, and only then its initialiser.

    The main module here loads numpy's BLAS.
    """
    code = (
        "import numpy; "
        "from dagster_project.compute import _one_thread; "
        "from threadpoolctl import threadpool_info as pools;"
        "_one_thread(); print({p['num_threads'] for p in pools()})"
    )
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.strip() == "{1}"


@pytest.mark.usefixtures("two_workers")
def test_a_task_that_kills_its_worker_is_given_up_and_the_others_finish() -> None:
    outcomes = {o.task: o for o in run_tasks(work, [1, 99, *range(2, 8)])}
    assert {t for t, o in outcomes.items() if o.result is None} == {99}
    assert "killed twice" in (outcomes[99].reason or "")
    assert [o.result for o in run_tasks(work, [5])] == [25], "the pool works again"


@pytest.mark.usefixtures("two_workers")
def test_tasks_that_share_something_are_run_by_one_worker_in_a_row() -> None:
    tasks = [(k, name) for k in range(3) for name in ("a", "b", "c")]
    outcomes = list(run_tasks(worker_of, tasks, weight=lambda t: t[0], together=lambda t: t[1]))
    runs = sorted((o.result[0], o.result[1], o.task) for o in outcomes if o.result)
    assert sorted(o.task for o in outcomes) == tasks
    assert [task for *_, task in runs] == [
        (k, runs[3 * n][2][1]) for n in range(3) for k in (2, 1, 0)
    ], "in a row, heaviest first"
    lone = {
        o.result[0] for o in run_tasks(worker_of, tasks[::3], together=lambda t: t[1]) if o.result
    }
    assert len(lone) == 2, "one bunch for two workers is taken apart"


@pytest.mark.usefixtures("two_workers")
def test_of_a_bunch_only_the_task_that_kills_its_worker_is_given_up() -> None:
    outcomes = {
        o.task: o
        for o in run_tasks(
            worker_of, [(99, "x"), (1, "x"), (2, "x"), (1, "y"), (1, "z")], together=lambda t: t[1]
        )
    }
    assert {t for t, o in outcomes.items() if o.result is None} == {(99, "x")}
    assert len(outcomes) == 5


def held() -> tuple[set[str], int, int]:
    """Threads, children and sockets of this process."""
    me = psutil.Process()
    connections = getattr(me, "net_connections", me.connections)
    return {t.name for t in threading.enumerate()}, len(me.children()), len(connections())


@pytest.mark.usefixtures("two_workers")
def test_a_pool_that_is_closed_leaves_no_thread_and_no_process() -> None:
    # Python's own process: the first worker starts it, and it stays
    resource_tracker.ensure_running()
    before = held()
    assert len(list(run_tasks(work, [1, 2, 3]))) == 3
    assert held() != before
    close_executor()
    assert held() == before


def workers() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]


def kill_at(task: tuple[int, str]) -> int:
    """Say who works, then work for long enough to be killed; what was begun before runs again."""
    number, folder = task
    with Path(folder, "begun").open("a") as begun:
        begun.write(f"{number} {os.getpid()}\n")
    time.sleep(0.3)
    return number * number


@pytest.mark.usefixtures("two_workers")
def test_an_idle_worker_that_is_killed_is_replaced_before_the_next_tasks() -> None:
    """At once, while the pool has not noticed, and later, when it refuses what it is given."""
    for pause in (0.0, 0.5):
        assert [o.result for o in run_tasks(work, [5])] == [25]
        workers()[0].kill()
        time.sleep(pause)
        outcomes = {o.task: (o.result, o.reason) for o in run_tasks(work, range(8))}
        assert outcomes == {n: (n * n, None) for n in range(8)}
        assert len(workers()) <= 2, "the old pool is gone"


@pytest.mark.usefixtures("two_workers")
def test_a_killed_worker_holds_up_nobody_where_sigterm_is_ignored() -> None:
    """The signal is ignored as in a run that a script started with `&`.

    The other worker is only starting when the pool breaks.
    """
    close_executor()
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert [o.result for o in run_tasks(work, [5])] == [25]
        workers()[0].kill()
        assert {o.task: o.result for o in run_tasks(work, range(8))} == {n: n * n for n in range(8)}
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("two_workers")
def test_a_worker_that_the_broken_pool_has_missed_holds_up_nobody() -> None:
    """One that was only starting: the pool joins it and has not ended it."""
    assert [o.result for o in run_tasks(work, [5])] == [25]
    pool: Any = shared_executor()
    late = pool._context.Process(target=time.sleep, args=(120,))
    late.start()
    late.terminate = lambda: None
    workers()[0].kill()
    pool._processes[late.pid] = late
    assert {o.task: o.result for o in run_tasks(work, range(4))} == {n: n * n for n in range(4)}
    assert late.exitcode == -signal.SIGKILL


@pytest.mark.usefixtures("two_workers")
def test_a_busy_worker_that_is_killed_costs_only_the_time_of_what_was_in_flight(
    tmp_path: Path,
) -> None:
    killer = threading.Thread(target=kill_first_worker, args=(tmp_path / "begun",))
    killer.start()
    outcomes = {
        o.task[0]: (o.result, o.reason)
        for o in run_tasks(kill_at, [(n, str(tmp_path)) for n in range(12)])
    }
    killer.join()
    assert outcomes == {n: (n * n, None) for n in range(12)}
    begun = Counter(line.split()[0] for line in (tmp_path / "begun").read_text().splitlines())
    assert 1 <= sum(n > 1 for n in begun.values()) <= 3, (
        "both workers' tasks and the one that waited, no more"
    )


def kill_first_worker(begun: Path) -> None:
    while not begun.is_file() or not begun.read_text().endswith("\n"):
        time.sleep(0.01)
    os.kill(int(begun.read_text().splitlines()[0].split()[1]), signal.SIGKILL)


def raising(task: int) -> int:
    if task == 3:
        raise PermissionError(13, "no")
    return task


@pytest.mark.usefixtures("two_workers")
def test_mapped_results_come_in_order_whatever_is_killed(tmp_path: Path) -> None:
    killer = threading.Thread(target=kill_first_worker, args=(tmp_path / "begun",))
    killer.start()
    assert list(map_tasks(kill_at, [(n, str(tmp_path)) for n in range(6)])) == [
        n * n for n in range(6)
    ]
    killer.join()
    with pytest.raises(PermissionError):
        list(map_tasks(raising, range(6)))
    with pytest.raises(TaskFailedError, match="killed twice"):
        list(map_tasks(work, [1, 99, 2]))


def test_a_worker_whose_parent_is_killed_ends() -> None:
    code = (
        "import os; from dagster_project import compute;"
        "print(list(compute.run_tasks(os.getpgid, [0]))); os.kill(os.getpid(), 9)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "LAKEHOUSE_WORKERS": "1"},
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as parent:
        parent.communicate(
            timeout=300
        )  # ends when the last process that holds its output has ended
    assert parent.returncode == -signal.SIGKILL


@pytest.mark.usefixtures("two_workers")
def test_an_executor_whose_worker_never_started_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal came while the first worker was started."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dagster_project.compute.SpawnProcess.start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run_tasks(work, [1]))
    close_executor(kill=True)


# ── Dask ──


class Cluster:
    """A real scheduler and one worker in processes of their own, on a free port."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        place = ["--host", "127.0.0.1", "--no-dashboard"]
        self.scheduler = self._start(
            "dask_scheduler", *place, "--port", "0", "--scheduler-file", str(self.file)
        )
        self.worker = self._start(
            "dask_worker",
            *place,
            "--nthreads",
            "1",
            "--no-nanny",
            "--scheduler-file",
            str(self.file),
        )
        while not self.file.is_file() or not self.file.read_text().endswith("}"):
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]

    @staticmethod
    def _start(module: str, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def end(self) -> None:
        for process in (self.worker, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    close_executor()
    made = Cluster(tmp_path)
    monkeypatch.setenv("LAKEHOUSE_DASK", made.address)
    yield made
    close_executor()
    made.end()


def test_dask_runs_the_same_tasks_and_nothing_of_its_client_stays(cluster: Cluster) -> None:
    before = held()
    outcomes = {o.task: o.result for o in run_tasks(work, [1, 2, 13, 4])}
    assert outcomes == {1: 1, 2: 4, 13: None, 4: 16}
    close_executor()
    assert held() == before


def test_a_lost_scheduler_is_named_with_its_address_at_once_and_its_client_is_closed(
    cluster: Cluster, tmp_path: Path
) -> None:
    import dask

    before = held()
    outcomes = run_tasks(kill_at, [(n, str(tmp_path)) for n in range(12)])
    next(outcomes)
    cluster.scheduler.kill()
    begun = time.monotonic()
    with pytest.raises(
        SchedulerLostError,
        match=f"{cluster.address} does not answer; start it again, or unset LAKEHOUSE_DASK",
    ):
        list(outcomes)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(SchedulerLostError, match=cluster.address),
    ):
        list(run_tasks(work, [1]))
    assert time.monotonic() - begun < 30, "Dask tries for minutes"
    assert held() == before


def test_inline_where_no_worker_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_WORKERS", "0")
    assert [o.task for o in run_tasks(work, [1, 3, 2], weight=float)] == [3, 2, 1]


def test_our_own_errors_speak_for_themselves() -> None:
    from dagster_project.lake.store import RepeatedKey

    assert "repeat a key" in reason_of(RepeatedKey("reads", ("site",), 2))
