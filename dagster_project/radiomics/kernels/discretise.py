"""Gray levels as all texture kernels take them.

They are consecutive numbers in a flat grid with a border of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel
from dagster_project.radiomics.pyradiomics_engine import bin_edges
from dagster_project.radiomics.resampling import Array, Mask


@dataclass(frozen=True)
class Levels:
    """One region's gray levels on one image.

    `grid` is the region's box with one voxel more on each side, flattened: 0 outside the region, k
    where the gray level is `gray[k - 1]`. `voxels` are the region's places in it in scan order,
    `values` the image and `ranks` the grid there; `counts` are the voxels of each gray level.
    """

    shape: tuple[int, int, int]
    grid: NDArray[np.int32]
    voxels: NDArray[np.int64]
    values: Array
    ranks: NDArray[np.int32]
    gray: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Steps to the 13 neighbours later in scan order; the other 13 are their negatives."""
        _, rows, columns = self.shape
        return np.array([(z * rows + y) * columns + x for z, y, x in DIRECTIONS], dtype=np.int64)


DIRECTIONS = tuple(d for d in product((-1, 0, 1), repeat=3) if d > (0, 0, 0))
"""The 13 directions (z, y, x) of three-dimensional texture matrices at distance 1."""


def discretise(
    image: Array, mask: Mask, bin_width_hu: float, *, bin_count: int = 0,
    bin_start_hu: float | None = None,
) -> Levels:  # fmt: skip
    """Gray levels between the edges of `pyradiomics_engine.bin_edges`."""
    shape, voxels = _places(mask)
    values = image[mask]
    own = bin_edges(values, bin_width_hu, bin_count=bin_count, bin_start_hu=bin_start_hu)
    edges = own.astype(np.float64)
    width = float(edges[1] - edges[0]) if bin_count else float(bin_width_hu)
    levels = _assign(values, edges, width)
    histogram = np.bincount(levels)
    gray = np.flatnonzero(histogram)
    grid = np.zeros(shape[0] * shape[1] * shape[2], dtype=np.int32)
    ranks = _rank_of_level(gray)[levels]
    grid[voxels] = ranks
    return Levels(shape, grid, voxels, values, ranks, gray, histogram[gray])


def _places(mask: Mask) -> tuple[tuple[int, int, int], NDArray[np.int64]]:
    depth, rows, columns = (n + 2 for n in mask.shape)
    padded = np.zeros((depth, rows, columns), dtype=np.bool_)
    padded[1:-1, 1:-1, 1:-1] = mask
    return (depth, rows, columns), np.flatnonzero(padded)


def _rank_of_level(gray: NDArray[np.int64]) -> NDArray[np.int32]:
    ranks = np.zeros(int(gray[-1]) + 1, dtype=np.int32)
    ranks[gray] = np.arange(1, len(gray) + 1)
    return ranks


@kernel
def _assign(values: Array, edges: NDArray[np.float64], width: float) -> NDArray[np.int64]:
    """The number of edges at or below each value.

    It is guessed from the width, then compared with the edges themselves.
    """
    levels = np.empty(len(values), dtype=np.int64)
    last = len(edges)
    for n in range(len(values)):
        level = min(max(int((values[n] - edges[0]) / width) + 1, 0), last)
        while level > 0 and values[n] < edges[level - 1]:
            level -= 1
        while level < last and values[n] >= edges[level]:
            level += 1
        levels[n] = level
    return levels
