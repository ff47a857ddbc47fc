"""Gray level dependence matrix: how many of its 26 neighbours share a voxel's gray level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel
from dagster_project.radiomics.kernels.discretise import Levels

FEATURES = (
    "SmallDependenceEmphasis", "LargeDependenceEmphasis", "GrayLevelNonUniformity",
    "DependenceNonUniformity", "DependenceNonUniformityNormalized", "GrayLevelVariance",
    "DependenceVariance", "DependenceEntropy", "LowGrayLevelEmphasis", "HighGrayLevelEmphasis",
    "SmallDependenceLowGrayLevelEmphasis", "SmallDependenceHighGrayLevelEmphasis",
    "LargeDependenceLowGrayLevelEmphasis", "LargeDependenceHighGrayLevelEmphasis",
)  # fmt: skip
EPS = np.spacing(1)
BLOCK = 4096
"""Voxels compared at a time: their counts stay in the nearest cache."""


def gldm_features(levels: Levels) -> dict[str, float]:
    """PyRadiomics' GLDM features with alpha 0."""
    span = (int(levels.voxels[0]), int(levels.voxels[-1]) + 1)
    table = _count(levels.grid, *span, levels.offsets, len(levels.gray))
    values = _features(table, levels.gray.astype(np.float64), float(len(levels.voxels)))
    return dict(zip(FEATURES, values.tolist(), strict=True))


@kernel
def _count(
    grid: NDArray[np.int32], start: int, stop: int, offsets: NDArray[np.int64], n_levels: int
) -> NDArray[np.int64]:
    """Voxels by level (row) and by number of equal neighbours (column)."""
    table = np.zeros((n_levels + 1, 27), dtype=np.int64)
    equal = np.empty(BLOCK, dtype=np.int32)
    for first in range(start, stop, BLOCK):
        centre = grid[first : min(first + BLOCK, stop)]
        equal[:] = 0
        for offset in offsets:
            ahead = grid[first + offset : first + offset + len(centre)]
            behind = grid[first - offset : first - offset + len(centre)]
            for k in range(len(centre)):
                equal[k] += np.int32(centre[k] == ahead[k]) + np.int32(centre[k] == behind[k])
        for k in range(len(centre)):
            table[centre[k], equal[k]] += 1
    return table[1:]


@kernel
def _features(table: NDArray[np.int64], gray: NDArray[np.float64], n: float) -> NDArray[np.float64]:
    f = np.zeros(14)
    sizes = table.sum(axis=0).astype(np.float64)
    totals = table.sum(axis=1).astype(np.float64)
    mean_gray, mean_size = (totals * gray).sum() / n, 0.0
    for d in range(27):
        mean_size += sizes[d] * (d + 1) / n
    for i in range(len(gray)):
        f[2] += totals[i] ** 2 / n
        f[5] += totals[i] / n * (gray[i] - mean_gray) ** 2
        f[8] += totals[i] / gray[i] ** 2 / n
        f[9] += totals[i] * gray[i] ** 2 / n
    for d in range(27):
        size = float(d + 1)
        f[0] += sizes[d] / size**2 / n
        f[1] += sizes[d] * size**2 / n
        f[3] += sizes[d] ** 2 / n
        f[4] += sizes[d] ** 2 / n**2
        f[6] += sizes[d] / n * (size - mean_size) ** 2
        for i in range(len(gray)):
            if table[i, d]:
                p, bright, large = table[i, d] / n, gray[i] ** 2, size**2
                f[7] -= p * np.log2(p + EPS)
                f[10] += p / (bright * large)
                f[11] += p * bright / large
                f[12] += p * large / bright
                f[13] += p * large * bright
    return f
