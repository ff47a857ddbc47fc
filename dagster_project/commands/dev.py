"""`lakehouse dev`: Dagster's and MLflow's pages on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import click
import psutil

from dagster_project.commands.interruption import Interrupted
from dagster_project.commands.run import install_dagster_settings
from dagster_project.commands.terminal import CONSOLE, refuse_other_schema
from dagster_project.lake.home import Home, find_home
from dagster_project.lake.interruption import SIGNALS

MARK = "LAKEHOUSE_DEV"
"""In the environment of all that one `lakehouse dev` starts, however deep.

A process whose parent has gone, or that leads a session of its own, is found by it.
"""

STAGES = ((signal.SIGINT, 30.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))
"""How servers are ended: each signal, and the seconds after which the next one follows.

Dagster waits for its web server, its daemon and its code server, one after the other.
"""

LOOK_SECONDS = 0.2
"""How often the servers are looked at; a look reads the processes' table once."""


@click.command()
@click.option("--port", type=int, default=3000, show_default=True, help="Dagster's port.")
@click.option("--mlflow-port", type=int, default=5000, show_default=True, help="MLflow's port.")
def dev(port: int, mlflow_port: int) -> None:
    """Run Dagster UI with schedules and sensors, and MLflow UI, on 127.0.0.1.

    \b
    Ctrl-C or SIGTERM stops both. A run in progress is ended with them; the next one goes on.
    Example:
      lakehouse dev --port 3333
    """
    serve(refuse_other_schema(find_home()).make(), port, mlflow_port)


def serve(home: Home, port: int, mlflow_port: int) -> None:
    """Run Dagster's web server and daemon and MLflow's server until one ends or a signal comes."""
    install_dagster_settings(home)
    package = Path(__file__).resolve().parents[1]
    environment = os.environ | {"LAKEHOUSE_HOME": str(home.root), "DAGSTER_HOME": str(home.dagster)}
    folder = Path(sys.executable).parent
    commands = (
        [
            str(folder / "dagster"),
            "dev",
            "-w",
            str(package / "workspace.yaml"),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
        ],
        [
            str(folder / "mlflow"),
            "server",
            "--backend-store-uri",
            home.mlflow_uri,
            "--artifacts-destination",
            str(home.mlflow / "artifacts"),
            "--host",
            "127.0.0.1",
            "--port",
            str(mlflow_port),
            "--workers",
            "1",
        ],
    )
    _refuse_taken(port, mlflow_port)
    CONSOLE.print("starting Dagster and MLflow; their addresses follow when they answer")
    run_servers(
        commands,
        environment,
        package.parent,
        {"Dagster": port, "MLflow": mlflow_port},
        {"MLflow": _page_of_runs(home)},
    )


def _page_of_runs(home: Home) -> str:
    """Where MLflow's page has the newest training; the start page lies two clicks before it."""
    from models.operation.registry import make_client

    if not home.mlflow_file.is_file():
        return ""
    found = make_client(home.mlflow_uri).search_experiments(order_by=["last_update_time DESC"])
    ids = [one.experiment_id for one in found if one.name != "Default"]
    return f"/#/experiments/{ids[0]}/runs?workflowType=machine_learning" if ids else ""


def _refuse_taken(*ports: int) -> None:
    """A server of something else would be shown as ours."""
    for port in ports:
        if answers(port):
            raise click.ClickException(
                f"port {port} of 127.0.0.1 is taken; choose others with --port and --mlflow-port\n"
                f"127.0.0.1 的端口 {port} 已被占用；请用 --port 与 --mlflow-port 指定其他端口"
            )


def answers(port: int) -> bool:
    """Whether a server takes connections on a port of this machine."""
    with socket.socket() as asked:
        asked.settimeout(1.0)
        return asked.connect_ex(("127.0.0.1", port)) == 0


def run_servers(
    commands: Sequence[Sequence[str]],
    environment: Mapping[str, str],
    folder: Path,
    ports: Mapping[str, int] = MappingProxyType({}),
    pages: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Run commands until one ends or a signal comes; afterwards no process that they started lives.

    1. SIGINT is heard also where it was ignored, as a shell's job in the background does.
    2. Servers get the signals of STAGES in turn; a second signal meanwhile kills them at once.
    3. The address of each port, by the name of its server, is printed once it answers, with the
       page to begin with.

    Raises
    ------
    Interrupted
        Where a signal ended it.
    click.ClickException
        Where a server ended by itself.
    """
    mark = uuid.uuid4().hex
    with _heard() as heard:
        servers: list[subprocess.Popen[bytes]] = []
        try:
            servers.extend(
                _start(command, {**environment, MARK: mark}, folder) for command in commands
            )
            waited_for = dict(ports)
            while not heard and all(server.poll() is None for server in servers):
                time.sleep(LOOK_SECONDS)
                _print_what_answers(waited_for, pages)
        finally:
            _end(servers, mark, lambda: len(heard) > 1)
    if heard:
        raise Interrupted(heard[0], "stopped")
    raise click.ClickException(
        "a server ended by itself, and the other with it; its last lines above say why"
    )


def _print_what_answers(waited_for: dict[str, int], pages: Mapping[str, str]) -> None:
    """Print the addresses that answer, and wait for them no more."""
    for name, port in [(n, p) for n, p in waited_for.items() if answers(p)]:
        del waited_for[name]
        page = pages.get(name, "")
        CONSOLE.print(f"{name} answers: http://127.0.0.1:{port}{page}", soft_wrap=True)
        if not waited_for:
            CONSOLE.print("Ctrl-C stops both")


def _start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    """In a session of its own: a Ctrl-C at the terminal would reach it a second time."""
    return subprocess.Popen(command, env=environment, cwd=folder, start_new_session=True)


@contextmanager
def _heard() -> Iterator[list[int]]:
    """Signals that came within the block.

    A hang-up of the terminal is one too, unless nohup has it ignored.
    """
    heard: list[int] = []
    numbers = [
        *SIGNALS,
        *([signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []),
    ]
    before = {
        number: signal.signal(number, lambda number, _: heard.append(number)) for number in numbers
    }
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(
    servers: Sequence[subprocess.Popen[bytes]], mark: str, at_once: Callable[[], bool]
) -> None:
    """End servers and all that they started.

    The first signal goes to the servers alone, which end what they started.
    """
    CONSOLE.print("stopping")
    own = {server.pid for server in servers}
    for number, seconds in STAGES:
        if at_once() and number != signal.SIGKILL:
            continue
        deadline = time.monotonic() + seconds
        _send(number, [p for p in _marked(mark) if number != signal.SIGINT or p.pid in own])
        while (
            _alive(servers, mark)
            and time.monotonic() < deadline
            and (number == signal.SIGKILL or not at_once())
        ):
            time.sleep(LOOK_SECONDS)
            if number == signal.SIGKILL:
                _send(number, _marked(mark))  # what was started meanwhile


def _send(number: int, processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def _alive(servers: Sequence[subprocess.Popen[bytes]], mark: str) -> bool:
    """Servers are waited for as well, so that none stays as a zombie."""
    waited = [server.poll() for server in servers]
    return None in waited or bool(_marked(mark))


def _marked(mark: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _mark_of(process) == mark]


def _mark_of(process: psutil.Process) -> str | None:
    """Of another user's process, or of one that has ended, there is none."""
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None
