"""A figure with its bounds, and the level that all bounds have."""

from __future__ import annotations

from dataclasses import dataclass

CONFIDENCE = 0.95
"""Two-sided level of every interval."""

TAIL = 0.025
"""Share outside an interval on each side."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its bounds; None with a reason where it, or they, cannot exist."""

    value: float | None
    lower: float | None = None
    upper: float | None = None
    reason: str | None = None


def normal_quantile(confidence: float = CONFIDENCE) -> float:
    """The standard normal quantile that leaves half of 1 - confidence above it.

    Parameters
    ----------
    confidence
        Two-sided level, within 0 and 1.

    Returns
    -------
    float
        1.96 at a level of 0.95.

    Examples
    --------
    >>> normal_quantile()
    1.959963984540054
    """
    from scipy.special import ndtri  # takes longer to load than `lakehouse status` to answer

    return float(ndtri(0.5 + confidence / 2))
