"""Shape of the mask: surface, volume and diameters.

Surface and volume come from a census of its 2 × 2 × 2 corners, diameters from the ends of its
lines.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel
from dagster_project.radiomics.resampling import Mask, Spacing


def shape_features(mask: Mask, spacing_mm: Spacing) -> dict[str, float]:
    """PyRadiomics' shape features of a mask on a grid of any spacing (z, y, x)."""
    padded = np.pad(mask, 1)
    surface, volume = _surface_and_volume(padded, spacing_mm)
    return {
        "MeshVolume": volume,
        "VoxelVolume": float(mask.sum() * math.prod(spacing_mm)),
        "SurfaceArea": surface,
        "SurfaceVolumeRatio": float(np.divide(surface, volume)),
        "Sphericity": float((36 * np.pi * volume**2) ** (1.0 / 3.0) / surface),
        **_diameters(padded, spacing_mm),
        **_axes(padded, spacing_mm),
    }


def _surface_and_volume(padded: Mask, spacing_mm: Spacing) -> tuple[float, float]:
    """Area and volume of PyRadiomics' mesh.

    What each kind of corner adds, times how often and where it occurs.
    """
    volume, shift = _corner_volumes()
    counts, places = _corners(padded)
    in_voxels = float(counts @ volume + (places * shift).sum())
    return float(counts @ _corner_areas(spacing_mm)), in_voxels * math.prod(spacing_mm)


@lru_cache(maxsize=256)
def _corner_areas(spacing_mm: Spacing) -> NDArray[np.float64]:
    """Area in mm² that PyRadiomics gives each of the 256 corners of voxels of this spacing."""
    from radiomics import cShape

    return np.array(
        [
            cShape.calculate_coefficients(_corner(code), np.array(spacing_mm))[0]
            for code in range(256)
        ]
    )


@cache
def _corner_volumes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Volume in voxels that PyRadiomics gives each of the 256 corners, and its change by step.

    The volume is that at the origin, the change that by a step along an axis. PyRadiomics itself
    computes both, so that its choice of triangles need not be written down here. A corner one step
    away from the origin has one neighbour between, whose part is known and taken off.
    """
    from radiomics import cShape

    volume, shift = np.zeros(256), np.zeros((256, 3))
    for code in range(256):
        volume[code] = cShape.calculate_coefficients(_corner(code), np.ones(3))[1]
    for code in range(256):
        for axis in range(3):
            moved = np.concatenate(
                [np.zeros_like(np.take(_corner(code), [0], axis)), _corner(code)], axis
            )
            between = _code_of(np.take(moved, [0, 1], axis))
            shift[code, axis] = (
                cShape.calculate_coefficients(moved, np.ones(3))[1] - volume[between] - volume[code]
            )
    return volume, shift


def _corner(code: int) -> Mask:
    return np.array([code >> bit & 1 for bit in (0, 4, 1, 5, 2, 6, 3, 7)], dtype=np.bool_).reshape(
        2, 2, 2
    )


def _code_of(corner: Mask) -> int:
    return int(
        sum(
            int(on) << bit for on, bit in zip(corner.ravel(), (0, 4, 1, 5, 2, 6, 3, 7), strict=True)
        )
    )


@kernel
def _corners(padded: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often each of the 256 corners occurs, and the sum of its places along each axis."""
    depth, rows, columns = padded.shape
    counts, places = np.zeros(256), np.zeros((256, 3))
    for z in range(depth - 1):
        for y in range(rows - 1):
            code = 0
            for x in range(columns):
                face = (
                    padded[z, y, x]
                    | padded[z, y + 1, x] << 1
                    | padded[z + 1, y, x] << 2
                    | padded[z + 1, y + 1, x] << 3
                )
                code = code >> 4 | face << 4
                if x and 0 < code < 255:
                    counts[code] += 1
                    places[code, 0] += z
                    places[code, 1] += y
                    places[code, 2] += x - 1
    return counts, places


def _diameters(padded: Mask, spacing_mm: Spacing) -> dict[str, float]:
    """The longest distance between two vertices of the mesh, anywhere and within a plane.

    The vertices are the centres of the voxels' open faces, first in half voxels, then in
    millimetres. Both ends of a longest distance are also the first or last vertex of every line
    through them along an axis that may be taken: most vertices need not be compared.
    """
    size = 2 * np.array(padded.shape)
    faces = np.concatenate([_open_faces(padded, axis) for axis in range(3)])
    ends = np.stack([_line_ends(faces, axis, size) for axis in range(3)])
    step = np.array(spacing_mm) / 2
    squared = [_widest(faces[ends.all(axis=0)] * step)]
    for axis in range(3):
        flat = faces[np.delete(ends, axis, axis=0).all(axis=0)]
        ordered = flat[np.argsort(flat[:, axis], kind="stable")]
        squared.append(_widest_in_plane(ordered[:, axis], ordered * step))
    names = (
        "Maximum3DDiameter",
        "Maximum2DDiameterSlice",
        "Maximum2DDiameterColumn",
        "Maximum2DDiameterRow",
    )
    return {name: float(np.sqrt(s)) for name, s in zip(names, squared, strict=True)}


def _open_faces(padded: Mask, axis: int) -> NDArray[np.int64]:
    """Centres, in half voxels, of the faces across an axis with the region on one side alone."""
    places = 2 * np.argwhere(np.diff(padded, axis=axis))
    places[:, axis] += 1
    return places


@kernel
def _line_ends(places: NDArray[np.int64], axis: int, size: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which places are the first or last of their line along an axis."""
    one, other = (axis + 1) % 3, (axis + 2) % 3
    first = np.full((size[one], size[other]), size[axis])
    last = np.full((size[one], size[other]), -1)
    for n in range(len(places)):
        a, b, along = places[n, one], places[n, other], places[n, axis]
        first[a, b], last[a, b] = min(first[a, b], along), max(last[a, b], along)
    ends = np.empty(len(places), dtype=np.bool_)
    for n in range(len(places)):
        a, b, along = places[n, one], places[n, other], places[n, axis]
        ends[n] = along in (first[a, b], last[a, b])
    return ends


def _widest(places: NDArray[np.float64]) -> float:
    """Largest squared distance of two places, those farthest from the middle first."""
    radius = np.sqrt(((places - places.mean(axis=0)) ** 2).sum(axis=1))
    order = np.argsort(-radius, kind="stable")
    return _widest_of_ordered(places[order], radius[order])


@kernel
def _widest_of_ordered(places: NDArray[np.float64], radius: NDArray[np.float64]) -> float:
    """Largest squared distance of two places, those farthest from the middle first.

    No two places are farther apart than their distances from the middle together; a micrometre is
    left for rounding.
    """
    widest = 0.0
    for a in range(len(places)):
        enough = np.sqrt(widest) - radius[a] - 1e-3
        for b in range(a + 1, len(places)):
            if radius[b] < enough:
                break
            widest = max(widest, _squared_distance(places, a, b))
    return widest


@kernel
def _widest_in_plane(plane: NDArray[np.int64], places: NDArray[np.float64]) -> float:
    """Largest squared distance of two places in the same plane; the places come plane by plane."""
    widest = 0.0
    for a in range(len(places)):
        for b in range(a + 1, len(places)):
            if plane[a] != plane[b]:
                break
            widest = max(widest, _squared_distance(places, a, b))
    return widest


@kernel
def _squared_distance(places: NDArray[np.float64], a: int, b: int) -> float:
    dz, dy, dx = (
        places[a, 0] - places[b, 0],
        places[a, 1] - places[b, 1],
        places[a, 2] - places[b, 2],
    )
    return dz * dz + dy * dy + dx * dx


def _axes(padded: Mask, spacing_mm: Spacing) -> dict[str, float]:
    """Axis lengths from the voxels' covariance, in PyRadiomics' own steps.

    A flat region's least axis is therefore a rounding error.
    """
    places = (
        np.array(np.where(padded), dtype="int").transpose((1, 0)) * np.array(spacing_mm)[None, :]
    )
    places -= np.mean(places, axis=0)
    places /= np.sqrt(len(places))
    # On some processors the product is symmetric but for its last bit, and a double eigenvalue then
    # is a complex pair.
    values = np.linalg.eigvals(np.dot(places.T.copy(), places)).real
    values[(values < 0) & (values > -1e-10)] = 0
    values.sort()
    with np.errstate(all="ignore"):
        least, minor, major = np.sqrt(values) * 4
        elongation, flatness = np.sqrt(values[1] / values[2]), np.sqrt(values[0] / values[2])
    found = {
        "MajorAxisLength": major,
        "MinorAxisLength": minor,
        "LeastAxisLength": least,
        "Elongation": elongation,
        "Flatness": flatness,
    }
    return {name: float(value) for name, value in found.items()}
