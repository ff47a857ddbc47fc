"""DHI's spatial component: which density habitats are neighbours.

Only what goes beyond the amount of each habitat counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dagster_project.radiomics.resampling import Mask

OUTSIDE = 0
"""Code of voxels outside the mask: habitats at the rim differ from the same habitats inside."""


def habitat_codes(
    volume: NDArray[np.float64], mask: Mask, cuts_hu: Sequence[float], smoothing_voxels: float
) -> NDArray[np.intp]:
    """Codes 1, 2, … of median-centred densities, smoothed within the mask; 0 outside.

    Smoothing is normalised: a voxel at the rim is a mean of lesion alone. The median is taken
    before smoothing.
    """
    centred = np.where(mask, volume - np.median(volume[mask]), 0.0)
    weight = gaussian_filter(mask.astype(np.float64), smoothing_voxels, mode="constant")
    smooth = gaussian_filter(centred, smoothing_voxels, mode="constant")[mask] / weight[mask]
    codes = np.full(mask.shape, OUTSIDE, dtype=np.intp)
    codes[mask] = np.digitize(np.round(smooth, 9), cuts_hu) + 1
    return codes


def cooccurrence(codes: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """Probability that two 6-neighbours have the codes i and j; symmetric, sums to 1.

    Pairs of two voxels outside are not counted; those of one inside and one outside are.
    """
    padded = np.pad(codes, 1, constant_values=OUTSIDE)
    pairs = np.zeros((count, count))
    for axis in range(3):
        here, there = (
            np.moveaxis(padded, axis, 0)[:-1].ravel(),
            np.moveaxis(padded, axis, 0)[1:].ravel(),
        )
        pairs += np.bincount(here * count + there, minlength=count * count).reshape(count, count)
    pairs += pairs.T
    pairs[OUTSIDE, OUTSIDE] = 0.0
    return pairs / pairs.sum()


def spatial_change(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """S = sqrt(JSD₂(P_s, P_t) − JSD₂(π_s, π_t)): 0 to 1.

    P are the co-occurrences, and π their marginals.

    By the chain rule of mutual information the difference is the divergence of the neighbours given
    the voxel itself, hence not negative: change of arrangement beyond change of composition.
    """
    surplus = jensen_shannon(first, second) - jensen_shannon(first.sum(axis=1), second.sum(axis=1))
    return float(np.sqrt(max(surplus, 0.0)))


def jensen_shannon(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Jensen–Shannon divergence in bits: 0 to 1.

    >>> jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    1.0
    """
    middle = (first + second) / 2
    return (_relative_entropy(first, middle) + _relative_entropy(second, middle)) / 2


def _relative_entropy(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    present = p > 0
    return float((p[present] * np.log2(p[present] / q[present])).sum())
