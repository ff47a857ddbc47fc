"""The disk is full at every point at which a stage writes.

Nothing is half-written, the error says so, and with more room the rows are the same.

Each home lies on a memory disk of its own with a size that ends between nothing and all that the
stage writes. Needs root, for `mount`.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.kills import (
    STAGES,
    Bounds,
    after_stage,
    between,
    differences,
    prepare,
    state,
)
from benchmarks.faults.setting import in_process
from benchmarks.faults.viewing import Viewer
from dagster_project.lake.free_space import FLOOR, full_disk
from tests.trial import Trial

CLONE_NEWNS = 0x00020000
ROOM = 64 << 20
"""Bytes that are added before the next run."""

NAMED = re.compile(
    r"No space left|disk is full|磁盘已满|database or disk is full|not enough space|Errno 28",
    re.IGNORECASE,
)


@dataclass
class Count:
    """What came of the sizes of one stage."""

    sizes: int = 0
    enough: int = 0
    not_named: int = 0
    partial: int = 0
    not_completed: int = 0
    differing: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing went wrong, and some disk was full at all."""
        return (
            not (self.not_named or self.partial or self.not_completed or self.differing)
            and self.enough < self.sizes
        )


def run(root: Path, sizes: Mapping[str, int]) -> dict[str, Count]:
    """Try each stage on as many sizes of disk as stated.

    The floor of free space is taken away: with it no run of a small disk would begin to write.
    """
    os.environ[FLOOR] = "0"
    trial, snapshots, _ = prepare(root)
    found: dict[str, Count] = {}
    for stage, number in sizes.items():
        viewer = Viewer(trial, root / "log of the viewer")
        bounds = Bounds(
            *(state(viewer, trial, snapshots[name]) for name in (stage, after_stage(stage)))
        )
        viewer.close()
        used, written = (
            _bytes(snapshots[stage]),
            _bytes(snapshots[after_stage(stage)]) - _bytes(snapshots[stage]),
        )
        found[stage] = count = Count()
        for k in range(number):
            size = used + int((k + 0.5) / number * 1.5 * max(written, 1 << 20))
            _add(
                count,
                in_process(
                    partial(_on_a_disk, trial, root, stage, snapshots[stage], size, bounds),
                    root / "disk",
                ).answer,
                f"{stage}, {size} bytes",
            )
        print(stage, count, flush=True)
    return found


def _bytes(folder: Path) -> int:
    """What a memory disk needs for it: whole pages."""
    return sum(
        -(-f.stat(follow_symlinks=False).st_size // 4096) * 4096 if not f.is_dir() else 4096
        for f in folder.rglob("*")
    )


def _add(count: Count, answer: Any, where: str) -> None:
    count.sizes += 1
    if answer is None:
        count.not_completed += 1
        count.examples.append(f"{where}: no answer")
        return
    for name in ("enough", "not_named", "partial", "not_completed", "differing"):
        setattr(count, name, getattr(count, name) + int(bool(answer[name])))
    count.examples += (
        [f"{where}: {answer}"]
        if any(answer[name] for name in ("not_named", "partial", "not_completed", "differing"))
        else []
    )


def _on_a_disk(
    trial: Trial, root: Path, stage: str, snapshot: Path, size: int, bounds: Bounds
) -> dict[str, Any]:
    """The stage on a disk of this size and again with more room, in its own mount namespace."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "no mount namespace: run as root")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    shutil.rmtree(trial.root, ignore_errors=True)
    trial.root.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(trial.root)], check=True
    )
    for part in snapshot.iterdir():
        copy = shutil.copytree if part.is_dir() else shutil.copy2
        copy(part, trial.root / part.name, **({"symlinks": True} if part.is_dir() else {}))
    log = root / "full"
    first = in_process(partial(STAGES[stage], trial), log)
    words = log.read_text(encoding="utf-8", errors="replace")
    named = NAMED.search(words) or full_disk(words, trial.home)  # as the command line judges it
    subprocess.run(["mount", "-o", f"remount,size={size + ROOM}", str(trial.root)], check=True)
    viewer = Viewer(trial, root / "log of the viewer")
    seen = viewer.look()
    again = in_process(partial(STAGES[stage], trial), log)
    other = differences(viewer.look(), bounds.after)
    viewer.close()
    return {
        "enough": first.code == 0,
        "not_named": "" if first.code == 0 or named else words[-600:],
        "partial": between(seen.digests, bounds)[:4] if seen else ["cannot be read"],
        "not_completed": again.code,
        "differing": other[:4],
    }


def table(found: Mapping[str, Count]) -> str:
    """One row per stage."""
    lines = [
        "| stage | sizes | large enough | full, and not named | between two states "
        "| next run did not end well | other rows |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for stage, c in found.items():
        lines.append(
            f"| {stage} | {c.sizes} | {c.enough} | {c.not_named} | {c.partial} "
            f"| {c.not_completed} | {c.differing} |"
        )
    return "\n".join(lines)
