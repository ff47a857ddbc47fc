"""Gray level run length matrix: runs counted by each voxel's place in its run, without walking along the runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel
from dagster_project.radiomics.kernels.discretise import DIRECTIONS, Levels

FEATURES = (
    "ShortRunEmphasis", "LongRunEmphasis", "GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized", "RunLengthNonUniformity",
    "RunLengthNonUniformityNormalized", "RunPercentage", "GrayLevelVariance", "RunVariance", "RunEntropy", "LowGrayLevelRunEmphasis",
    "HighGrayLevelRunEmphasis", "ShortRunLowGrayLevelEmphasis", "ShortRunHighGrayLevelEmphasis", "LongRunLowGrayLevelEmphasis",
    "LongRunHighGrayLevelEmphasis",
)  # fmt: skip
EPS = np.spacing(1)


def glrlm_features(levels: Levels) -> dict[str, float]:
    """PyRadiomics' GLRLM features, averaged over the directions in which a line of the grid holds two voxels; NaN without any."""
    longest = max(levels.shape)
    gray = levels.gray.astype(np.float64)
    used = np.ones(len(DIRECTIONS), dtype=np.bool_)
    values = _all_directions(levels.grid, levels.voxels, levels.offsets, gray, longest, used)
    for number, direction in enumerate(DIRECTIONS):
        if not used[number]:
            used[number] = _share_a_line(levels, direction)
    values = values[used].sum(axis=0) / used.sum() if used.any() else np.full(len(FEATURES), np.nan)
    return dict(zip(FEATURES, values.tolist(), strict=True))


def _share_a_line(levels: Levels, direction: tuple[int, int, int]) -> bool:
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
    used: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Features by direction; `used` turns false where no two voxels are neighbours."""
    values = np.zeros((len(offsets), 16))
    reached = np.zeros(len(grid), dtype=np.int32)
    table = np.zeros((len(gray) + 1, longest + 2), dtype=np.int32)
    for number in range(len(offsets)):
        longest_run, used[number] = _count(grid, voxels, offsets[number], reached, table)
        _features(table, gray, longest_run, float(len(voxels)), values[number])
    return values


@kernel
def _count(
    grid: NDArray[np.int32], voxels: NDArray[np.int64], offset: int, reached: NDArray[np.int32], table: NDArray[np.int32]
) -> tuple[int, bool]:
    """Voxels by level and place in their run; the longest run; whether any two voxels are neighbours."""
    table[:, :] = 0
    longest, neighbours = 0, 0
    for v in voxels:
        level, before = grid[v], grid[v - offset]
        neighbours |= before
        place = reached[v - offset] + 1 if before == level else 1
        reached[v] = place
        table[level, place] += 1
        longest = max(longest, place)
    return longest, neighbours > 0


@kernel
def _features(table: NDArray[np.int32], gray: NDArray[np.float64], longest: int, n_voxels: float, f: NDArray[np.float64]) -> None:
    """As many runs end at a length as voxels have that place, less those that have the next."""
    n = float(table[:, 1].sum())
    mean_gray, mean_length = (gray * table[1:, 1]).sum() / n, n_voxels / n
    for length in range(1, longest + 1):
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
