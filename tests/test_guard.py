"""The guard fails a test for each kind of thing that it leaves behind.

The same holds for a fixture of a wider scope. The guard fails nobody else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests import guard
from tests.waiting import wait_until

LEFT = {
    "thread": (
        "threading.Thread(target=ENDS.wait, name='forgotten', daemon=True).start()",
        "thread forgotten",
    ),
    "child": ("KEPT.append(subprocess.Popen(['sleep', '60']))", "child"),
    "zombie": ("KEPT.append(subprocess.Popen(['true']))", "(a zombie)"),
    "open socket": ("KEPT.append(socket.create_server(('127.0.0.1', 0)))", "socket"),
    "home": ("os.environ['LAKEHOUSE_HOME'] = '/elsewhere'", "environment LAKEHOUSE_HOME"),
    "home of Dagster": ("os.environ['DAGSTER_HOME'] = '/elsewhere'", "environment DAGSTER_HOME"),
    "hash seed": ("os.environ['PYTHONHASHSEED'] = '1'", "environment PYTHONHASHSEED"),
    "limit of threads": ("os.environ['OMP_NUM_THREADS'] = '7'", "environment OMP_NUM_THREADS"),
    "variable taken away": ("del os.environ['THERE_BEFORE']", "environment THERE_BEFORE"),
    "working folder": ("os.chdir('/')", "working folder"),
    "handler": ("signal.signal(signal.SIGTERM, lambda *_: None)", "handler of SIGTERM"),
    "umask": ("os.umask(0o077)", "umask"),
    "search path": ("sys.path.append('/elsewhere')", "search path of imports"),
    "locale": ("locale.setlocale(locale.LC_ALL, 'C.UTF-8')", "locale"),
    "time zone": ("patch.setenv('TZ', 'Asia/Shanghai'); time.tzset(); patch.undo()", "time zone"),
    "timeout of sockets": ("socket.setdefaulttimeout(5)", "timeout of sockets"),
    "seed": ("random.seed(1)", "random state of Python"),
    "seed of NumPy": ("numpy.random.seed(1)", "random state of NumPy"),
    "seed of torch": ("torch.manual_seed(1)", "random state of torch"),
    "errors of NumPy": ("numpy.seterr(all='raise')", "treatment of NumPy's errors"),
    "threads of torch": ("torch.set_num_threads(torch.get_num_threads() + 1)", "threads of torch"),
    "threads of SimpleITK": (
        "SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(7)",
        "threads of SimpleITK",
    ),
    "threads of numba": ("numba.set_num_threads(1)", "threads of numba"),
    "threads of BLAS": ("threadpoolctl.threadpool_limits(limits=1)", "threads of BLAS and OpenMP"),
    "settings of matplotlib": ("matplotlib.rcParams['font.size'] = 3", "settings of matplotlib"),
}
"""What a test does, and the words in which the guard names it."""

HARMLESS = {
    "thread that ends soon": "threading.Thread(target=time.sleep, args=(0.05,)).start()",
    "child that was waited for": "subprocess.run(['true'])",
    "socket that is closed": "socket.create_server(('127.0.0.1', 0)).close()",
    "socket in a cycle": "cycle = [socket.create_server(('127.0.0.1', 0))]; cycle.append(cycle)",
    "variable that is put back": "patch.setenv('LAKEHOUSE_HOME', '/elsewhere')",
    "generator of its own": "numpy.random.default_rng(1).random(); random.Random(1).random()",
    "what a wider fixture holds": "assert os.environ['HELD'] == '1'",
}

THREADS = {"OMP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "3"}
"""Threads of the run of pytest, whatever the machine and its settings.

There are threads to be taken away.
"""

HEAD = """
import locale, os, random, signal, socket, subprocess, sys, threading, time
import matplotlib, numba, numba.np.ufunc.parallel, numpy, pytest, SimpleITK, threadpoolctl, torch
os.environ["THERE_BEFORE"] = "1"
KEPT, LEFT, ENDS = [], [], threading.Event()
numba.get_num_threads()  # which starts them

@pytest.fixture
def patch(monkeypatch):
    return monkeypatch
"""

SHORT_OF_PATIENCE = """
import os, socket
import pytest
from tests import guard

guard.SECONDS_TO_GO = 2.0

@pytest.fixture(scope="session", autouse=True)
def held():
    os.environ["HELD"] = "1"
    here = socket.create_server(("127.0.0.1", 0))
    yield
    here.close()
    del os.environ["HELD"]
"""
"""The conftest of both files.

The guard waits for a moment only, and a fixture of all tests holds something.
"""

WIDE = """
@pytest.fixture(scope="module")
def careless_{n}():
    {body}

def test_by_careless_{n}(careless_{n}):
    pass
"""

CARELESS = {
    "in its setup": "os.environ['SET_BY_A_FIXTURE'] = '/elsewhere'",
    "in its teardown": "yield; random.seed(2)",
    "a child": "LEFT.append(subprocess.Popen(['sleep', '10'])); yield",
}
CAREFUL = {
    "puts back": "os.environ['PUT_BACK'] = '/elsewhere'; yield; del os.environ['PUT_BACK']",
    "ends its child": (
        "child = subprocess.Popen(['sleep', '60']); yield; child.kill(); child.wait()"
    ),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Failures by test, of a run of pytest with the guard and nothing else of ours.

    The text is empty where there is none.
    """
    folder = tmp_path_factory.mktemp("guarded")
    bodies = [*(body for body, _ in LEFT.values()), *HARMLESS.values()]
    tests = [f"def test_{n}(patch):\n    {body}\n" for n, body in enumerate(bodies)]
    wide = [
        WIDE.format(n=n, body=body)
        for n, body in enumerate([*CARELESS.values(), *CAREFUL.values()])
    ]
    tail = [
        "def test_last():\n    "
        "ENDS.set(); [(p.kill(), p.wait()) for p in KEPT if hasattr(p, 'kill')]\n"
    ]
    for name, written in {"test_a.py": tests, "test_b.py": wide}.items():
        (folder / name).write_text("\n".join([HEAD, *written, *tail]), encoding="utf-8")
    (folder / "conftest.py").write_text(SHORT_OF_PATIENCE, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.guard",
        "-p",
        "no:cacheprovider",
        "--junitxml=found.xml",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(guard.__file__).parents[1]), **THREADS}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert (folder / "found.xml").is_file(), done.stdout + done.stderr
    cases = ET.parse(folder / "found.xml").iter("testcase")
    return {
        f"{c.get('classname')}.{c.get('name')}": "".join(
            part.get("message", "") + (part.text or "") for part in c
        )
        for c in cases
    }


@pytest.mark.parametrize(
    ("n", "words"), [(n, words) for n, (_, words) in enumerate(LEFT.values())], ids=LEFT
)
def test_what_a_test_leaves_is_named(verdicts: dict[str, str], n: int, words: str) -> None:
    assert "this test leaves behind" in verdicts[f"test_a.test_{n}"]
    assert words in verdicts[f"test_a.test_{n}"]


@pytest.mark.parametrize(
    "n", [pytest.param(n, id=name) for n, name in enumerate(HARMLESS, len(LEFT))]
)
def test_what_is_put_back_or_held_by_a_wider_fixture_is_no_leftover(
    verdicts: dict[str, str], n: int
) -> None:
    assert verdicts[f"test_a.test_{n}"] == ""


@pytest.mark.parametrize(
    ("n", "words"),
    [(0, "environment SET_BY_A_FIXTURE"), (1, "random state of Python"), (2, "child")],
    ids=CARELESS,
)
def test_a_wider_fixture_that_leaves_something_is_named_after_its_teardown(
    verdicts: dict[str, str], n: int, words: str
) -> None:
    told = "".join(message for test, message in verdicts.items() if test.startswith("test_b."))
    assert f"fixture careless_{n} leaves behind: {words}" in told


def test_a_wider_fixture_that_puts_back_is_not_named(verdicts: dict[str, str]) -> None:
    told = "".join(verdicts.values())
    assert not [
        n
        for n in range(len(CARELESS), len(CARELESS) + len(CAREFUL))
        if f"careless_{n} leaves" in told
    ]
    assert "fixture held" not in told


def test_a_shared_child_that_ends_between_tests_is_nobodys_fault() -> None:
    """The child is a zombie without a command line until its owner looks.

    One that nobody shared is named.
    """
    shared, other = (
        subprocess.Popen([sys.executable, "-c", "input()", name], stdin=subprocess.PIPE)
        for name in ("dagster_project.intake.vault.sandbox", "other")
    )
    try:
        wait_until(
            lambda: (
                guard._command(shared.pid) != guard.ZOMBIE
                and "reading" in guard._command(shared.pid)
            )
        )
        assert shared.pid not in guard._children()
        for child in (shared, other):
            child.kill()
        assert wait_until(
            lambda: guard._command(shared.pid) == guard._command(other.pid) == guard.ZOMBIE
        )
        assert shared.pid not in guard._children()
        assert other.pid in guard._children()
    finally:
        for child in (shared, other):
            child.communicate()
