"""Run tasks over many scans in parallel, by one executor per process.

It is a pool of workers by default, or Dask where the address of a scheduler is set.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import connection, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

Answers = list[tuple[Any, str | None]]
"""Of a bunch of tasks: each one's result, and the reason where there is none."""

ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    ),
    "1",
)
"""One thread per library: work is parallel by lesion, in processes.

Threads inside a worker would only get in each other's way.
"""

KILLED_TWICE = (
    "the worker was killed twice on this task (memory?); see docs/operations.md, then run again"
)

LOOK_SECONDS = 5.0
"""How often a pool that gives no result is looked at: one whose workers are all gone never will."""


class SchedulerLostError(RuntimeError):
    """The Dask scheduler cannot be reached, or went away while it had tasks."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the Dask scheduler at {address} does not answer; start it again, or unset "
            "LAKEHOUSE_DASK to use this machine's own workers, then run again"
        )


class TaskFailedError(RuntimeError):
    """A task of `map_tasks` failed.

    Its worker was killed twice, or its result could not be sent.
    """


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
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    weight: Callable[[Task], float] | None = None,
    together: Callable[[Task], Hashable] | None = None,
) -> Iterator[Outcome[Task, Result]]:
    """Run a picklable function over tasks, longest first, and yield each outcome as it is there.

    1. A task that raises has a reason and the others go on.
    2. When a worker dies (killed, out of memory), its pool is replaced and the tasks that no worker
       had begun go on there.
    3. Tasks that were in flight are run once more, one at a time, so that only the one that kills
       its worker is given up.

    Tasks with the same `together` are run by one worker in a row, which can then keep what they
    share; where that would leave workers idle, each task goes its own way.

    Raises
    ------
    SchedulerLostError
        Where the Dask scheduler cannot be reached, or is lost.
    """
    bunches = _bunches(
        sorted(tasks, key=weight, reverse=True) if weight else list(tasks), weight, together
    )
    if not bunches:
        return
    if worker_count() == 0:
        yield from (_outcome(task, function) for bunch in bunches for task in bunch)
        return
    suspects = yield from _parallel(function, bunches)
    yield from _one_by_one(function, suspects)


def map_tasks(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    """Results in the order of the tasks, each as soon as those before it are there.

    Workers that die are replaced.

    Raises
    ------
    TaskFailedError
        Where a task kills its worker twice.
    Exception
        Whatever the function raises.
    """
    early: dict[int, Any] = {}
    following = 0
    for outcome in run_tasks(partial(_numbered, function), list(enumerate(tasks))):
        early[outcome.task[0]] = (
            outcome.result if outcome.reason is None else TaskFailedError(outcome.reason)
        )
        while following in early:
            result = early.pop(following)
            following += 1
            if isinstance(result, Exception):
                raise result
            yield result


def _numbered(function: Callable[[Task], Result], numbered: tuple[int, Task]) -> Result | Exception:
    """In a worker: the result, or the error that the caller is to raise."""
    try:
        return function(numbered[1])
    except Exception as error:
        return error


def _bunches(
    tasks: list[Task],
    weight: Callable[[Task], float] | None,
    together: Callable[[Task], Hashable] | None,
) -> list[list[Task]]:
    """Tasks that belong together, the heaviest bunch first."""
    found: dict[Hashable, list[Task]] = {}
    for place, task in enumerate(tasks):
        found.setdefault(together(task) if together else place, []).append(task)
    bunches = list(found.values())
    if len(bunches) < worker_count():
        return [[task] for task in tasks]
    return (
        sorted(bunches, key=lambda bunch: sum(map(weight, bunch)), reverse=True)
        if weight
        else bunches
    )


def _outcome(task: Task, function: Callable[[Task], Result]) -> Outcome[Task, Result]:
    try:
        return Outcome(task, function(task), None)
    except Exception as error:
        return Outcome(task, None, reason_of(error))


def _run_bunch(function: Callable[[Task], Result], bunch: Sequence[Task]) -> Answers:
    """In a worker: the outcomes of a bunch, without the tasks, which the caller has."""
    outcomes = (_outcome(task, function) for task in bunch)
    return [(outcome.result, outcome.reason) for outcome in outcomes]


Outcomes = Generator[Outcome[Task, Result], None, list[Task]]
"""Outcomes one by one, and at the end the tasks that a dying worker took with it."""


def _parallel(
    function: Callable[[Task], Result], bunches: list[list[Task]]
) -> Outcomes[Task, Result]:
    waiting, suspects = deque(bunches), []
    while waiting:
        suspects += yield from _until_it_breaks(shared_executor(), function, waiting)
    return suspects


def _until_it_breaks(
    executor: Executor, function: Callable[[Task], Result], waiting: deque[list[Task]]
) -> Outcomes[Task, Result]:
    """Take from `waiting` until nothing is left, or the executor broke and is closed."""
    flying: dict[Future[Answers], list[Task]] = {}
    suspects: list[Task] = []
    broken = not _fill(executor, function, waiting, flying)
    while flying:
        for future in _landed(executor, flying):
            bunch = flying.pop(future)
            if _is_killed(future):
                suspects += bunch
                broken |= isinstance(executor, _Pool)
            else:
                yield from _outcomes_of(bunch, future)
        broken = broken or not _fill(executor, function, waiting, flying)
    if broken:
        # a worker that was only starting when the pool broke is ended by nobody else, and the pool
        # would wait for it for ever
        close_executor(kill=True)
    return suspects


def _fill(
    executor: Executor,
    function: Callable[[Task], Result],
    waiting: deque[list[Task]],
    flying: dict[Future[Answers], list[Task]],
) -> bool:
    """Submit waiting bunches; False where the executor broke.

    A pool gets no more than its workers take up, so that a worker that dies has few bunches with
    it.
    """
    most = executor.workers + 1 if isinstance(executor, _Pool) else len(waiting) + len(flying)
    while waiting and len(flying) < most:
        try:
            future = executor.submit(_run_bunch, function, waiting[0])
        except BrokenProcessPool:
            return False
        flying[future] = waiting.popleft()
    return True


def _landed(executor: Executor, flying: dict[Future[Answers], list[Task]]) -> set[Future[Answers]]:
    """Futures that have ended; all of them, as broken, where no worker is left to end them."""
    while True:
        ended, _ = wait(flying, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        if ended:
            return ended
        if isinstance(executor, _Pool) and executor.is_dead():
            for future in flying:
                future.set_exception(BrokenProcessPool())


def _is_killed(future: Future[Answers]) -> bool:
    """Whether a worker died over it."""
    error = _error_of(future)
    return isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker"


def _error_of(future: Future[Answers]) -> BaseException | None:
    """Why it has no result; Dask cancels what a lost scheduler had."""
    if not future.cancelled():
        return future.exception()
    close_executor()
    raise SchedulerLostError(os.environ.get("LAKEHOUSE_DASK", ""))


def _outcomes_of(bunch: Sequence[Task], future: Future[Answers]) -> Iterator[Outcome[Task, Result]]:
    error = future.exception()
    answers = [(None, reason_of(error))] * len(bunch) if error else future.result()
    return (Outcome(task, *answer) for task, answer in zip(bunch, answers, strict=True))


def _one_by_one(
    function: Callable[[Task], Result], tasks: Sequence[Task]
) -> Iterator[Outcome[Task, Result]]:
    """Each task alone in a pool of one worker; a new pool after each worker that dies."""
    waiting = deque(tasks)
    while waiting:
        with _Pool(1) as pool:
            yield from _until_one_dies(pool, function, waiting)


def _until_one_dies(
    pool: _Pool, function: Callable[[Task], Result], waiting: deque[Task]
) -> Iterator[Outcome[Task, Result]]:
    while waiting:
        try:
            future = pool.submit(_run_bunch, function, [waiting[0]])
        except BrokenProcessPool:  # its worker died between two tasks
            return
        task = waiting.popleft()
        if isinstance(future.exception(), BrokenProcessPool):
            yield Outcome(task, None, KILLED_TWICE)
            return
        yield from _outcomes_of([task], future)


def reason_of(error: BaseException) -> str:
    """An error's reason for the quarantine.

    Our own errors give their message; of others only the kind and the place are given, since a
    message may quote data.
    """
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
    return _Dask(address) if address else _Pool(worker_count())


def close_executor(*, kill: bool = False) -> None:
    """End the process's executor with its workers, threads and connections.

    The next task has a new one.

    With `kill` tasks that are being worked on are given up, else they are waited for.
    """
    if not shared_executor.cache_info().currsize:
        return
    executor = shared_executor()
    shared_executor.cache_clear()
    if kill and isinstance(executor, _Pool):
        executor.kill()
    executor.shutdown(wait=True, cancel_futures=True)


atexit.register(close_executor, kill=True)


class _Pool(ProcessPoolExecutor):
    """A pool of workers on this machine.

    They are spawned, not forked: a fork would copy the threads and locks of DuckDB and MLflow.
    """

    def __init__(self, workers: int) -> None:
        self.workers, self._context = workers, _Context()
        super().__init__(workers, mp_context=self._context, initializer=_start_worker)

    def is_dead(self) -> bool:
        """Whether all its workers have ended."""
        return not any(worker.is_alive() for worker in self._context.started)

    def kill(self) -> None:
        """End its workers at once; one whose start was interrupted has no process to end."""
        for worker in self._context.started:
            if worker.pid is not None:
                worker.kill()


class _Worker(SpawnProcess):
    """A worker that a Ctrl-C at the terminal does not reach, not even while it starts.

    Its parent ends it.
    """

    def start(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def terminate(self) -> None:
        """End it, as a broken pool does, by SIGKILL.

        One that is only starting ignores SIGTERM where the run was started with a shell's `&`.
        """
        self.kill()


class _Context(SpawnContext):
    """Where a pool's workers come from, and which they are."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *arguments: Any, **named: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802 - the executor calls it
        """A worker, yet to be started."""
        self.started.append(_Worker(*arguments, **named))
        return self.started[-1]


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _one_thread()


def _end_with_parent() -> None:
    """A parent that was killed tells its workers nothing: they would wait for ever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _one_thread() -> None:
    """Limit this worker to one thread per library.

    The variables are for libraries still to be loaded; what the worker's main module has loaded
    already is limited by hand.
    """
    os.environ.update(ONE_THREAD)
    import SimpleITK as sitk
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


class _Dask(Executor):
    """A cluster's workers, by one client that is closed with it."""

    def __init__(self, address: str) -> None:
        from distributed import Client

        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # we say it ourselves
        self._address = address
        self._client = Client.__new__(Client)
        try:
            self._client.__init__(address, set_as_default=False)  # type: ignore[misc]
        except OSError as error:
            self._client._loop_runner.stop()  # noqa: SLF001 - its thread stays where it never connected
            raise SchedulerLostError(address) from error
        self._executor = self._client.get_executor(pure=False)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """A task's future; cancelled where the scheduler is lost."""
        if self._client.status != "running":
            close_executor()
            raise SchedulerLostError(self._address)
        return self._executor.submit(function, *arguments, **named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Close the client: one that is left open tries for half a minute to come back."""
        self._client.close()
