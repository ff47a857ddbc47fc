"""Longest diameter and short axis as defined by RECIST 1.1.

They are measured in the plane of a slice, from pixel corner to pixel corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

WITHIN_SLICE = np.zeros((3, 3, 3), bool)
WITHIN_SLICE[1] = True
"""Pixels of one slice that touch by a side or a corner are one piece."""


@dataclass(frozen=True)
class Diameter:
    """The longest diameter and its short axis.

    It has the length, the slice, the two ends as (x, y) in pixels, and the short axis perpendicular
    to it.
    """

    longest_mm: float
    short_axis_mm: float
    slice: int
    ends: tuple[tuple[float, float], tuple[float, float]]


def longest_diameter(mask: Mask, spacing_x: float, spacing_y: float) -> Diameter | None:
    """Longest diameter over all slices, or None for an empty mask.

    1. Longest diameter (Eisenhauer 2009, section 4.1): largest distance between two pixel corners
       of one slice, in mm. Corners, not centres: a lesion one pixel wide has a width.
    2. Within one connected piece of the slice (pixels that touch by side or corner): two fragments
       beside each other are not measured across the gap; they are lesions of their own (split
       lesions).
    3. Of equal lengths the first slice, then the first piece in row order, is taken.
    4. Short axis: the longest chord of that piece's convex hull perpendicular to the diameter, as a
       calliper laid across it. The hull's width would be more, where its two sides do not face each
       other.

    PyRadiomics' Maximum2DDiameterSlice is another quantity (between voxel centres, of the whole
    cross-section); do not compare them.

    Parameters
    ----------
    mask
        (z, y, x).
    spacing_x, spacing_y
        Distance of pixel centres along x and y, in mm.
    """
    pieces, _ = ndimage.label(mask, WITHIN_SLICE)
    best: tuple[float, int, Floats, tuple[int, int]] | None = None
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        bound = float(
            np.hypot(
                (box[2].stop - box[2].start) * spacing_x, (box[1].stop - box[1].start) * spacing_y
            )
        )
        if best is not None and bound <= best[0]:
            continue
        corners = outer_corners(pieces[box][0] == number) + np.array([box[2].start, box[1].start])
        length, pair = _farthest(corners * [spacing_x, spacing_y])
        if best is None or length > best[0] * (1 + 1e-12):
            best = (length, box[0].start, corners, pair)
    return None if best is None else _diameter(*best, np.array([spacing_x, spacing_y]))


def outer_corners(piece: Mask) -> Floats:
    """Leftmost and rightmost pixel corner on every line between rows, as (x, y).

    The hull of the piece is the hull of these.

    Pixel centres are whole numbers, so corners lie at halves.
    """
    used = piece.any(1)
    left = np.where(used, piece.argmax(1), piece.shape[1]) - 0.5
    right = np.where(used, piece.shape[1] - piece[:, ::-1].argmax(1), 0) - 0.5
    y = np.arange(piece.shape[0] + 1) - 0.5
    far_left = np.minimum(np.append(left, np.inf), np.insert(left, 0, np.inf))
    far_right = np.maximum(np.append(right, -np.inf), np.insert(right, 0, -np.inf))
    return np.concatenate([np.column_stack([far_left, y]), np.column_stack([far_right, y])])


def _farthest(points: Floats) -> tuple[float, tuple[int, int]]:
    squares = ((points[:, None, :] - points[None, :, :]) ** 2).sum(-1)
    i, j = divmod(int(squares.argmax()), len(points))
    return float(np.sqrt(squares[i, j])), (i, j)


def _diameter(
    length: float, plane: int, corners: Floats, pair: tuple[int, int], spacing: Floats
) -> Diameter:
    ends = tuple((float(x), float(y)) for x, y in corners[list(pair)])
    return Diameter(
        length, _perpendicular_chord(corners * spacing, pair), plane, (ends[0], ends[1])
    )


def _perpendicular_chord(points: Floats, pair: tuple[int, int]) -> float:
    """Longest chord of the hull perpendicular to the line between two of its points.

    Along the diameter, the distance of the hull's two sides is concave and has its corners at the
    hull's: the largest is at one of them.
    """
    along = points[pair[1]] - points[pair[0]]
    along = along / np.linalg.norm(along)
    hull = points[ConvexHull(points).vertices]
    u, v = hull @ along, hull @ np.array([-along[1], along[0]])
    u2, v2 = np.roll(u, -1), np.roll(v, -1)
    return max(_chord_at(t, u, v, u2, v2) for t in u)


def _chord_at(t: float, u: Floats, v: Floats, u2: Floats, v2: Floats) -> float:
    on = (np.minimum(u, u2) <= t) & (np.maximum(u, u2) >= t)
    u, v, u2, v2 = u[on], v[on], u2[on], v2[on]
    flat = np.isclose(u, u2, rtol=0, atol=1e-12)
    share = np.where(flat, 0.0, (t - u) / np.where(flat, 1.0, u2 - u))
    heights = np.concatenate([v + share * (v2 - v), v[flat], v2[flat]])
    return float(np.ptp(heights))
