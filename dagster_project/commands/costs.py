"""What each step of a run costs: seconds by the clock and of the processors."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from dagster_project.commands.terminal import print_table
from dagster_project.commands.words import printed
from dagster_project.console import LISTENERS, STEP_ENDS

BETWEEN = "between steps"
"""Where the seconds belong that no step spends: Dagster's own, and loading modules."""


TITLE = "What each step cost"
LEAST = 0.01
"""Share of all CPU seconds from which on a step has a row of its own."""

COLUMNS = ["step", "CPU s", "share", "s by the clock", "times"]


class Moment(NamedTuple):
    """Seconds by the clock, and of the processors by this process and its workers."""

    clock: float
    cpu: float


def now() -> Moment:
    """Seconds so far; those of a worker that has ended are counted with this process."""
    own, ended = os.times(), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.user + own.system + ended.ru_utime + ended.ru_stime
    for worker in multiprocessing.active_children():
        with suppress(psutil.NoSuchProcess):
            spent = psutil.Process(worker.pid).cpu_times()
            cpu += spent.user + spent.system
    return Moment(time.perf_counter(), cpu)


@dataclass
class Costs:
    """What each step has cost so far; what else spends seconds stands under `BETWEEN`."""

    clock: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    times: Counter[str] = field(default_factory=Counter)
    last: Moment = field(default_factory=now)
    step: str = BETWEEN

    def listen(self, event: str, step: str) -> None:
        """Give what was spent since the last event to the step that spent it."""
        moment = now()
        self.clock[self.step] += moment.clock - self.last.clock
        self.cpu[self.step] += moment.cpu - self.last.cpu
        self.times[step] += event == "STEP_START"
        self.last = moment
        self.step = BETWEEN if event in STEP_ENDS else step

    def rows(self) -> list[tuple[str, str, str, str, int]]:
        """Step, CPU seconds, their share, seconds by the clock, how often; the dearest first.

        Steps that cost less than `LEAST` of the whole stand together in the last row.
        """
        least = LEAST * sum(self.cpu.values())
        small = [step for step, cpu in self.cpu.items() if cpu < least]
        dear = sorted(self.cpu.keys() - small, key=lambda step: -self.cpu[step])
        others = [self._row(printed("{0} other steps", len(small)), small)] if small else []
        return [*(self._row(printed(step), [step]) for step in dear), *others]

    def _row(self, name: str, steps: Sequence[str]) -> tuple[str, str, str, str, int]:
        cpu, total = sum(self.cpu[step] for step in steps), sum(self.cpu.values()) or 1.0
        clock, times = (sum(of[step] for step in steps) for of in (self.clock, self.times))
        return name, f"{cpu:.1f}", f"{cpu / total:.0%}", f"{clock:.1f}", int(times)


@contextmanager
def counted(*, wanted: bool) -> Iterator[None]:
    """Count what the steps within the block cost, and print it at the end."""
    if not wanted:
        yield
        return
    costs = Costs()
    LISTENERS.append(costs.listen)
    try:
        yield
    finally:
        LISTENERS.remove(costs.listen)
        costs.listen("", BETWEEN)
        print_table(printed(TITLE), [printed(name) for name in COLUMNS], costs.rows())
