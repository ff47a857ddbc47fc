"""The outline of a lesion as an exact function of space, and its sections by slice planes.

What a plane sees of it are sections, diameters and voxels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ANGLES = np.linspace(0.0, 2.0 * np.pi, 60, endpoint=False)
"""Directions in which a section is sampled, in radians; its polygon has one vertex in each."""

BISECTIONS = 13
"""Halvings by which a vertex is found: a bracket of 60 mm shrinks to below 0.01 mm."""


@dataclass(frozen=True)
class Grid:
    """Voxel grid of an axial scan in DICOM patient coordinates (mm); arrays are indexed z, y, x."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    def axis(self, dimension: int) -> Floats:
        """Coordinates of the voxel centres along array dimension 0 (z), 1 (y) or 2 (x)."""
        return np.asarray(
            self.origin_mm[2 - dimension]
            + self.spacing_mm[dimension] * np.arange(self.shape[dimension]),
            np.float64,
        )


@dataclass(frozen=True)
class Waves:
    """A smooth function on the sphere: sum of amplitude * cos(k . direction + phase)."""

    k: Floats
    phase: Floats
    amplitude: Floats

    def __call__(self, direction: Floats) -> Floats:
        """Value in each direction (unit vectors in the last axis)."""
        return np.cos(direction @ self.k.T + self.phase) @ self.amplitude

    def plus(self, other: Waves) -> Waves:
        """The sum of two such functions."""
        return Waves(
            np.vstack([self.k, other.k]),
            np.concatenate([self.phase, other.phase]),
            np.concatenate([self.amplitude, other.amplitude]),
        )


def draw_waves(random: np.random.Generator, sd: float, frequency: float = 2.6, n: int = 6) -> Waves:
    """A random function of low spatial frequency on the sphere, with SD about `sd`."""
    k = random.standard_normal((n, 3))
    k *= frequency * random.uniform(0.7, 1.2, (n, 1)) / np.linalg.norm(k, axis=1, keepdims=True)
    return Waves(k, random.uniform(0, 2 * np.pi, n), np.full(n, sd * np.sqrt(2.0 / n)))


@dataclass(frozen=True)
class Surface:
    """An ellipsoid with bumps around the origin.

    Semi-axes in mm, angle of its first axis in the slice plane, bumps relative to the radius.
    """

    semi_axes_mm: tuple[float, float, float]
    angle: float
    bumps: Waves

    def level(self, offset_mm: Floats) -> Floats:
        """Below 1 inside, 1 on the surface.

        It is homogeneous of degree 1 in the distance from the centre (x, y, z in the last axis).
        """
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y, z = offset_mm[..., 0], offset_mm[..., 1], offset_mm[..., 2]
        u = np.stack([cos * x + sin * y, cos * y - sin * x, z], axis=-1) / np.asarray(
            self.semi_axes_mm
        )
        radius = np.linalg.norm(u, axis=-1)
        return radius / (1.0 + self.bumps(u / np.maximum(radius, 1e-9)[..., None]))

    def scaled(self, factor: float) -> Surface:
        """The same form, larger or smaller."""
        a, b, c = self.semi_axes_mm
        return replace(self, semi_axes_mm=(a * factor, b * factor, c * factor))

    def disturbed(self, waves: Waves) -> Surface:
        """The same form with more bumps."""
        return replace(self, bumps=self.bumps.plus(waves))

    @property
    def reach_mm(self) -> float:
        """No point of the surface lies further from the centre."""
        return max(self.semi_axes_mm) * (1.0 + float(np.abs(self.bumps.amplitude).sum()))


@dataclass(frozen=True)
class Sections:
    """A surface cut by slice planes.

    Its centre, the planes' z, and the polygons' radii per plane and angle (0 where a plane misses
    it).
    """

    centre_mm: tuple[float, float, float]
    z_mm: Floats
    radii_mm: Floats

    def polygons(self) -> Floats:
        """Vertices as a contour file holds them, as (planes, angles, 2).

        Patient x and y to a thousandth of a millimetre.
        """
        unit = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1)
        return np.round(np.asarray(self.centre_mm[:2]) + self.radii_mm[..., None] * unit, 3)


def cut(surface: Surface, centre_mm: tuple[float, float, float], z_mm: Floats) -> Sections:
    """Cut a surface by planes of constant z.

    Planes whose point on the axis lies outside are missed.
    """
    dz = z_mm - centre_mm[2]
    axis = np.stack([np.zeros_like(dz), np.zeros_like(dz), dz], axis=-1)
    hit = np.flatnonzero(surface.level(axis) < 0.985)
    low = np.zeros((hit.size, ANGLES.size))
    high = np.full_like(low, surface.reach_mm)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        points = np.stack(
            [
                middle * np.cos(ANGLES),
                middle * np.sin(ANGLES),
                np.broadcast_to(dz[hit, None], middle.shape),
            ],
            axis=-1,
        )
        inside = surface.level(points) < 1.0
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return Sections(centre_mm, z_mm[hit], low)


def diameters(sections: Sections) -> tuple[float, float]:
    """Longest diameter within a plane and the longest chord perpendicular to it there, in mm.

    (0, 0) where there is no section.
    """
    return widest(list(sections.polygons()))


def widest(polygons: list[Floats]) -> tuple[float, float]:
    """Longest distance between two vertices of one polygon, and the longest chord across it.

    That is the polygon's longest chord perpendicular to the distance.
    """
    best: tuple[float, int, tuple[int, int]] = (0.0, 0, (0, 0))
    for number, points in enumerate(polygons):
        square = ((points[:, None] - points[None]) ** 2).sum(-1)
        i, j = divmod(int(square.argmax()), len(points))
        if square[i, j] > best[0]:
            best = (float(square[i, j]), number, (i, j))
    return (float(np.sqrt(best[0])), _chord(polygons[best[1]], best[2])) if best[0] else (0.0, 0.0)


def _chord(points: Floats, ends: tuple[int, int]) -> float:
    """Longest chord of a polygon perpendicular to the line between two of its vertices."""
    along = points[ends[1]] - points[ends[0]]
    along /= np.linalg.norm(along)
    u, v = points @ along, points @ np.array([-along[1], along[0]])
    du, dv = np.roll(u, -1) - u, np.roll(v, -1) - v
    share = (u[:, None] - u) / np.where(np.abs(du) < 1e-12, np.inf, du)
    height = np.where((share >= 0) & (share <= 1), v + share * dv, np.nan)
    return float((np.nanmax(height, axis=1) - np.nanmin(height, axis=1)).max())


def volume_mm3(sections: Sections, step_mm: float) -> float:
    """Areas of the polygons (shoelace formula) times the distance of the planes."""
    p = sections.polygons() - np.asarray(sections.centre_mm[:2])
    q = np.roll(p, -1, axis=1)
    return float(np.abs(p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum() / 2 * step_mm)


@dataclass(frozen=True)
class Mask:
    """Voxels of one outline: the box they lie in and which of its voxels are inside."""

    box: tuple[slice, slice, slice]
    voxels: NDArray[np.bool_]

    def full(self, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """The mask on the whole grid."""
        whole = np.zeros(shape, np.uint8)
        whole[self.box] = self.voxels
        return whole


def voxelise(sections: Sections, grid: Grid, reach_mm: float) -> Mask:
    """Voxels whose centre lies within the polygon of their slice.

    It uses the even-odd rule; the polygons are star-shaped.
    """
    box = _box(grid, sections.centre_mm, reach_mm)
    x, y, z = grid.axis(2)[box[2]], grid.axis(1)[box[1]], grid.axis(0)[box[0]]
    sector = (
        np.arctan2(y[:, None] - sections.centre_mm[1], x - sections.centre_mm[0])
        % (2 * np.pi)
        / (2 * np.pi)
        * ANGLES.size
    ).astype(int) % ANGLES.size
    voxels = np.zeros((z.size, y.size, x.size), bool)
    start = sections.polygons()
    side = np.roll(start, -1, axis=1) - start
    planes = np.searchsorted(z - grid.spacing_mm[0] / 2, sections.z_mm) - 1
    a, d = start[:, sector], side[:, sector]
    voxels[planes] = d[..., 0] * (y[:, None] - a[..., 1]) - d[..., 1] * (x - a[..., 0]) >= 0
    return Mask(box, voxels)


def measure_voxels(mask: Mask, grid: Grid) -> tuple[float, float]:
    """Longest diameter within a slice and the longest chord perpendicular to it, in mm.

    They run from voxel corner to voxel corner.
    """
    return widest([_corners(plane, grid) for plane in mask.voxels if plane.any()])


def dice(a: Mask, b: Mask) -> float:
    """Dice coefficient of two masks of one box."""
    return float(2.0 * (a.voxels & b.voxels).sum() / max(int(a.voxels.sum() + b.voxels.sum()), 1))


def _corners(plane: NDArray[np.bool_], grid: Grid) -> Floats:
    """Outer voxel corners of a plane as a polygon in mm: down its left side and up its right."""
    rows = np.flatnonzero(plane.any(axis=1))
    left = np.repeat(plane[rows].argmax(axis=1), 2)
    right = np.repeat(plane.shape[1] - plane[rows][:, ::-1].argmax(axis=1), 2)
    y = np.stack([rows, rows + 1], axis=-1).ravel()
    x, y = np.concatenate([left, right[::-1]]), np.concatenate([y, y[::-1]])
    return np.stack([x * grid.spacing_mm[2], y * grid.spacing_mm[1]], axis=-1)


def _box(
    grid: Grid, centre_mm: tuple[float, float, float], reach_mm: float
) -> tuple[slice, slice, slice]:
    bounds = []
    for dimension in range(3):
        axis = grid.axis(dimension)
        near = np.abs(axis - centre_mm[2 - dimension]) <= reach_mm + grid.spacing_mm[dimension]
        bounds.append(slice(int(near.argmax()), int(axis.size - near[::-1].argmax())))
    return bounds[0], bounds[1], bounds[2]
