"""Where scans fan out: one concurrent.futures executor, a process pool by default, Dask where a scheduler's address is set."""

from __future__ import annotations

import atexit
import multiprocessing
import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1")
"""Work is parallel by lesion, in processes; threads inside a worker would only get in each other's way."""


@dataclass(frozen=True)
class Outcome(Generic[Task, Result]):
    """What came of one task: a result, or the reason why there is none."""

    task: Task
    result: Result | None
    reason: str | None


def worker_count() -> int:
    """LAKEHOUSE_WORKERS, else the cores this process may use."""
    return int(os.environ.get("LAKEHOUSE_WORKERS") or len(os.sched_getaffinity(0)))


def run_tasks(
    function: Callable[[Task], Result], tasks: Iterable[Task], weight: Callable[[Task], float] | None = None, together: Callable[[Task], Hashable] | None = None,
) -> Iterator[Outcome[Task, Result]]:
    """Run a picklable function over tasks, longest first, and yield each outcome as it is there.

    A task that raises has a reason and the others go on. When a worker dies (killed, out of memory), the tasks that were
    in flight are run once more, one at a time, so that only the one that kills its worker is given up.

    Tasks with the same `together` are run by one worker in a row, which can then keep what they share; where that would
    leave workers idle, each task goes its own way.
    """
    bunches = _bunches(sorted(tasks, key=weight, reverse=True) if weight else list(tasks), weight, together)
    if not bunches:
        return
    if worker_count() == 0:
        yield from (_outcome(task, function) for bunch in bunches for task in bunch)
        return
    suspects = yield from _parallel(function, bunches)
    for task in suspects:
        yield _alone(function, task)


def _bunches(tasks: list[Task], weight: Callable[[Task], float] | None, together: Callable[[Task], Hashable] | None) -> list[list[Task]]:
    """Tasks that belong together, the heaviest bunch first."""
    found: dict[Hashable, list[Task]] = {}
    for place, task in enumerate(tasks):
        found.setdefault(together(task) if together else place, []).append(task)
    bunches = list(found.values())
    if len(bunches) < worker_count():
        return [[task] for task in tasks]
    return sorted(bunches, key=lambda bunch: sum(map(weight, bunch)), reverse=True) if weight else bunches


def _outcome(task: Task, function: Callable[[Task], Result]) -> Outcome[Task, Result]:
    try:
        return Outcome(task, function(task), None)
    except Exception as error:
        return Outcome(task, None, reason_of(error))


def _run_bunch(function: Callable[[Task], Result], bunch: list[Task]) -> list[tuple[Result | None, str | None]]:
    """In a worker: the outcomes of a bunch, without the tasks, which the caller has."""
    return [(outcome.result, outcome.reason) for outcome in (_outcome(task, function) for task in bunch)]


def _parallel(function: Callable[[Task], Result], bunches: list[list[Task]]) -> Any:
    """Yield outcomes; return the tasks that a dying worker took with it."""
    executor, suspects = shared_executor(), []
    futures: dict[Future[list[tuple[Result | None, str | None]]], list[Task]] = {executor.submit(_run_bunch, function, bunch): bunch for bunch in bunches}
    for future in as_completed(futures):
        bunch, error = futures.pop(future), future.exception()
        if isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker":
            suspects += bunch
        elif error:
            yield from (Outcome(task, None, reason_of(error)) for task in bunch)
        else:
            yield from (Outcome(task, *found) for task, found in zip(bunch, future.result(), strict=True))
    if suspects:
        shared_executor.cache_clear()
    return suspects


def _alone(function: Callable[[Task], Result], task: Task) -> Outcome[Task, Result]:
    with _process_pool(1) as executor:
        try:
            return Outcome(task, executor.submit(function, task).result(), None)
        except BrokenProcessPool:
            return Outcome(task, None, "the worker was killed twice on this task (memory?); see docs/operations.md, then run again")
        except Exception as error:
            return Outcome(task, None, reason_of(error))


def reason_of(error: BaseException) -> str:
    """An error's reason for the quarantine: our own errors speak for themselves, of others only the kind is told, since a message may quote data."""
    own = type(error).__module__.partition(".")[0] in {"dagster_project", "models"}
    return str(error) if own else f"{type(error).__name__} in {_place(error)}"


def _place(error: BaseException) -> str:
    trace, name = error.__traceback__, "unknown"
    while trace is not None:
        name = f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
        trace = trace.tb_next
    return name


@cache
def shared_executor() -> Executor:
    """The process's one executor, kept between assets since workers take seconds to start."""
    address = os.environ.get("LAKEHOUSE_DASK")
    executor = _dask(address) if address else _process_pool(worker_count())
    atexit.register(executor.shutdown, wait=False)
    return executor


def _process_pool(workers: int) -> ProcessPoolExecutor:
    """Spawned, not forked: a fork would copy DuckDB's and MLflow's threads and locks."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread)


def _one_thread() -> None:
    """The variables are for libraries still to be loaded; what the worker's main module has loaded already is limited by hand."""
    os.environ.update(ONE_THREAD)
    import SimpleITK as sitk
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _dask(address: str) -> Executor:
    from distributed import Client

    return Client(address, set_as_default=False).get_executor()
