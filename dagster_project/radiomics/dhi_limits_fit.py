"""DHI's limits: what each component may reach through noise, position and contour alone.

They are set in the lesion itself and over the cohort.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

COMPONENTS = ("texture", "density", "spatial", "radial")
FOLDS = 10
"""Limits are cross-fitted: a patient's own repeats never set the limits that judge this patient."""


@dataclass(frozen=True)
class Limits:
    """q_c of each component, q* of their combination, and the number of lesions they are from."""

    components: tuple[float, ...]
    combined: float
    n_lesions: int


def null_scale(first: Sequence[float], second: Sequence[float]) -> float | None:
    """s_c: RMS of a component over the pairs of perturbed copies of both visits; None without any.

    >>> null_scale([3.0], [4.0])
    3.5355339059327378
    """
    distances = np.sort(
        np.concatenate([np.asarray(first, dtype=float), np.asarray(second, dtype=float)])
    )
    return float(np.sqrt(np.mean(distances**2))) if distances.size else None


def held_back_ratios(first: Sequence[float], second: Sequence[float]) -> Values:
    """Each pair's distance over the s_c of the pairs that share no copy with it.

    This is how far a repeat strays from its own null. The pairs of a visit are those of its copies
    in the order of `itertools.combinations`; the other visit's pairs share none. NaN where no pair
    is apart, or where those that are do not differ at all.
    """
    squares = [np.square(np.asarray(side, dtype=float)) for side in (first, second)]
    ratios = []
    for own, other in (squares, squares[::-1]):
        apart = _apart(own.size)
        count = apart.sum(axis=1) + other.size
        mean = (apart @ own + other.sum()) / np.maximum(count, 1)
        ratios.append(np.sqrt(np.divide(own, mean, out=np.full(own.size, np.nan), where=mean > 0)))
    return np.concatenate(ratios)


@cache
def _apart(n_pairs: int) -> Values:
    """1 where two pairs of copies share none, 0 where they share one."""
    copies = round((1 + np.sqrt(1 + 8 * n_pairs)) / 2) if n_pairs else 0
    pairs = list(combinations(range(copies), 2))
    return np.array([[not set(p) & set(q) for q in pairs] for p in pairs], dtype=float).reshape(
        n_pairs, n_pairs
    )


def fit_limits(ratios: Sequence[Values], quantile: float, n_lesions: int) -> Limits:
    """q_c and q* from held-back ratios, one array (pairs of copies × components) a comparison.

    1. q_c: the quantile of component c's ratios.
    2. u_c = ratio / q_c; q*: the quantile of sqrt(mean u_c²).
    """
    pooled = np.concatenate(ratios)
    pooled = pooled[np.isfinite(pooled).all(axis=1)]
    of_components = np.quantile(pooled, quantile, axis=0)
    combined = np.quantile(np.sqrt(np.mean((pooled / of_components) ** 2, axis=1)), quantile)
    return Limits(tuple(float(q) for q in of_components), float(combined), n_lesions)


def folds_of(patients: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The fold of each patient (site, pseudonym): in order of their names, dealt out in turn."""
    return {patient: i % FOLDS for i, patient in enumerate(sorted(set(patients)))}


def widen(scale: float, size_effect: float, floor: float) -> float:
    """r_c = sqrt(s_c² + (½ e_c)² + f_c²): what is explained of a component's change.

    s_c is the component's null scale, e_c the component between the larger visit and its own n
    deepest voxels, and f_c its floor (`fit_floor`).
    """
    return float(np.sqrt(scale**2 + (size_effect / 2) ** 2 + floor**2))


def amount_beyond(
    changes: Sequence[float], explained: Sequence[float], yardsticks: Sequence[float]
) -> float:
    """sqrt(max(0, mean (d_c² − r_c²) / k_c²)): how much changed beyond what is explained.

    The unit k_c of each component is the same for every lesion.

    A repeat's expected value of d² is r², so that lesions of any size and noise gather about 0
    unless they change. DHI divides by the lesion's own r_c instead: it says how surely a lesion
    changed, and grows with its size where the change is the same.

    >>> amount_beyond([5.0, 1.0], [3.0, 1.0], [2.0, 1.0])
    1.4142135623730951
    """
    squares = (np.square(np.asarray(changes, dtype=float)) - np.square(explained)) / np.square(
        yardsticks
    )
    return float(np.sqrt(max(0.0, squares.mean())))


def fit_floor(
    distances: Sequence[float], scales: Sequence[float], volumes: Sequence[float]
) -> float:
    """f: the difference of two scans of one lesion that copies of one scan cannot show.

    Such as where the scanner's voxels fell.

    f² = mean(d² − s²) over the larger half of the lesions, in which s is small; 0 where the mean is
    within two of its standard errors, since a floor that is chance alone would only blunt the index
    in large lesions.
    """
    large = np.asarray(volumes) >= np.median(volumes)
    surplus = (
        np.square(np.asarray(distances, dtype=float)) - np.square(np.asarray(scales, dtype=float))
    )[large]
    error = surplus.std(ddof=1) / np.sqrt(surplus.size)
    return float(np.sqrt(surplus.mean())) if surplus.mean() > 2 * error else 0.0


def fallback_scale(component: str, volume_mm3: float, fallback: Mapping[str, Any]) -> float | None:
    """s_c where no copies could be made; None outside the volumes of the synthetic lesions.

    ln s = intercept + slope ln V, as fitted on synthetic lesions.
    """
    low, high = fallback["volume_mm3"]
    if not low <= volume_mm3 <= high:
        return None
    return float(
        np.exp(fallback[component]["intercept"] + fallback[component]["slope"] * np.log(volume_mm3))
    )


def combine(units: Sequence[float], limits: Limits) -> float:
    """DHI = sqrt(mean u_c²) / q*."""
    return float(np.sqrt(np.mean(np.square(units))) / limits.combined)
