"""Work fans out, one task's failure is that task's alone, and a killed worker costs only the task that kills it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from dagster_project.compute import reason_of, run_tasks, shared_executor


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
    shared_executor.cache_clear()
    monkeypatch.setenv("LAKEHOUSE_WORKERS", "2")
    monkeypatch.delenv("LAKEHOUSE_DASK", raising=False)
    yield
    shared_executor().shutdown()
    shared_executor.cache_clear()


@pytest.mark.usefixtures("two_workers")
def test_a_failing_task_has_a_reason_without_its_message() -> None:
    outcomes = {o.task: o for o in run_tasks(work, [1, 2, 13, 4])}
    assert {t: o.result for t, o in outcomes.items()} == {1: 1, 2: 4, 13: None, 4: 16}
    assert outcomes[13].reason is not None
    assert "ValueError" in outcomes[13].reason
    assert "secret" not in outcomes[13].reason


def test_a_worker_uses_one_thread_whatever_its_main_module_has_loaded_before() -> None:
    """A spawned worker runs its main module, here one that loads numpy's BLAS, and only then its initialiser."""
    code = ("import numpy; from dagster_project.compute import _one_thread; from threadpoolctl import threadpool_info as pools;"
            "_one_thread(); print({p['num_threads'] for p in pools()})")
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    told = subprocess.run([sys.executable, "-c", code], env={**os.environ, **threads}, capture_output=True, text=True, check=True).stdout
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
    assert [task for *_, task in runs] == [(k, runs[3 * n][2][1]) for n in range(3) for k in (2, 1, 0)], "in a row, heaviest first"
    lone = {o.result[0] for o in run_tasks(worker_of, tasks[::3], together=lambda t: t[1]) if o.result}
    assert len(lone) == 2, "one bunch for two workers is taken apart"


@pytest.mark.usefixtures("two_workers")
def test_of_a_bunch_only_the_task_that_kills_its_worker_is_given_up() -> None:
    outcomes = {o.task: o for o in run_tasks(worker_of, [(99, "x"), (1, "x"), (2, "x"), (1, "y"), (1, "z")], together=lambda t: t[1])}
    assert {t for t, o in outcomes.items() if o.result is None} == {(99, "x")}
    assert len(outcomes) == 5


def test_dask_runs_the_same_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real scheduler with two worker processes."""
    from distributed import LocalCluster

    shared_executor.cache_clear()
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1") as cluster:
        monkeypatch.setenv("LAKEHOUSE_DASK", cluster.scheduler_address)
        outcomes = {o.task: o.result for o in run_tasks(work, [1, 2, 13, 4])}
        shared_executor().shutdown()
        shared_executor.cache_clear()
    assert outcomes == {1: 1, 2: 4, 13: None, 4: 16}


def test_inline_where_no_worker_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_WORKERS", "0")
    assert [o.task for o in run_tasks(work, [1, 3, 2], weight=float)] == [3, 2, 1]


def test_our_own_errors_speak_for_themselves() -> None:
    from dagster_project.lake.store import RepeatedKey

    assert "repeat a key" in reason_of(RepeatedKey("reads", ("site",), 2))
