"""How a run stands and ended, in a file of the home that its owner alone reads."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RUNNING, DONE, FAILED = "running", "done", "failed"


@dataclass(frozen=True)
class Outcome:
    """A run at one place.

    `request` and `number` are the last request; `result` is at hospitals alone; `en` and `zh` state
    why it failed.
    """

    state: str
    request: str = ""
    number: int = 0
    rounds: int = 0
    en: str = ""
    zh: str = ""
    cpu_s: float = 0.0
    result: dict[str, Any] | None = field(default=None, repr=False)


def write_outcome(file: Path, outcome: Outcome) -> None:
    """Put it in place of the one before, whole."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        json.dump(asdict(outcome), opened)
    fresh.replace(file)


def read_outcome(file: Path) -> Outcome | None:
    """The newest one; None before the first."""
    try:
        return Outcome(**json.loads(file.read_text(encoding="ascii")))
    except FileNotFoundError:
        return None
