"""How a run stands and ended, in a file of the home that its owner alone reads."""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RUNNING, DONE, FAILED = "running", "done", "failed"


@dataclass(frozen=True)
class Outcome:
    """A run at one place.

    `request` and `number` are the last request; `result` and `plan` (its sections) are at hospitals
    alone; `en` and `zh` state why it failed; `at` is when this was written.
    """

    state: str
    request: str = ""
    number: int = 0
    rounds: int = 0
    en: str = ""
    zh: str = ""
    cpu_s: float = 0.0
    result: dict[str, Any] | None = field(default=None, repr=False)
    plan: dict[str, Any] | None = field(default=None, repr=False)
    at: str = field(default="", compare=False)


def write_outcome(file: Path, outcome: Outcome) -> None:
    """Put it in place of the one before, whole."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        json.dump({**asdict(outcome), "at": now}, opened)
    fresh.replace(file)


def read_outcome(file: Path) -> Outcome | None:
    """The newest one; None before the first."""
    try:
        return Outcome(**json.loads(file.read_text(encoding="ascii")))
    except FileNotFoundError:
        return None


def read_outcomes(folder: Path) -> dict[str, Outcome]:
    """How each run ended, by its name."""
    found = {file.stem: read_outcome(file) for file in sorted(folder.glob("*.json"))}
    return {name: outcome for name, outcome in found.items() if outcome is not None}
