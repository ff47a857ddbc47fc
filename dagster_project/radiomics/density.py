"""DHI's density component: how the distribution of densities changes.

Both distributions are centred and taken at one size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEVELS = np.linspace(0.005, 0.995, 199)
"""Levels of the quantile functions: the outermost half per cent at each end is left to noise."""


def density_change(first: Values, second: Values) -> float:
    """D, the location-free part of the 2-Wasserstein distance, in standard deviations.

    D = sqrt[(σ_s − σ_t)² + 2 σ_s σ_t (1 − ρ_Q)] / sqrt((σ_s² + σ_t²) / 2), with σ and ρ_Q the
    standard deviations and the correlation of the two quantile functions over u in [.005, .995].
    The numerator is the standard deviation of their difference, and is computed as that: it is then
    exactly 0 for the same values in any order. 0 where both visits are constant.

    >>> density_change(np.array([0.0, 1.0, 2.0]), np.array([12.0, 10.0, 11.0]))
    0.0
    """
    of_first, of_second = np.quantile(first, LEVELS), np.quantile(second, LEVELS)
    scale = np.sqrt((of_first.var() + of_second.var()) / 2)
    return float((of_first - of_second).std() / scale) if scale > 0 else 0.0


def centred_wasserstein(first: Values, second: Values) -> float:
    """The comparator: 1-Wasserstein distance of densities, each centred on its median, in HU."""
    of_first, of_second = (np.quantile(v, LEVELS) - np.median(v) for v in (first, second))
    return float(np.abs(of_first - of_second).mean())
