"""Percentile intervals of figures over patients drawn with replacement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import numpy.typing as npt

from dagster_project.statistics.estimate import TAIL, Estimate

Places = npt.NDArray[np.int64]


def drawn_counts(n: int, draws: int, seed: int) -> npt.NDArray[np.float64]:
    """How often each of n patients is in each draw of n with replacement.

    Parameters
    ----------
    n, draws
        Patients, and draws of them.
    seed
        The same seed gives the same draws.

    Returns
    -------
    float array (draws, n)
        Each row adds up to n.
    """
    random = np.random.default_rng(seed)
    return random.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)


def percentile_bounds(drawn: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """95 % bounds: the percentiles 2.5 and 97.5 of the figures of the draws.

    Parameters
    ----------
    drawn : float array (draws,)
        NaN where a draw has no figure.

    Returns
    -------
    tuple of float
        Lower and upper bound.
    """
    low, high = np.nanquantile(drawn, [TAIL, 1 - TAIL])
    return float(low), float(high)


def bootstrap_mean(values: np.ndarray, *, draws: int = 1000, seed: int = 1) -> Estimate:
    """Mean over patients with the percentile interval over patients drawn with replacement.

    Parameters
    ----------
    values : float array (patients,)
    draws, seed
        See `drawn_counts`.

    Returns
    -------
    Estimate
    """
    bounds = percentile_bounds(drawn_counts(values.size, draws, seed) @ values / values.size)
    return Estimate(float(values.mean()), *bounds)


def bootstrap_groups(
    figure: Callable[[Places], float | None], groups: Sequence[Hashable], *, draws: int, seed: int
) -> tuple[float | None, float | None]:
    """95 % percentile bounds of any figure of rows that are clustered within patients.

    1. Patients are drawn with replacement, each with all its rows.
    2. Without two patients there are no bounds, nor where fewer than half of the draws have a
       figure.

    Parameters
    ----------
    figure
        Of the rows at some places; None where it does not exist.
    groups
        The patient of each row.
    draws, seed
        How many draws, and their seed.

    Returns
    -------
    tuple of float or None
        Lower and upper bound.
    """
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        places[group].append(place)
    own = [np.array(p) for p in places.values()]
    if len(own) < 2:
        return None, None
    random = np.random.default_rng(seed)
    drawn = [_of_a_draw(figure, own, random) for _ in range(draws)]
    found = [value for value in drawn if value is not None]
    return percentile_bounds(found) if len(found) >= draws / 2 else (None, None)


def _of_a_draw(
    figure: Callable[[Places], float | None], own: Sequence[Places], random: np.random.Generator
) -> float | None:
    return figure(np.concatenate([own[i] for i in random.integers(len(own), size=len(own))]))
