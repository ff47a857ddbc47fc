"""`lakehouse dev` and the servers that it starts.

A signal ends all of them, however deep, and the exit code is the shell's.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest
from click.testing import CliRunner

from dagster_project.cli import main
from dagster_project.commands.dev import MARK, _page_of_runs
from dagster_project.lake.home import Home
from models.operation.log import make_experiment
from models.operation.registry import make_client

DEEP = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1:]:
    subprocess.Popen([sys.executable, __file__], start_new_session=True)
print("up", flush=True)
time.sleep(600)
"""
"""A server that listens to nobody, with a child in a session of its own, as MLflow's jobs are."""

PARENT = """
import signal, sys
from pathlib import Path
from dagster_project.commands import dev
dev.STAGES = ((signal.SIGINT, 1.0), (signal.SIGTERM, 1.0), (signal.SIGKILL, 10.0))
try:
    dev.run_servers([[sys.executable, *sys.argv[1:]]], {}, Path.cwd())
except Exception as ended:
    sys.exit(ended.exit_code)
"""


def of_one(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            found += [process] if process.environ().get(MARK) == mark else []
    return found


def living(processes: list[psutil.Process]) -> list[list[str]]:
    """Commands of those that work; a zombie of nobody's works no more."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [process.cmdline()] if process.status() != psutil.STATUS_ZOMBIE else []
    return found


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All processes that bear the mark of this one's children."""
    children = psutil.Process(process.pid).children()
    return of_one(children[0].environ()[MARK]) if children else []


@contextlib.contextmanager
def started(
    command: list[str], out: IO[str] | int = subprocess.PIPE, **named: object
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdout=out, stderr=subprocess.STDOUT, text=True, **named
    ) as process:  # type: ignore[call-overload]
        marked: list[psutil.Process] = []
        try:
            yield process
            marked = family(process) if process.poll() is None else []
        finally:
            for left in (*marked, process):
                with contextlib.suppress(psutil.Error, ProcessLookupError):
                    left.kill()


def ignore_as_a_job_in_the_background() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_listens_to_nobody_is_killed_with_all_that_it_started(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    deep = tmp_path / "deep.py"
    deep.write_text(DEEP)
    with started(
        [sys.executable, "-c", PARENT, str(deep), "more"],
        preexec_fn=ignore_as_a_job_in_the_background,
    ) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline().strip() for _ in range(2)] == ["up", "up"]
        before = family(parent)
        assert len(before) == 2
        parent.send_signal(number)
        assert parent.wait(60) == code
    assert living(before) == []


def test_a_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    deep = tmp_path / "deep.py"
    deep.write_text(DEEP)
    patient = PARENT.replace("SIGINT, 1.0", "SIGINT, 300.0")
    with started([sys.executable, "-c", patient, str(deep)]) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        for _ in range(2):
            parent.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        assert parent.wait(30) == 143


def test_a_server_that_ends_by_itself_ends_the_other_and_is_an_error(tmp_path: Path) -> None:
    with started([sys.executable, "-c", PARENT, "-c", "raise SystemExit(0)"]) as parent:
        assert parent.wait(60) == 1


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(
            main, ["--home", str(tmp_path / "home"), "dev", "--port", str(port)]
        )
    assert result.exit_code == 1
    assert f"port {port} of 127.0.0.1 is taken" in result.output


def test_the_address_of_mlflow_leads_to_the_newest_training(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").make()
    assert _page_of_runs(home) == ""
    client = make_client(home.mlflow_uri)
    assert _page_of_runs(home) == ""
    made = make_experiment(client, "lakehouse-T1", home.mlflow, "a description")
    assert _page_of_runs(home).startswith(f"/#/experiments/{made}/runs")


def test_sigterm_leaves_no_process_of_dagster_or_mlflow(tmp_path: Path) -> None:
    ports, said = [free_port(), free_port()], tmp_path / "said"
    arguments = [
        "--home",
        str(tmp_path / "home"),
        "dev",
        "--port",
        str(ports[0]),
        "--mlflow-port",
        str(ports[1]),
    ]
    with (
        said.open("w") as out,
        started([sys.executable, "-m", "dagster_project.cli", *arguments], out) as dev,
    ):
        deadline = time.monotonic() + 600
        while not listens(ports[0]):
            assert dev.poll() is None, said.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        while "Ctrl-C stops both" not in said.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.5)
        for name, port in zip(("Dagster", "MLflow"), ports, strict=True):
            assert f"{name} answers: http://127.0.0.1:{port}" in said.read_text()
            assert listens(port)
        before = family(dev)
        assert len(before) >= 4, [p.cmdline() for p in before]
        dev.terminate()
        assert dev.wait(100) == 143, said.read_text()
    assert living(before) == []
    assert not any(map(listens, ports))
