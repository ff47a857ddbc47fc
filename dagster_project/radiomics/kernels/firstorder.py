"""First-order statistics: percentiles by selection, moments in a few passes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel
from dagster_project.radiomics.kernels.discretise import Levels
from dagster_project.radiomics.resampling import Array, Spacing, along_axes

EPS = np.spacing(1)
"""What PyRadiomics adds to a probability before its logarithm."""
FINE_BINS = 4096
"""Bins of the histogram that percentiles are looked up in; any number gives the same values."""


def firstorder_features(levels: Levels, spacing_mm: float | Spacing) -> dict[str, float]:
    """PyRadiomics' first-order features.

    Sums run over the voxels in scan order with numpy's own pairing: in a flat region, where a mean
    differs from the value in its last bit, the moments are those last bits.
    """
    x = levels.values.astype(np.float64)
    ordered = _order_statistics(levels.values)
    mean = x.sum() / len(x)
    energy = float((x**2).sum())
    return {
        "Energy": energy,
        "TotalEnergy": energy * math.prod(along_axes(spacing_mm)),
        "RootMeanSquared": float(np.sqrt(energy / len(x))),
        "Mean": float(mean),
        **ordered,
        **_moments(x - mean),
        **_histogram(levels.counts),
        "RobustMeanAbsoluteDeviation": _robust_deviation(
            x, ordered["10Percentile"], ordered["90Percentile"]
        ),
    }


def _order_statistics(values: Array) -> dict[str, float]:
    n = len(values)
    share, below = np.modf(np.array([0.1, 0.25, 0.75, 0.9]) * (n - 1))
    lower = below.astype(np.int64)
    places = np.concatenate([lower, np.minimum(lower + 1, n - 1), [0, (n - 1) // 2, n // 2, n - 1]])
    found = _select(values, places).tolist()
    p10, p25, p75, p90 = map(_between, found[:4], found[4:8], share.tolist())
    return {
        "Minimum": found[8],
        "Maximum": found[11],
        "Range": found[11] - found[8],
        "Median": (found[9] + found[10]) / 2,
        "10Percentile": p10,
        "90Percentile": p90,
        "InterquartileRange": p75 - p25,
    }


@kernel
def _select(values: Array, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values at some places of the sorted region.

    A fine histogram shows where they lie, and only that part is sorted.
    """
    low, high = float(values.min()), float(values.max())
    scale = (FINE_BINS - 1) / (high - low) if high > low else 0.0
    bins, counts = np.empty(len(values), dtype=np.int32), np.zeros(FINE_BINS, dtype=np.int64)
    for n in range(len(values)):
        bins[n] = int((values[n] - low) * scale)
        counts[bins[n]] += 1
    found, ends = np.full(len(places), low), np.cumsum(counts)
    for p in range(len(places)):
        wanted = np.searchsorted(ends, places[p], side="right")
        if high > low:
            found[p] = _members(values, bins, wanted, counts[wanted])[
                places[p] - ends[wanted] + counts[wanted]
            ]
    return found


@kernel
def _members(values: Array, bins: NDArray[np.int32], wanted: int, count: int) -> Array:
    """The values of one bin, sorted."""
    inside, filled = np.empty(count, dtype=values.dtype), 0
    for n in range(len(values)):
        if bins[n] == wanted:
            inside[filled] = values[n]
            filled += 1
    inside.sort()
    return inside


def _between(low: float, high: float, share: float) -> float:
    """Linear interpolation as numpy does it, from whichever side is nearer."""
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)


def _moments(deviations: NDArray[np.float64]) -> dict[str, float]:
    n = len(deviations)
    squares = deviations * deviations
    variance = squares.sum() / n
    scale = variance or 1.0
    return {
        "Variance": float(np.sqrt(variance) ** 2),
        "Skewness": float((squares * deviations).sum() / n / scale**1.5),
        "Kurtosis": float((squares * squares).sum() / n / scale**2.0),
        "MeanAbsoluteDeviation": float(np.abs(deviations).sum() / n),
    }


def _histogram(counts: NDArray[np.int64]) -> dict[str, float]:
    p = counts / counts.sum()
    return {
        "Entropy": float(-1.0 * np.sum(p * np.log2(p + EPS))),
        "Uniformity": float(np.sum(p**2)),
    }


def _robust_deviation(x: NDArray[np.float64], low: float, high: float) -> float:
    """Mean absolute deviation of the values from the 10th to the 90th percentile.

    Summed like a mean that skips the others. NaN where no value lies between, as in two voxels.
    """
    kept = (x - low >= 0) & (x - high <= 0)
    n = int(kept.sum())
    if n == 0:
        return float("nan")
    mean = np.where(kept, x, 0.0).sum() / n
    return float(np.where(kept, np.abs(x - mean), 0.0).sum() / n)
