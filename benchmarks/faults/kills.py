"""SIGKILL at random moments of every stage.

Nothing is lost, doubled or half-written, and the next run gives the same rows.

What a kill leaves on the disk is what lies there at its moment. So at many moments of an attempt
all its processes are stopped, the home is judged, and they go on; at the last one they are killed,
and another attempt goes on from what that left.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.faults.setting import (
    HUNG,
    Ended,
    command,
    first_home,
    in_process,
    materialise,
    restore,
    trial_of,
    warm,
)
from benchmarks.faults.viewing import Digests, Seen, Viewer
from dagster_project.flow.gate import DOWNSTREAM
from dagster_project.lake.tables import TABLES
from tests.trial import Trial

CASE_REPORT = tuple(t.name for t in TABLES if t.by_site and t.group == "case_report")
IMAGING = tuple(t.name for t in TABLES if t.by_site and t.name not in CASE_REPORT)
COHORT = tuple(t.name for t in TABLES if not t.by_site and t.name not in DOWNSTREAM)

STAGES: Mapping[str, Callable[[Trial], None]] = {
    "intake": partial(materialise, names=("intake", *CASE_REPORT), by_site=True),
    "imaging": partial(materialise, names=IMAGING, by_site=True),
    "cohort": partial(materialise, names=COHORT, by_site=False),
    "training": partial(materialise, names=DOWNSTREAM, by_site=False),
    "publication": lambda trial: command(trial, "publish"),
    "pages": lambda trial: command(trial, "report"),
    "whole run": lambda trial: command(trial, "run"),
}
"""What is killed.

`whole run` is `lakehouse run` in a home that holds everything; the others do a stage's work from
nothing.
"""

KILLS_IN_A_ROW = 2
"""Attempts on one home that are killed before one may end.

A night that fails is followed by another that may fail too, on what the first one left.
"""


@dataclass
class Count:
    """What came of the moments of one stage.

    `wrote`: moments at which something lay there that did not at the moment before.
    `kills`: moments at which the processes were killed.
    """

    moments: int = 0
    wrote: int = 0
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    partial: int = 0
    not_completed: int = 0
    differing: int = 0
    hung: int = 0
    seconds: float = 0.0
    examples: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing went wrong."""
        return not (
            self.lost
            or self.doubled
            or self.partial
            or self.not_completed
            or self.differing
            or self.hung
        )


def run(root: Path, moments: Mapping[str, int], seed: int, rounds: int) -> dict[str, Count]:
    """Judge each stage at as many moments as stated, and kill it in so many rounds.

    Homes lie below `root`, which is on a memory disk where that is to be fast.
    """
    trial, snapshots, duration = prepare(root)
    found: dict[str, Count] = {}
    for stage, number in moments.items():
        viewer = Viewer(trial, root / "log of the viewer")
        bounds = Bounds(
            *(state(viewer, trial, snapshots[name]) for name in (stage, after_stage(stage)))
        )
        found[stage] = Count()
        chance = random.Random(f"{seed} {stage}")
        tried = _Stage(viewer, trial, stage, snapshots[stage], bounds, chance, found[stage])
        tried.seconds = duration[stage]
        # two attempts that are killed in the middle, and one that ends, are two undisturbed ones
        attempts = rounds * (KILLS_IN_A_ROW / 2 + 1)
        while found[stage].moments < number:
            tried.go_through(KILLS_IN_A_ROW, math.ceil(number / attempts))
        viewer.close()
        print(row(stage, found[stage]), *found[stage].examples, sep="\n", flush=True)
    return found


def prepare(root: Path) -> tuple[Trial, dict[str, Path], dict[str, float]]:
    """The home before each stage, and how many seconds each stage takes undisturbed.

    What an earlier benchmark left in `root` is used again.
    """
    trial = trial_of(root)
    snapshots = {name: root / "snapshots" / name for name in (*STAGES, "end")}
    noted = root / "prepared.json"
    if noted.is_file():
        seconds, modules = json.loads(noted.read_text(encoding="utf-8"))
        warm(modules)
        return trial, snapshots, seconds
    _needed(in_process(lambda: first_home(root) and None, root / "log"))
    seconds, modules = {}, []
    for stage, work in STAGES.items():
        restore(trial.root, snapshots[stage])
        ended = _needed(in_process(partial(_imported_by, partial(work, trial)), root / "log"))
        warm(ended.answer)
        seconds[stage], modules = ended.seconds, [*modules, *ended.answer]
        print(f"{stage}: {seconds[stage]:.1f} s undisturbed", flush=True)
    restore(trial.root, snapshots["end"])
    # pseudonyms are drawn by chance: intake has to find those of the reference
    for part in ("crosswalk", "throwaway-key-medium"):
        shutil.copytree(trial.root / part, snapshots["intake"] / part, dirs_exist_ok=True)
    noted.write_text(json.dumps([seconds, modules]), encoding="utf-8")
    return trial, snapshots, seconds


def _imported_by(work: Callable[[], None]) -> list[str]:
    """The modules that a stage imports, in their order."""
    there = {*sys.modules}
    with contextlib.suppress(SystemExit):
        work()
    return [name for name in sys.modules if name not in there]


def after_stage(stage: str) -> str:
    names = [*STAGES, "end"]
    return names[names.index(stage) + 1]


def _needed(ended: Ended) -> Ended:
    if ended.code:
        raise SystemExit(
            f"the undisturbed run ended with {ended.code}: see the log beside the homes"
        )
    return ended


def state(viewer: Viewer, trial: Trial, snapshot: Path) -> Digests:
    """Digests of a home as a stage finds it."""
    restore(snapshot, trial.root)
    seen = viewer.look(anew=True)
    if seen is None:
        raise SystemExit("the undisturbed home cannot be read: see the log beside the homes")
    return seen.digests


@dataclass(frozen=True)
class Bounds:
    """Digests before a stage and after it."""

    before: Digests
    after: Digests


@dataclass
class _Stage:
    """A stage that is gone through again and again, and how long it takes."""

    viewer: Viewer
    trial: Trial
    stage: str
    snapshot: Path
    bounds: Bounds
    chance: random.Random
    count: Count
    seconds: float = 0.0

    def go_through(self, kills: int, moments: int) -> None:
        """Kill attempts, each on what the one before left, then let one end and compare the rows.

        An attempt that ends before its moment is that one.
        """
        restore(self.snapshot, self.trial.root)
        self.viewer.look()
        work, log = partial(STAGES[self.stage], self.trial), self.trial.root.with_name("log")
        killed: list[str] = []
        for attempt in range(kills + 1):
            end = self.chance.uniform(0.0, self.seconds) if attempt < kills else math.inf
            chosen = [self.chance.uniform(0.0, self.seconds) for _ in range(moments)]
            where = f"{self.stage} killed at {' '.join(killed) or 'no'} s"
            ended = in_process(
                work, log, kill_after=end, moments=chosen, at=partial(self._judge, where)
            )
            if ended.code != -signal.SIGKILL or end == math.inf:
                self._judge_the_end(ended, log, where)
                self.seconds = max(self.seconds, ended.seconds) if killed else ended.seconds
                return
            killed.append(f"{ended.seconds:.2f}")
            self.count.kills += 1
            self.count.seconds += ended.seconds
            self._judge(f"{self.stage} killed at {' '.join(killed)} s", ended.seconds)

    def _judge(self, where: str, moment: float) -> None:
        self.count.moments += 1
        if self.viewer.changed():
            self.count.wrote += 1
            judge_at_once(self.viewer.look(), self.bounds, self.count, f"{where}, at {moment:.2f}")

    def _judge_the_end(self, ended: Ended, log: Path, where: str) -> None:
        """Compare what the attempt that was let end made with an undisturbed run."""
        if ended.code:
            self.count.hung += ended.code == HUNG
            self.count.not_completed += ended.code != HUNG
            self.count.examples.append(f"{where}: the next run ended with {ended.code}")
            shutil.copyfile(log, log.with_name(f"failed {where}"))
            return
        differing = differences(self.viewer.look(anew=True), self.bounds.after)
        self.count.differing += bool(differing)
        self.count.examples += [f"{where}: {differing[:4]}"] if differing else []


def judge_at_once(seen: Seen | None, bounds: Bounds, count: Count, where: str) -> None:
    """Judge whether each table is as before the stage or as after it, and nothing in between."""
    if seen is None:
        count.partial += 1
        count.examples.append(f"{where}: what lies there cannot be read")
        return
    half = [*between(seen.digests, bounds), *(f"manifest {site}" for site in seen.manifest)]
    lost = [n for n in bounds.before if n in bounds.after and n not in seen.digests]
    count.doubled += bool(seen.doubled)
    count.partial += bool(half)
    count.lost += bool(lost)
    for what, names in (("doubled", seen.doubled), ("between", half), ("lost", lost)):
        count.examples += [f"{where}: {what} {names[:4]}"] if names else []


def between(now: Digests, bounds: Bounds) -> list[str]:
    """Tables that are neither as before a stage nor as behind it; pages are written one by one."""
    return [
        name
        for name, digest in now.items()
        if digest not in {bounds.before.get(name), bounds.after.get(name)} and name != "pages"
    ]


def differences(seen: Seen | None, after: Digests) -> list[str]:
    """Names whose rows are not those of an undisturbed run."""
    if seen is None:
        return ["cannot be read"]
    now = seen.digests
    return [
        *sorted(name for name in {*now, *after} if now.get(name) != after.get(name)),
        *(f"{name} doubled" for name in seen.doubled),
        *(f"manifest {site}" for site in seen.manifest),
    ]


HEAD = (
    "| stage | moments | of these, something had been written | of these, killed | lost | doubled "
    "| between two states | next run did not end well | other rows | hung | killed after, s |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)
FIGURES = (
    "moments", "wrote", "kills", "lost", "doubled", "partial", "not_completed", "differing", "hung",
)  # fmt: skip


def row(stage: str, count: Count) -> str:
    """A stage's line of the table."""
    figures = " | ".join(str(getattr(count, name)) for name in FIGURES)
    return f"| {stage} | {figures} | {count.seconds / max(count.kills, 1):.2f} |"


def table(found: Mapping[str, Count]) -> str:
    """One row per stage."""
    sums = [str(sum(getattr(c, name) for c in found.values())) for name in FIGURES]
    rows = [row(stage, count) for stage, count in found.items()]
    return "\n".join([HEAD, *rows, f"| **all** | {' | '.join(sums)} | |"])
