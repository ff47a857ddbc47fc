"""Neighbouring gray tone difference matrix: distance of a gray level from its neighbours' mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel
from dagster_project.radiomics.kernels.discretise import Levels

FEATURES = ("Coarseness", "Contrast", "Busyness", "Complexity", "Strength")
COARSEST = 1_000_000.0
"""PyRadiomics' coarseness of a region without any difference."""
BLOCK = 4096
"""Voxels summed at a time: their sums stay in the nearest cache."""


def ngtdm_features(levels: Levels) -> dict[str, float]:
    """PyRadiomics' NGTDM features; a voxel without neighbours counts with difference 0."""
    gray = levels.gray.astype(np.float64)
    tones = np.concatenate(([0], levels.gray)).astype(np.int32)[levels.grid]
    span = (int(levels.voxels[0]), int(levels.voxels[-1]) + 1)
    differences = _differences(tones, levels.grid, *span, levels.offsets, len(gray))
    values = _features(
        levels.counts / len(levels.voxels), differences, gray, float(len(levels.voxels))
    )
    return dict(zip(FEATURES, values.tolist(), strict=True))


@kernel
def _differences(
    tones: NDArray[np.int32],
    grid: NDArray[np.int32],
    start: int,
    stop: int,
    offsets: NDArray[np.int64],
    n_levels: int,
) -> NDArray[np.float64]:
    """Sum of the differences by level, added in scan order."""
    found = np.zeros(n_levels + 1)
    total, count = np.empty(BLOCK, dtype=np.int32), np.empty(BLOCK, dtype=np.int32)
    for first in range(start, stop, BLOCK):
        size = min(BLOCK, stop - first)
        total[:] = 0
        count[:] = 0
        for offset in offsets:
            ahead = tones[first + offset : first + offset + size]
            behind = tones[first - offset : first - offset + size]
            for k in range(size):
                total[k] += ahead[k] + behind[k]
                count[k] += np.int32(ahead[k] > 0) + np.int32(behind[k] > 0)
        for k in range(size):
            if count[k]:
                found[grid[first + k]] += abs(tones[first + k] - total[k] / count[k])
    return found[1:]


@kernel
def _features(
    p: NDArray[np.float64], s: NDArray[np.float64], gray: NDArray[np.float64], n: float
) -> NDArray[np.float64]:
    f = np.zeros(5)
    levels = len(p)
    weighted, total = (p * s).sum(), s.sum()
    contrast = spread = 0.0
    for i in range(levels):
        for j in range(i):
            apart = gray[i] - gray[j]
            contrast += 2 * p[i] * p[j] * apart**2
            spread += 2 * abs(gray[i] * p[i] - gray[j] * p[j])
            f[3] += 2 * abs(apart) * (p[i] * s[i] + p[j] * s[j]) / (p[i] + p[j]) / n
            f[4] += 2 * (p[i] + p[j]) * apart**2
    f[0] = 1 / weighted if weighted != 0 else COARSEST
    f[1] = contrast * total / n / (levels * (levels - 1)) if levels > 1 else 0.0
    f[2] = weighted / spread if spread != 0 else 0.0
    f[4] = f[4] / total if total != 0 else 0.0
    return f
