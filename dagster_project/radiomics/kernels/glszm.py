"""Gray level size zone matrix: connected zones of one gray level.

They are found by union and find instead of growing each zone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel
from dagster_project.radiomics.kernels.discretise import Levels

FEATURES = (
    "SmallAreaEmphasis", "LargeAreaEmphasis", "GrayLevelNonUniformity",
    "GrayLevelNonUniformityNormalized", "SizeZoneNonUniformity",
    "SizeZoneNonUniformityNormalized", "ZonePercentage", "GrayLevelVariance", "ZoneVariance",
    "ZoneEntropy", "LowGrayLevelZoneEmphasis", "HighGrayLevelZoneEmphasis",
    "SmallAreaLowGrayLevelEmphasis", "SmallAreaHighGrayLevelEmphasis",
    "LargeAreaLowGrayLevelEmphasis", "LargeAreaHighGrayLevelEmphasis",
)  # fmt: skip
EPS = np.spacing(1)


def glszm_features(levels: Levels) -> dict[str, float]:
    """PyRadiomics' GLSZM features: zones are connected through faces, edges and corners."""
    _, rows, columns = levels.shape
    zone_levels, zone_sizes = _zones(levels.grid, levels.voxels, rows * columns, columns)
    cells, times = np.unique(zone_sizes * (len(levels.gray) + 1) + zone_levels, return_counts=True)
    sizes, ranks = np.divmod(cells, len(levels.gray) + 1)
    values = _features(
        levels.gray.astype(np.float64), ranks - 1, sizes, times, float(len(levels.voxels))
    )
    return dict(zip(FEATURES, values.tolist(), strict=True))


@kernel
def _root(parent: NDArray[np.int32], place: int) -> int:
    """The zone's first voxel; every second step of the way is shortened."""
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


@kernel
def _join(parent: NDArray[np.int32], leader: int, place: int) -> int:
    """Make a zone and the zone of a place one, led by the earlier voxel."""
    other = _root(parent, place)
    first, second = min(leader, other), max(leader, other)
    parent[second] = first
    return first


@kernel
def _zones(
    grid: NDArray[np.int32], voxels: NDArray[np.int64], plane: int, row: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Level and size of every zone.

    Of the 13 earlier neighbours those are left out that touch a voxel already found equal: it has
    joined them before.
    """
    parent = np.empty(len(grid), dtype=np.int32)
    for v in voxels:
        level, leader = grid[v], v
        parent[v] = v
        after_left = grid[v - 1] == level
        if after_left:
            leader = _join(parent, leader, v - 1)
        for line in (v - row, v - plane - row, v - plane, v - plane + row):
            if grid[line] == level:
                leader = _join(parent, leader, line)
                continue
            if not after_left and grid[line - 1] == level:
                leader = _join(parent, leader, line - 1)
            if grid[line + 1] == level:
                leader = _join(parent, leader, line + 1)
    return _sizes(grid, voxels, parent)


@kernel
def _sizes(
    grid: NDArray[np.int32], voxels: NDArray[np.int64], parent: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Voxels of each zone.

    A leader comes before all that follow it, so that it has its number first.
    """
    number = np.empty(len(grid), dtype=np.int32)
    levels, sizes = np.empty(len(voxels), dtype=np.int64), np.zeros(len(voxels), dtype=np.int64)
    found = 0
    for v in voxels:
        leader = parent[v]
        if leader == v:
            number[v] = found
            levels[found] = grid[v]
            found += 1
        else:
            number[v] = number[leader]
        sizes[number[v]] += 1
    return levels[:found], sizes[:found]


@kernel
def _features(
    gray: NDArray[np.float64],
    ranks: NDArray[np.int64],
    sizes: NDArray[np.int64],
    times: NDArray[np.int64],
    n_voxels: float,
) -> NDArray[np.float64]:
    """The cells of the matrix come in order of size."""
    f = np.zeros(16)
    n = float(times.sum())
    totals = np.zeros(len(gray))
    mean_gray, mean_size = (gray[ranks] * times).sum() / n, (sizes * times).sum() / n
    of_size = 0.0
    for c in range(len(sizes)):
        p, bright, large = times[c] / n, gray[ranks[c]] ** 2, float(sizes[c]) ** 2
        totals[ranks[c]] += times[c]
        of_size += times[c]
        if c + 1 == len(sizes) or sizes[c + 1] != sizes[c]:
            f[4] += of_size**2 / n
            f[5] += of_size**2 / n**2
            of_size = 0.0
        f[0] += p / large
        f[1] += p * large
        f[7] += p * (gray[ranks[c]] - mean_gray) ** 2
        f[8] += p * (sizes[c] - mean_size) ** 2
        f[9] -= p * np.log2(p + EPS)
        f[10] += p / bright
        f[11] += p * bright
        f[12] += p / (bright * large)
        f[13] += p * bright / large
        f[14] += p * large / bright
        f[15] += p * large * bright
    f[2] = (totals**2).sum() / n
    f[3] = (totals**2).sum() / n**2
    f[6] = n / n_voxels
    return f
