"""What a test, or a fixture of a wider scope, must leave as it found it.

A plugin of pytest that names who does not.

1. A test is compared with the moment before it: what wider fixtures hold was there already.
2. A fixture of a wider scope may hold what it likes while it lives. Once it is torn down, what its
   setup and its teardown changed must be as it was; what others changed meanwhile is theirs.
"""

from __future__ import annotations

import gc
import locale
import multiprocessing.resource_tracker
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# It draws random numbers when it is first imported, which a test may be the first to do.
import rich.style  # noqa: F401

SECONDS_TO_GO = 60.0
"""Seconds that an ending thread, child or socket may take on a busy machine.

A test that leaves nothing waits for nothing.
"""

NOT_OF_THE_TEST = (
    "PYTEST_CURRENT_TEST",
    "PYTEST_VERSION",
    "_RJEM_MALLOC_CONF",
    "KMP_DUPLICATE_LIB_OK",
    "KMP_INIT_AT_FORK",
    "TORCHINDUCTOR_CACHE_DIR",
    "PYDANTIC_DISABLE_PLUGINS",
)
"""Set by pytest, and by polars, scikit-learn, torch and `lakehouse` at the first test with them.

SIGALRM is pytest-timeout's.
"""

EVERY = ("",)
FIRST = ("thread ", "child ", "environment ", "handler of ", "working folder")
"""The respects in which every test was looked at first."""

LOOKED_AT: dict[str, tuple[str, ...]] = {
    "tests": FIRST,
    **dict.fromkeys(
        ("test_keys.py", "test_house.py", "test_sensors.py", "test_flow.py", "test_privacy.py"),
        EVERY,
    ),
    **dict.fromkeys(("test_bad_input.py", "test_cli.py", "test_withdrawal.py"), EVERY),
    "deliveries": (),
}
"""Respects by file or folder, where they are not every one.

These were not yet run in the others. To be widened one by one.
"""


def respects(file: Path) -> tuple[str, ...]:
    """Prefixes of the names that are compared for a file's tests and the fixtures they use."""
    return LOOKED_AT.get(file.name, LOOKED_AT.get(file.parent.name, EVERY))


State = dict[str, Any]
"""What is looked at, by name in words, and how it stands."""

THINGS = ("thread ", "child ", "socket ")
"""Prefixes of the names of things that run or are open.

One that has gone since is no leftover, and one that goes takes a moment.
"""


def state() -> State:
    """As it is now, in about a millisecond."""
    return {
        **{
            f"thread {t.name} ({t.ident})": True
            for t in threading.enumerate()
            if not _is_shared_thread(t)
        },
        **{f"child {pid}": True for pid in _children()},
        **{f"socket {inode}": True for inode in _sockets()},
        **{
            f"environment {name}": value
            for name, value in os.environ.items()
            if name not in NOT_OF_THE_TEST
        },
        **{
            f"handler of {number.name}": signal.getsignal(number)
            for number in signal.Signals
            if number != signal.SIGALRM
        },
        **{name: look() for name, look in ALWAYS.items()},
        **{
            name: value
            for name, (module, look) in ONCE_IMPORTED.items()
            if module in sys.modules and (value := look(sys.modules[module])) is not None
        },
    }


def _umask() -> str:
    """The umask as the kernel reports it.

    Reading it with `os.umask` changes it for other threads meanwhile.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(line for line in lines if line.startswith("Umask:"))


ALWAYS: dict[str, Callable[[], object]] = {
    "working folder": os.getcwd,
    "umask": _umask,
    "search path of imports": lambda: tuple(sys.path),
    "locale": lambda: locale.setlocale(locale.LC_ALL),
    "time zone": lambda: time.tzname,
    "timeout of sockets": socket.getdefaulttimeout,
    "random state of Python": random.getstate,
}

ONCE_IMPORTED: dict[str, tuple[str, Callable[[Any], object]]] = {
    "random state of NumPy": (
        "numpy.random",
        lambda m: repr(m.get_state()[2:]) + str(m.get_state()[1].tobytes()),
    ),
    "treatment of NumPy's errors": ("numpy", lambda m: tuple(m.geterr().items())),
    "random state of torch": ("torch", lambda m: m.get_rng_state().numpy().tobytes()),
    "threads of torch": ("torch", lambda m: m.get_num_threads()),
    "threads of SimpleITK": (
        "SimpleITK",
        lambda m: m.ProcessObject.GetGlobalDefaultNumberOfThreads(),
    ),
    "threads of numba": (
        "numba.np.ufunc.parallel",
        lambda m: m.get_num_threads() if m._is_initialized else None,
    ),
    "threads of BLAS and OpenMP": ("threadpoolctl", lambda _: _pools()),
    "settings of matplotlib": (
        "matplotlib",
        lambda m: tuple((k, repr(v)) for k, v in m.rcParams.items() if not k.startswith("backend")),
    ),
}
"""Settings of libraries, compared where the module is loaded before and after.

None while it has none. Looking must start nothing.
"""

_POOLS: dict[str, Any] = {}


def _pools() -> dict[str, int]:
    """Threads by library file.

    The search for libraries takes milliseconds and is repeated when modules were loaded.
    """
    import threadpoolctl

    if _POOLS.get("modules") != len(sys.modules):
        _POOLS.update(
            modules=len(sys.modules), found=threadpoolctl.ThreadpoolController().lib_controllers
        )
    return {library.filepath: library.num_threads for library in _POOLS["found"]}


def changed(before: State, now: State) -> set[str]:
    """Names of what differs; a setting that one of the two does not know was not loaded yet."""
    new = {
        name for name in now.keys() - before.keys() if name.startswith((*THINGS, "environment "))
    }
    gone = {name for name in before.keys() - now.keys() if name.startswith("environment ")}
    return (
        new
        | gone
        | {name for name in before.keys() & now.keys() if not _same(name, before[name], now[name])}
    )


def _same(name: str, before: Any, now: Any) -> bool:
    if (
        name == "threads of BLAS and OpenMP"
    ):  # libraries that were loaded meanwhile have their own limit
        return all(now[library] == before[library] for library in before.keys() & now.keys())
    return before == now


def left_behind(
    before: State, among: set[str] | None = None, prefixes: tuple[str, ...] = ("",)
) -> list[str]:
    """What differs from before, in words.

    `among` limits it to these names, where given, and `prefixes` to names that begin so. Things
    have a moment to go.
    """
    deadline = time.monotonic() + SECONDS_TO_GO
    while True:
        left = {
            name
            for name in changed(before, state())
            if name.startswith(prefixes) and (among is None or name in among)
        }
        if not any(name.startswith(THINGS) for name in left):
            return sorted(left)
        if time.monotonic() > deadline:
            return sorted(_in_words(name) for name in left)
        gc.collect()  # a socket in a cycle of objects that nobody uses is closed by it
        time.sleep(0.02)


def _in_words(name: str) -> str:
    return (
        f"{name} {_command(int(name.removeprefix('child ')))}"
        if name.startswith("child ")
        else name
    )


# ── pytest ──


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test leaves its process as it found it."""
    before, looked_at = state(), respects(request.path)
    yield
    left = left_behind(before, prefixes=looked_at) if looked_at else []
    assert not left, "this test leaves behind: " + "; ".join(left)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest
) -> Iterator[None]:
    """A fixture of a wider scope leaves the process as it found it once it is torn down."""
    if fixturedef.scope == "function" or respects(request._pyfuncitem.path) != EVERY:
        return (yield)
    before = state()
    of_the_fixture: set[str] = set()
    at_teardown: State = {}

    def compare() -> None:
        left = left_behind(before, of_the_fixture | changed(at_teardown, state()))
        assert not left, f"fixture {fixturedef.argname} leaves behind: " + "; ".join(left)

    fixturedef.addfinalizer(compare)  # the first to be added is the last to be called
    given = yield
    of_the_fixture |= changed(before, state())
    fixturedef.addfinalizer(lambda: at_teardown.update(state()))
    return given


# ── what is shared on purpose ──


def _children() -> list[int]:
    """Zombies too: they are children until somebody waits for them."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:  # the thread has ended
            continue
    return [pid for pid in found if not _is_shared_child(pid)]


def _sockets() -> list[str]:
    """Inodes of this process's open sockets."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a third of the time
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - likewise
        except OSError:  # that of the listing itself
            continue
        if target.startswith("socket:"):
            found.append(target.removeprefix("socket:"))
    return found


ZOMBIE = "(a zombie)"
"""A process that has ended and that nobody has waited for: it has no command line any more."""

_SHARED: set[int] = set()
"""Children that were seen to be shared.

One that ends between tests is a zombie until its owner looks, and has no name by then.
"""


def _command(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[-120:].strip()
            or ZOMBIE
        )
    except OSError:
        return ""


def _shared_executor_lives() -> bool:
    """Workers are kept between tests as between assets: they take seconds to start."""
    compute = sys.modules.get("dagster_project.compute")
    return compute is not None and bool(compute.shared_executor.cache_info().currsize)


def _is_shared_thread(thread: threading.Thread) -> bool:
    if thread.name.startswith(
        "MlflowLocalArtifactRepository"
    ):  # a pool that MLflow lets go with its repository
        return True
    shared = thread.name == "QueueFeederThread" or type(thread).__name__ == "_ExecutorManagerThread"
    return shared and _shared_executor_lives()


def _is_shared_child(pid: int) -> bool:
    """A worker of the shared executor, intake's parsing child, or Python's resource tracker.

    The child parses files; the tracker is that of what processes share.
    """
    command = _command(pid)
    if command == ZOMBIE:
        return pid in _SHARED
    is_tracker = pid == multiprocessing.resource_tracker._resource_tracker._pid
    if (
        is_tracker
        or "dagster_project.intake.vault.sandbox" in command
        or (_shared_executor_lives() and "spawn_main" in command)
    ):
        _SHARED.add(pid)
        return True
    return False
