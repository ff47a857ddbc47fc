"""Processes of coordinator and hospitals: started with a closed environment, and ended whole."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster_project
from dagster_project.federated.engine.places import write_closed

GRACE_S = 5.0
"""How long a process may take to end before it is killed."""

ENVIRONMENT = (
    *("PATH", "LANG", "LC_ALL", "HOME", "TZ", "OMP_NUM_THREADS"),
    *("LAKEHOUSE_STUDY", "LAKEHOUSE_CATALOG", "LAKEHOUSE_DATA"),
)
"""What of this process' environment goes on; the rest, proxies included, does not."""


@dataclass(frozen=True)
class Running:
    """A process with all that it started."""

    process: subprocess.Popen

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self.process.poll() is not None

    def end(self) -> None:
        """End it with all that it started: by request, then by force.

        NVFlare puts each job process into a group of its own, so that a signal to the group of the
        parent leaves it behind.
        """
        import psutil

        started = []
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(self.process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_S)
        for child in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.kill()
        self.process.wait()


Within = Sequence[str]
"""A command in front of a process, such as one that enters a network namespace; none by default."""


def start_hospital(home: Path, kit: Path, hospital: str, within: Within = ()) -> Running:
    """The one process of a hospital; it connects to the coordinator and listens for nobody."""
    return _start(
        home, kit, ("client.client_train", "fed_client.json", f"uid={hospital}"), hospital, within
    )


def start_coordinator(home: Path, kit: Path, within: Within = ()) -> Running:
    """The coordinator's process."""
    return _start(home, kit, ("server.server_train", "fed_server.json"), "coordinator", within)


def _start(
    home: Path, kit: Path, what: tuple[str, ...], organisation: str, within: Within
) -> Running:
    module, startup, *more = what
    settings = ["secure_train=true", f"org={organisation}", "config_folder=config"]
    command: list[str] = [
        *within,
        *(sys.executable, "-m", f"nvflare.private.fed.app.{module}"),
        *("-m", str(kit), "-s", startup),
        *("--set", *settings, *more),
    ]
    write_closed(kit / "output.txt", b"")
    with (kit / "output.txt").open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=kit,
            env=environment(home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    return Running(process)


def environment(home: Path) -> dict[str, str]:
    """Of the engine's processes."""
    kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return {
        **kept,
        "LAKEHOUSE_HOME": str(home),
        "PYTHONPATH": str(Path(dagster_project.__path__[0]).parent),
        "NVFLARE_SECURE_LOGGING": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
