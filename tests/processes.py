"""`lakehouse run` as a process of its own: what it says, its workers, and signals to it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import psutil

from tests.trial import Trial
from tests.waiting import wait_until


class Run:
    """A command in a process group of its own, and what it says."""

    def __init__(self, trial: Trial, *arguments: str, **settings: str) -> None:
        command = [
            sys.executable,
            "-m",
            "dagster_project.cli",
            "--home",
            str(trial.root),
            *(arguments or ("run",)),
        ]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **trial.settings, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []

    def wait_for(self, words: str) -> None:
        """Until it has said so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if words in line:
                return
        raise AssertionError("".join(self.said))

    def end(self, seconds: float = 1800) -> tuple[int, str]:
        """Exit code and output; no process of the group is left soon after."""
        self.said.append(self.process.communicate(timeout=seconds)[0])
        assert wait_until(lambda: not self.group()), self.group()
        return self.process.returncode, "".join(self.said)

    def group(self) -> list[int]:
        """Processes of its group; a zombie works no more."""
        found = (psutil.Process(pid) for pid in psutil.pids() if self._is_ours(pid))
        with contextlib.suppress(psutil.NoSuchProcess):
            return [p.pid for p in found if p.status() != psutil.STATUS_ZOMBIE]
        return self.group()

    def _is_ours(self, pid: int) -> bool:
        try:
            return os.getpgid(pid) == self.process.pid
        except ProcessLookupError:
            return False

    def workers(self) -> list[psutil.Process]:
        """Its workers, first started first."""
        found = [
            p
            for p in psutil.Process(self.process.pid).children()
            if "spawn_main" in " ".join(p.cmdline())
        ]
        return sorted(found, key=lambda p: (p.create_time(), p.pid))

    def busy_worker(self) -> psutil.Process:
        """The worker that works most at this moment."""
        before = {p: sum(p.cpu_times()[:2]) for p in self.workers()}
        time.sleep(0.2)
        return max(before, key=lambda p: sum(p.cpu_times()[:2]) - before[p])
