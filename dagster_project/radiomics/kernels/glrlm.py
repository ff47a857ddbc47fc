"""Gray level run length matrix, without walking along the runs.

Runs are counted by each voxel's place in its run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel
from dagster_project.radiomics.kernels.discretise import DIRECTIONS, Levels

FEATURES = (
    "ShortRunEmphasis", "LongRunEmphasis", "GrayLevelNonUniformity",
    "GrayLevelNonUniformityNormalized", "RunLengthNonUniformity",
    "RunLengthNonUniformityNormalized", "RunPercentage", "GrayLevelVariance", "RunVariance",
    "RunEntropy", "LowGrayLevelRunEmphasis", "HighGrayLevelRunEmphasis",
    "ShortRunLowGrayLevelEmphasis", "ShortRunHighGrayLevelEmphasis",
    "LongRunLowGrayLevelEmphasis", "LongRunHighGrayLevelEmphasis",
)  # fmt: skip
EPS = np.spacing(1)
SHORT_STEP = 8
"""Steps in the grid below which voxels are taken one by one."""
BLOCK = 4096
"""Voxels compared at a time: they stay in the nearest cache."""


def glrlm_features(levels: Levels) -> dict[str, float]:
    """PyRadiomics' GLRLM features, averaged over the directions; NaN without any.

    Only directions in which a line of the grid holds two voxels count.
    """
    values, used = _all_directions(
        levels.grid,
        levels.voxels,
        levels.offsets,
        levels.gray.astype(np.float64),
        max(levels.shape),
    )
    for number, direction in enumerate(DIRECTIONS):
        if not used[number]:
            used[number] = _share_a_line(levels, direction)
    means = values[used].sum(axis=0) / used.sum() if used.any() else np.full(len(FEATURES), np.nan)
    return dict(zip(FEATURES, means.tolist(), strict=True))


def _share_a_line(levels: Levels, direction: tuple[int, ...]) -> bool:
    """Whether any line along the direction holds two voxels, neighbours or not."""
    places = np.stack(np.unravel_index(levels.voxels, levels.shape))
    axis = next(a for a in range(3) if direction[a])
    steps = places[axis] * direction[axis]
    starts = places - steps * np.array(direction)[:, None]
    return np.unique(starts, axis=1).shape[1] < len(levels.voxels)


@kernel
def _all_directions(
    grid: NDArray[np.int32],
    voxels: NDArray[np.int64],
    offsets: NDArray[np.int64],
    gray: NDArray[np.float64],
    longest: int,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Features by direction, and which directions have a run of two voxels at least."""
    values, used = np.zeros((len(offsets), 16)), np.zeros(len(offsets), dtype=np.bool_)
    reached = np.zeros(len(grid), dtype=np.int32)
    table = np.zeros((len(gray) + 1, longest + 2), dtype=np.int32)
    for number in range(len(offsets)):
        table[:, :] = 0
        _count(grid, voxels, offsets[number], reached, table)
        used[number] = table[:, 2].any()
        _features(table, gray, float(len(voxels)), values[number])
    return values, used


@kernel
def _count(
    grid: NDArray[np.int32],
    voxels: NDArray[np.int64],
    offset: int,
    reached: NDArray[np.int32],
    table: NDArray[np.int32],
) -> None:
    """Voxels by level and place in their run."""
    if offset < SHORT_STEP:
        for v in voxels:
            reached[v] = reached[v - offset] + 1 if grid[v] == grid[v - offset] else 1
    else:
        _reach_by_block(grid, voxels[0], voxels[-1] + 1, offset, reached)
    width, cells = table.shape[1], table.ravel()
    for v in voxels:
        cells[grid[v] * width + reached[v]] += 1


@kernel
def _reach_by_block(
    grid: NDArray[np.int32], start: int, stop: int, offset: int, reached: NDArray[np.int32]
) -> None:
    """Each voxel's place in its run, for as many voxels at a time as are independent."""
    block = min(offset, BLOCK)
    for first in range(start, stop, block):
        size = min(block, stop - first)
        now, before = grid[first : first + size], grid[first - offset : first - offset + size]
        place, place_before = (
            reached[first : first + size],
            reached[first - offset : first - offset + size],
        )
        for k in range(size):
            place[k] = np.int32((now[k] == before[k]) & (now[k] > 0)) * place_before[k] + np.int32(
                1
            )


@kernel
def _features(
    table: NDArray[np.int32], gray: NDArray[np.float64], n_voxels: float, f: NDArray[np.float64]
) -> None:
    """As many runs end at a length as voxels have that place, less those that have the next."""
    n = float(table[:, 1].sum())
    mean_gray, mean_length = (gray * table[1:, 1]).sum() / n, n_voxels / n
    for length in range(1, table.shape[1] - 1):
        if not table[:, length].any():
            break
        of_length, long = 0.0, float(length) ** 2
        for i in range(len(gray)):
            runs = table[i + 1, length] - table[i + 1, length + 1]
            if runs:
                p, bright = runs / n, gray[i] ** 2
                of_length += runs
                f[9] -= p * np.log2(p + EPS)
                f[12] += p / (bright * long)
                f[13] += p * bright / long
                f[14] += p * long / bright
                f[15] += p * long * bright
        f[0] += of_length / long / n
        f[1] += of_length * long / n
        f[4] += of_length**2 / n
        f[5] += of_length**2 / n**2
        f[8] += of_length / n * (length - mean_length) ** 2
    for i in range(len(gray)):
        of_level, bright = float(table[i + 1, 1]), gray[i] ** 2
        f[2] += of_level**2 / n
        f[3] += of_level**2 / n**2
        f[7] += of_level / n * (gray[i] - mean_gray) ** 2
        f[10] += of_level / bright / n
        f[11] += of_level * bright / n
    f[6] = n / n_voxels
