"""First-order statistics: one sort and a few passes instead of a percentile, a mean and a power for each feature."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.discretise import Levels

EPS = np.spacing(1)
"""What PyRadiomics adds to a probability before its logarithm."""


def firstorder_features(levels: Levels, spacing_mm: float) -> dict[str, float]:
    """PyRadiomics' first-order features.

    Sums run over the voxels in scan order with numpy's own pairing: in a flat region, where a mean differs from the value in
    its last bit, the moments are those last bits.
    """
    x = levels.values.astype(np.float64)
    ordered = np.sort(levels.values).astype(np.float64)
    mean = x.sum() / len(x)
    energy = float((x**2).sum())
    return {
        "Energy": energy,
        "TotalEnergy": energy * (spacing_mm * spacing_mm * spacing_mm),
        "RootMeanSquared": float(np.sqrt(energy / len(x))),
        "Mean": float(mean),
        **_order_statistics(ordered),
        **_moments(x - mean),
        **_histogram(levels.counts),
        "RobustMeanAbsoluteDeviation": _robust_deviation(x, _percentile(ordered, 10), _percentile(ordered, 90)),
    }


def _order_statistics(ordered: NDArray[np.float64]) -> dict[str, float]:
    n = len(ordered)
    return {
        "Minimum": float(ordered[0]),
        "Maximum": float(ordered[-1]),
        "Range": float(ordered[-1] - ordered[0]),
        "Median": float((ordered[(n - 1) // 2] + ordered[n // 2]) / 2),
        "10Percentile": _percentile(ordered, 10),
        "90Percentile": _percentile(ordered, 90),
        "InterquartileRange": _percentile(ordered, 75) - _percentile(ordered, 25),
    }


def _percentile(ordered: NDArray[np.float64], q: float) -> float:
    """numpy's linear interpolation, from whichever side is nearer."""
    place = q / 100 * (len(ordered) - 1)
    below = int(place)
    low, high, share = ordered[below], ordered[min(below + 1, len(ordered) - 1)], place - below
    return float(low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share))


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
    return {"Entropy": float(-1.0 * np.sum(p * np.log2(p + EPS))), "Uniformity": float(np.sum(p**2))}


def _robust_deviation(x: NDArray[np.float64], low: float, high: float) -> float:
    """Mean absolute deviation of the values from the 10th to the 90th percentile; summed like a mean that skips the others."""
    kept = (x - low >= 0) & (x - high <= 0)
    n = int(kept.sum())
    mean = np.where(kept, x, 0.0).sum() / n
    return float(np.where(kept, np.abs(x - mean), 0.0).sum() / n)
