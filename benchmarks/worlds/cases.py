"""An interval beside its truth, and what many of them cover."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dagster_project.statistics.estimate import Estimate

Case = tuple[str, Estimate, float]
"""The figure, its interval, and the truth that it should hold."""

Cases = Iterator[Case]


@dataclass(frozen=True)
class Coverage:
    """What the intervals of one figure cover.

    The standard error is over repeats, since the intervals of one repeat are not independent.
    `bounded` is the share of estimates that have bounds; without them none are counted.
    """

    share: float
    error: float
    bounded: float


def held(found: Estimate, truth: float) -> bool | None:
    """Whether the interval holds the truth; None without an interval."""
    if found.lower is None or found.upper is None:
        return None
    return bool(found.lower <= truth <= found.upper)


def coverage(repeats: list[list[bool | None]]) -> Coverage:
    """Of repeats, each of which has one or more intervals of the figure.

    The share is a ratio of sums, whose standard error is by the deviations of the repeats from it.
    """
    held_of = np.array([sum(h is True for h in one) for one in repeats], dtype=float)
    known = np.array([sum(h is not None for h in one) for one in repeats], dtype=float)
    if not known.any():
        return Coverage(np.nan, np.nan, 0.0)
    share = held_of.sum() / known.sum()
    spread = (held_of - share * known).std(ddof=1) if len(repeats) > 1 else np.nan
    return Coverage(
        float(share),
        float(spread / known.mean() / np.sqrt(len(repeats))),
        float(known.sum() / sum(map(len, repeats))),
    )
