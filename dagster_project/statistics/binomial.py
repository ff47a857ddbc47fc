"""Proportions with their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from dagster_project.statistics.estimate import CONFIDENCE, Estimate, normal_quantile


@dataclass(frozen=True, slots=True)
class Proportion:
    """A proportion with its interval."""

    count: int
    n: int
    value: float
    lower: float
    upper: float


def clopper_pearson(x: int, n: int, *, confidence: float = CONFIDENCE) -> Proportion:
    """Exact interval of a proportion from the beta distribution (Clopper & Pearson 1934).

    L = Beta^-1(a/2; x, n - x + 1), U = Beta^-1(1 - a/2; x + 1, n - x); L = 0 for x = 0, U = 1 for
    x = n.

    Parameters
    ----------
    x, n
        How many of how many.
    confidence
        Two-sided level.

    Returns
    -------
    Proportion
        With its lower and upper bound.

    Raises
    ------
    ValueError
        Where not 0 <= x <= n with n > 0.

    Examples
    --------
    >>> found = clopper_pearson(7, 20)
    >>> round(found.lower, 4), round(found.upper, 4)
    (0.1539, 0.5922)
    """
    if n < 1 or not 0 <= x <= n:
        raise ValueError("clopper_pearson: pass a count between 0 and n, and n above 0")
    from scipy.special import betaincinv  # takes longer to load than `lakehouse status` to answer

    tail = (1.0 - confidence) / 2
    lower = 0.0 if x == 0 else float(betaincinv(x, n - x + 1, tail))
    upper = 1.0 if x == n else float(betaincinv(x + 1, n - x, 1.0 - tail))
    return Proportion(x, n, x / n, lower, upper)


def wilson(x: int, n: int) -> Proportion:
    """95 % score interval of a proportion (Wilson 1927), to be put together with others.

    (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n). A proportion that is shown by itself has
    `clopper_pearson`'s.

    Parameters
    ----------
    x, n
        How many of how many; n above 0.

    Returns
    -------
    Proportion

    Examples
    --------
    >>> found = wilson(7, 20)
    >>> round(found.lower, 4), round(found.upper, 4)
    (0.1812, 0.5671)
    """
    p, z2 = x / n, normal_quantile() ** 2
    reach = sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n**2)))
    low, high = ((p + z2 / (2 * n) + side * reach) / (1 + z2 / n) for side in (-1, 1))
    return Proportion(x, n, p, max(0.0, min(low, p)), min(1.0, max(high, p)))


def proportion(successes: int, total: int) -> Estimate:
    """`clopper_pearson` of a class or call that may have no patient.

    Parameters
    ----------
    successes, total
        How many of how many.

    Returns
    -------
    Estimate
        Without a value, and with the reason, where `total` is 0.

    Examples
    --------
    >>> round(proportion(7, 20).lower, 4), round(proportion(7, 20).upper, 4)
    (0.1539, 0.5922)
    """
    if not total:
        return Estimate(None, reason="no patient of this class or call")
    found = clopper_pearson(successes, total)
    return Estimate(found.value, found.lower, found.upper)
