"""Which process carries a run of Dagster, and what becomes of a run whose process is gone.

A process that is killed reports nothing: its run stays STARTED, and whatever waits for it waits for
ever.

1. Each run bears its machine (a digest, since a machine's name may be a person's), its process and
   when that began, as tags.
2. A run of this machine is dead where the machine was started anew since, or no process of that
   number and beginning works.
3. A run of another machine, or without tags, is dead after `run_monitoring.max_runtime_seconds` of
   dagster.yaml, else LONGEST_SECONDS.
4. A dead run is marked as failed. Dagster's queue and sensors then go on by themselves.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

MACHINE = "lakehouse/machine"
PROCESS = "lakehouse/process"
BEGINNING = "lakehouse/process_began"
ANY_SPACE = "lakehouse/any-space"
"""Tag of a run that begins however little space is left, as one by which a patient leaves."""

LONGEST_SECONDS = 2 * 86400.0
"""Longest time of a run in seconds, longer than the first run of a whole study takes.

What a run computed until then is not computed again.
"""

DEAD = (
    "its process is gone (killed, out of memory, or the machine was started anew); "
    "marked as failed, and the next run goes on from what was saved"
)
TOO_LONG = "no end was reported for longer than max_runtime_seconds; marked as failed"


def process_tags() -> dict[str, str]:
    """Tags of a run that this process carries."""
    pid = os.getpid()
    return {MACHINE: _machine(), PROCESS: str(pid), BEGINNING: f"{_boot()} {_began(pid)}"}


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed.

    Returns
    -------
    list[str]
        Job and partition of each, in words.
    """
    import dagster as dg

    status = dg.DagsterRunStatus
    begun = [status.NOT_STARTED, status.STARTING, status.STARTED, status.CANCELING]
    ended = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=begun)):
        run = record.dagster_run
        began = record.start_time or record.create_timestamp.timestamp()
        reason = death_of(run.tags, time.time() - began, longest_seconds(instance))
        if reason:
            instance.report_run_failed(run, reason)
            ended.append(_named(run))
    return ended


def active_runs(instance: dg.DagsterInstance) -> list[str]:
    """Job and partition of each run that works; those whose process is gone are marked first."""
    import dagster as dg

    end_dead_runs(instance)
    status = dg.DagsterRunStatus
    working = [status.STARTING, status.STARTED, status.CANCELING]
    return [_named(run) for run in instance.get_runs(dg.RunsFilter(statuses=working))]


def _named(run: dg.DagsterRun) -> str:
    return f"{run.job_name} {run.tags.get('dagster/partition', '')}".strip()


def longest_seconds(instance: dg.DagsterInstance) -> float:
    """After how many seconds a run of another machine that reports no end is dead."""
    return float(instance.run_monitoring_max_runtime_seconds or LONGEST_SECONDS)


def death_of(tags: Mapping[str, str], seconds: float, longest: float) -> str:
    """Why a run that began so many seconds ago is dead; empty where it may live."""
    if tags.get(MACHINE) == _machine():
        return "" if _works(tags.get(PROCESS, ""), tags.get(BEGINNING, "")) else DEAD
    return TOO_LONG if seconds > longest else ""


def _works(pid: str, beginning: str) -> bool:
    boot, _, began = beginning.partition(" ")
    return boot == _boot() and began != "" and pid.isdecimal() and _began(int(pid)) == began


def _began(pid: int) -> str:
    """When a process began, in ticks since the machine was started.

    Empty where no process works under that number. Clocks are set; ticks are not. A zombie works no
    more.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:12]
