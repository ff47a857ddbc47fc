"""Polygons to voxels by the even-odd rule at pixel centres, for a whole structure at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

TRACED_TOLERANCE_PX = 0.02
"""Largest distance of a vertex from a pixel centre in an outline traced from pixel to pixel.

Every vertex lies this close. Coordinates are written with two decimals of a millimetre.
"""


@dataclass(frozen=True)
class Edges:
    """Sides of closed polygons in pixel coordinates, and the slice on which each lies.

    (x1, y1) is not below (x2, y2).
    """

    x1: Floats
    y1: Floats
    x2: Floats
    y2: Floats
    slices: Integers


def fill_polygons(
    polygons: Sequence[Floats], slices: Sequence[int], shape: tuple[int, int, int]
) -> Mask:
    """Voxels whose centre lies inside an odd number of the polygons of its slice.

    A centre is inside where a ray to the left of it crosses the sides an odd number of times. Hence
    a hole is either a second polygon or one joined to the first by a keyhole (a channel of no
    width), and overlapping polygons cancel (XOR).

    A centre that lies exactly on a side belongs to the inside if the inside is to its right or
    below it: of the pixels on an outline half belong to it, which makes the area that of the
    polygon. Where all vertices lie on pixel centres but for rounding (`TRACED_TOLERANCE_PX`), they
    are put there, so that the same outline written with fewer decimals gives the same mask.

    Parameters
    ----------
    polygons
        One array (n, 2) per polygon: x (column) and y (row) of its vertices; integers are pixel
        centres. The last vertex is joined to the first.
    slices
        Index of each polygon's slice.
    shape
        Slices, rows and columns. What lies beyond is left out; the caller counts it.

    Examples
    --------
    >>> square = np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]])
    >>> fill_polygons([square], [0], (1, 4, 4)).sum()
    np.int64(4)
    """
    mask = np.zeros(shape, bool)
    edges = _edges(snap_traced(polygons), slices)
    z, y, x = crossings(edges)
    seen = (z >= 0) & (z < shape[0]) & (y >= 0) & (y < shape[1]) & (x < shape[2])
    if seen.any():
        _fill_box(mask, z[seen], y[seen], np.maximum(x[seen], 0))
    return mask


def winding_numbers(polygon: Floats, shape: tuple[int, int]) -> Integers:
    """How often a polygon winds round each pixel centre of its bounding box, as (row, column).

    It is 1 or -1 within a simple polygon, whichever way that was drawn, and 0 within a hole that a
    keyhole joins to it. A polygon that crosses itself has parts of both signs, or of 2.

    Parameters
    ----------
    polygon
        Vertices (n, 2) as in `fill_polygons`.
    shape
        Rows and columns of the image; what lies beyond is left out.
    """
    edges = _edges(snap_traced([polygon]), [0])
    downwards = polygon[:, 1] <= np.roll(polygon[:, 1], -1)
    down, up = (crossings(_some(edges, chosen)) for chosen in (downwards, ~downwards))
    y, x = np.append(down[1], up[1]), np.clip(np.append(down[2], up[2]), 0, shape[1])
    signs = np.repeat([-1, 1], [down[1].size, up[1].size])
    seen = (y >= 0) & (y < shape[0])
    if not seen.any():
        return np.zeros((0, 0), np.int64)
    y, x = y[seen] - y[seen].min(), x[seen] - x[seen].min()
    turns = np.zeros((int(y.max()) + 1, int(x.max()) + 1), np.int64)
    np.add.at(turns, (y, x), signs[seen])
    return np.cumsum(turns, axis=1)


def _some(edges: Edges, chosen: Mask) -> Edges:
    return Edges(
        edges.x1[chosen], edges.y1[chosen], edges.x2[chosen], edges.y2[chosen], edges.slices[chosen]
    )


def snap_traced(polygons: Sequence[Floats]) -> list[Floats]:
    """The polygons, on whole pixels where all of them were traced from pixel to pixel."""
    return [np.rint(p) for p in polygons] if is_traced(polygons) else list(polygons)


def is_traced(polygons: Sequence[Floats]) -> bool:
    """Whether outlines run through pixel centres: every vertex of all of them lies on one.

    What they enclose is then up to half a pixel too small all round, whatever the rule of filling.
    """
    return len(polygons) > 0 and all(
        np.abs(p - np.rint(p)).max(initial=0.0) <= TRACED_TOLERANCE_PX for p in polygons
    )


def _edges(polygons: Sequence[Floats], slices: Sequence[int]) -> Edges:
    """Sides from their upper to their lower end.

    So rounding does not depend on the direction in which they were drawn.
    """
    start = np.concatenate([np.empty((0, 2)), *polygons])
    end = np.concatenate([np.empty((0, 2)), *(np.roll(p, -1, axis=0) for p in polygons)])
    downwards = (start[:, 1] <= end[:, 1])[:, None]
    upper, lower = np.where(downwards, start, end), np.where(downwards, end, start)
    return Edges(
        upper[:, 0],
        upper[:, 1],
        lower[:, 0],
        lower[:, 1],
        np.repeat(np.asarray(slices, np.int64), [len(p) for p in polygons]),
    )


def crossings(edges: Edges) -> tuple[Integers, Integers, Integers]:
    """Every crossing of a side with a row of pixel centres.

    It has the slice, the row and the first column at or right of the crossing.

    A side covers the rows from its upper end, included, to its lower end, excluded: each vertex
    counts once.
    """
    first = np.ceil(edges.y1).astype(np.int64)
    n_rows = np.ceil(edges.y2).astype(np.int64) - first
    side = np.repeat(np.arange(n_rows.size), n_rows)
    row = np.arange(n_rows.sum()) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows) + first[side]
    slope = (edges.x2[side] - edges.x1[side]) / (edges.y2[side] - edges.y1[side])
    column = edges.x1[side] + (row - edges.y1[side]) * slope
    return edges.slices[side], row, np.ceil(column).astype(np.int64)


def _fill_box(mask: Mask, z: Integers, y: Integers, x: Integers) -> None:
    """Count the crossings at or left of each voxel of the bounding box; odd is inside."""
    low = np.array([z.min(), y.min(), x.min()])
    size = np.array([z.max(), y.max(), mask.shape[2] - 1]) - low + 1
    flat = np.ravel_multi_index((z - low[0], y - low[1], x - low[2]), tuple(size))
    odd = (np.bincount(flat, minlength=int(size.prod())) & 1).astype(bool).reshape(size)
    box = tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))
    mask[box] = np.logical_xor.accumulate(odd, axis=2)
