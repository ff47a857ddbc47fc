"""SIGKILL at random moments of every stage.

Nothing is lost, doubled or half-written, and the next run gives the same rows.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.faults.setting import (
    Digests,
    Ended,
    command,
    digests_of,
    doubled_keys,
    first_home,
    in_process,
    materialise,
    restore,
)
from dagster_project.flow.gate import DOWNSTREAM
from dagster_project.intake.manifest import verify_manifest
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

KILLS_IN_A_ROW = 4
"""Attempts on one home that are killed before one may end.

A night that fails is followed by another that may fail too, on what the first one left.
"""


@dataclass
class Count:
    """What came of the kills of one stage."""

    kills: int = 0
    ended_before: int = 0
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


def run(root: Path, kills: Mapping[str, int], seed: int) -> dict[str, Count]:
    """Kill each stage as often as stated.

    Homes lie below `root`, which is on a memory disk where that is to be fast.
    """
    trial, snapshots, duration = prepare(root)
    found: dict[str, Count] = {}
    for stage, number in kills.items():
        reference = state(trial, root, snapshots[after_stage(stage)])
        before = state(trial, root, snapshots[stage])
        found[stage] = count = Count()
        moments = _moments(random.Random(f"{seed} {stage}"), duration[stage])
        while count.kills < number:
            _chain(trial, root, stage, snapshots[stage], moments, before, reference, count)
        print(stage, count, flush=True)
    return found


def _moments(chance: random.Random, seconds: float) -> Iterator[float]:
    """Moments of a stage that takes so many seconds, all as likely."""
    while True:
        yield chance.uniform(0.0, seconds)


def prepare(root: Path) -> tuple[Trial, dict[str, Path], dict[str, float]]:
    """The home before each stage, and how many seconds each stage takes undisturbed.

    What an earlier benchmark left in `root` is used again.
    """
    trial = Trial(root / "home", root / "study.toml")
    snapshots = {name: root / "snapshots" / name for name in (*STAGES, "end")}
    noted = root / "seconds.json"
    if noted.is_file():
        return trial, snapshots, json.loads(noted.read_text(encoding="utf-8"))
    _needed(in_process(lambda: first_home(root) and None, root / "log"))
    duration: dict[str, float] = {}
    for stage, work in STAGES.items():
        shutil.copytree(trial.root, snapshots[stage], symlinks=True)
        duration[stage] = _needed(in_process(partial(work, trial), root / "log")).seconds
        print(f"{stage}: {duration[stage]:.1f} s undisturbed", flush=True)
    shutil.copytree(trial.root, snapshots["end"], symlinks=True)
    # pseudonyms are drawn by chance: intake has to find those of the reference
    for part in ("crosswalk", "throwaway-key-medium"):
        shutil.copytree(trial.root / part, snapshots["intake"] / part, dirs_exist_ok=True)
    noted.write_text(json.dumps(duration), encoding="utf-8")
    return trial, snapshots, duration


def after_stage(stage: str) -> str:
    names = [*STAGES, "end"]
    return names[names.index(stage) + 1]


def _needed(ended: Ended) -> Ended:
    if ended.code:
        raise SystemExit(
            f"the undisturbed run ended with {ended.code}: see the log beside the homes"
        )
    return ended


def state(trial: Trial, root: Path, snapshot: Path) -> Digests:
    restore(snapshot, trial.root)
    return _needed(in_process(partial(look, trial), root / "log")).answer["digests"]


def look(trial: Trial) -> dict[str, Any]:
    """Digests of everything, tables with duplicate keys, and sites with a broken manifest."""
    with trial.entered():
        faults = [
            path.parent.name
            for path in trial.home.vault.glob("*/manifest.jsonl")
            if verify_manifest(path).broken_line
        ]
        return {"digests": digests_of(trial), "doubled": doubled_keys(trial), "manifest": faults}


def _chain(
    trial: Trial,
    root: Path,
    stage: str,
    snapshot: Path,
    moments: Iterator[float],
    before: Digests,
    after: Digests,
    count: Count,
) -> None:
    """Kill a stage, and the next attempts on what it left, then let it end and compare the rows."""
    restore(snapshot, trial.root)
    work, log, killed = partial(STAGES[stage], trial), root / "log", list[str]()
    for moment in islice(moments, KILLS_IN_A_ROW):
        ended = in_process(work, log, kill_after=moment)
        if ended.code >= 0:
            count.ended_before += 1
            break
        count.kills += 1
        count.seconds += ended.seconds
        killed.append(f"{moment:.3f}")
        where = f"{stage} at {' '.join(killed)} s"
        judge_at_once(in_process(partial(look, trial), log), before, after, count, where)
    if killed:
        _end(trial, root, stage, after, count, f"{stage} at {' '.join(killed)} s")


def _end(trial: Trial, root: Path, stage: str, after: Digests, count: Count, where: str) -> None:
    """Let the stage end, and compare what it made with an undisturbed run."""
    log = root / "log"
    again = in_process(partial(STAGES[stage], trial), log)
    if again.code:
        count.hung += again.code < 0
        count.not_completed += again.code >= 0
        count.examples.append(f"{where}: the next run ended with {again.code}")
        shutil.copyfile(log, root / f"failed {where}")
        return
    differing = _differing(in_process(partial(look, trial), log), after)
    count.differing += bool(differing)
    count.examples += [f"{where}: {differing[:4]}"] if differing else []


def judge_at_once(seen: Ended, before: Digests, after: Digests, count: Count, where: str) -> None:
    """Judge whether each table is as before the stage or as after it, and nothing in between."""
    if seen.code:
        count.partial += 1
        count.examples.append(f"{where}: what lies there cannot be read")
        return
    now: Digests = seen.answer["digests"]
    half = [*between(now, before, after), *(f"manifest {site}" for site in seen.answer["manifest"])]
    lost, doubled = [name for name in before if name not in now], seen.answer["doubled"]
    count.doubled += bool(doubled)
    count.examples += [f"{where}: doubled {doubled[:4]}"] * bool(doubled)
    count.partial += bool(half)
    count.lost += bool(lost)
    count.examples += [f"{where}: between {half[:4]}"] * bool(half) + [
        f"{where}: lost {lost[:4]}"
    ] * bool(lost)


def between(now: Digests, before: Digests, after: Digests) -> list[str]:
    """Tables that are neither as before a stage nor as behind it; pages are written one by one."""
    return [
        name
        for name, digest in now.items()
        if digest not in {before.get(name), after.get(name)} and name != "pages"
    ]


def _differing(seen: Ended, after: Digests) -> list[str]:
    if seen.code:
        return ["cannot be read"]
    now: Digests = seen.answer["digests"]
    return sorted(name for name in {*now, *after} if now.get(name) != after.get(name))


def table(found: Mapping[str, Count]) -> str:
    """One row per stage."""
    lines = [
        "| stage | kills | lost | doubled | between two states | next run did not end well "
        "| other rows | hung | killed after, s on average |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for stage, c in found.items():
        lines.append(
            f"| {stage} | {c.kills} | {c.lost} | {c.doubled} | {c.partial} | {c.not_completed} "
            f"| {c.differing} | {c.hung} | {c.seconds / max(c.kills, 1):.2f} |"
        )
    figures = [
        sum(getattr(c, name) for c in found.values())
        for name in ("kills", "lost", "doubled", "partial", "not_completed", "differing", "hung")
    ]
    return "\n".join([*lines, f"| **all** | {' | '.join(map(str, figures))} | |"])
