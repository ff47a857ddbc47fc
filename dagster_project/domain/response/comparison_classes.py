"""What became of progressions like this one: counts by margin and visit, with exact intervals.

The counts of three trials are shipped with their citation; the study's own replace them where it
has enough.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.recist import progression_threshold_mm
from dagster_project.statistics.binomial import Proportion, clopper_pearson

SHIPPED = Path(__file__).with_name("comparison_classes.toml")

FIRST, LATER = "first", "later"
"""Whether progression was seen at the first visit after baseline, or at a later one."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A block that was scanned again: whose, its class, and what became of it."""

    patient: tuple[str, str]
    margin_class: int
    visit: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A class: how many blocks were scanned again, and of these confirmed, reset and still open."""

    label: str
    n: int
    confirmed: int
    reset: int
    source: str

    @property
    def still_open(self) -> int:
        """Neither confirmed nor reset."""
        return self.n - self.confirmed - self.reset

    @property
    def shares(self) -> tuple[Proportion, Proportion] | None:
        """Confirmed and reset with exact intervals; None of an empty class."""
        if not self.n:
            return None
        return clopper_pearson(self.confirmed, self.n), clopper_pearson(self.reset, self.n)


def progression_margin(
    size_mm: float | None, nadir_mm: float | None, error: float, recist: Rules
) -> float | None:
    """How far a sum lies above progression, in errors of a difference between two readers.

    (S - threshold) / (sqrt(2) * error * S); below 0 it is no progression. None without a sum above
    0, or without a nadir.

    >>> rules = {"progression_mm": 5.0, "progression_ratio": 1.2}
    >>> round(progression_margin(130.0, 100.0, 0.06, rules), 3)
    0.907
    """
    if not size_mm or nadir_mm is None:
        return None
    return (size_mm - progression_threshold_mm(nadir_mm, recist)) / (sqrt(2) * error * size_mm)


def opening_margin(block: Mapping[str, Any], error: float, recist: Rules) -> float | None:
    """Margin of the progression that opened a block; None where it did not begin in targets."""
    if "T" not in block["categories"]:
        return None
    return progression_margin(block["sum_at_open_mm"], block["nadir_mm"], error, recist)


def margin_class(margin: float, edges: Sequence[float]) -> int:
    """Number of the class of a margin; an edge belongs to the class below it.

    >>> [margin_class(m, [0.5, 2.0]) for m in (-1.0, 0.5, 0.6, 2.0, 2.1)]
    [0, 0, 1, 1, 2]
    """
    return bisect_left(edges, margin)


def class_label(number: int, visit: str, edges: Sequence[float]) -> str:
    """A class in words.

    >>> class_label(1, "first", [0.5, 2.0]), class_label(2, "later", [0.5, 2.0])
    ('margin above 0.5 to 2, first visit', 'margin above 2, later visit')
    """
    low = f"above {edges[number - 1]:g}" if number else ""
    high = f"to {edges[number]:g}" if number < len(edges) else ""
    span = " ".join(filter(None, (low, high if low else high.replace("to", "up to"))))
    return f"margin {span}, {visit} visit"


def count_class(
    blocks: Iterable[Resolved], number: int, visit: str, edges: Sequence[float], source: str
) -> Comparison:
    """Counts of one class."""
    own = [b.outcome for b in blocks if (b.margin_class, b.visit) == (number, visit)]
    label = class_label(number, visit, edges)
    return Comparison(label, len(own), own.count("confirmed"), own.count("reset"), source)


@cache
def shipped_classes() -> Mapping[str, Any]:
    """The counts of comparison_classes.toml, with citation, licence and settings."""
    return tomllib.loads(SHIPPED.read_text(encoding="utf-8"))


EVER, NEXT = "", "next_"
"""What a class counts: what became of its blocks, or what their next evaluable CT showed."""


def compare(
    number: int,
    visit: str,
    study: Sequence[Resolved],
    edges: Sequence[float],
    minimum: int,
    counted: str = EVER,
) -> Comparison | None:
    """The class of a block: the study's own where it has `minimum` resolved blocks, else shipped.

    None where neither is of these edges. The study's blocks are to be of what is `counted`.
    """
    own = count_class(study, number, visit, edges, "study")
    if own.confirmed + own.reset >= minimum:
        return own
    shipped = shipped_classes()
    if list(shipped["edges"]) != list(edges):
        return None
    found = next(c for c in shipped["class"] if (c["margin"], c["visit"]) == (number, visit))
    n, confirmed, reset = (found[f"{counted}{name}"] for name in ("n", "confirmed", "reset"))
    return Comparison(class_label(number, visit, edges), n, confirmed, reset, shipped["source"])
