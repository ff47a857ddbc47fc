"""One grid for a lesion: cropped from the scan first, centred on the scan's as IBSI asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.linalg import solve_banded
from scipy.ndimage import distance_transform_edt

from dagster_project.lake.voxels import OUTSIDE_FIELD_HU

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]
Spacing = tuple[float, float, float]
"""Millimetres between voxels along z, y and x."""

SPLINE_MARGIN = 32
"""Voxels around the crop that the B-spline prefilter still sees.

Its pole, 0.268, to this power is 5e-19.
"""

HALF_TOLERANCE = 1e-6
"""A share of a voxel that differs from one half by less is one half: rounding does not decide."""

GEOMETRY_DECIMALS = 9
"""Number of decimals to which positions are rounded.

A spacing written as 0.9999999999999989 must not move half-way voxels to the other neighbour.
"""


class GridError(ValueError):
    """An image and a mask that do not lie on one grid."""

    def __init__(self, what: str, expected: tuple[int, ...], found: tuple[int, ...]) -> None:
        super().__init__(
            f"{what} has {found} voxels (z, y, x) where the image has {expected}: "
            "resample it to the image's grid first"
        )


@dataclass(frozen=True)
class LesionGrid:
    """The part of a scan's new grid that a lesion needs, each axis apart (z, y, x).

    `positions` are centres of the new voxels in index units of the scan; `source` is the part of
    the scan they are based on. The whole scan's grid is centred on the scan (IBSI, "align grid
    centers"), so that a crop never shifts it.
    """

    positions: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    source: Box
    spacing_mm: Spacing

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        z, y, x = self.positions
        return len(z), len(y), len(x)


def bounding_box(mask: Mask) -> Box | None:
    """Smallest box around a mask's voxels; None where it has none."""
    box: list[slice] = []
    inner = mask
    for axis in range(mask.ndim):
        occupied = np.flatnonzero(inner.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if occupied.size == 0:
            return None
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
        inner = mask[tuple(box)]
    return box[0], box[1], box[2]


def union_box(boxes: list[Box]) -> Box:
    """Smallest box around several boxes."""
    z, y, x = (
        slice(min(b[axis].start for b in boxes), max(b[axis].stop for b in boxes))
        for axis in range(3)
    )
    return z, y, x


def grow_box(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    """The box grown by `margin` voxels to each side, kept inside an array of that shape."""
    z, y, x = (
        slice(max(s.start - margin, 0), min(s.stop + margin, n))
        for s, n in zip(box, shape, strict=True)
    )
    return z, y, x


def spacing_zyx(image: sitk.Image) -> Spacing:
    """Spacing in millimetres in the order of arrays."""
    x, y, z = (round(s, GEOMETRY_DECIMALS) for s in image.GetSpacing())
    return z, y, x


def isotropic_positions(n: int, spacing_mm: float, target_mm: float) -> NDArray[np.float64]:
    """Centres of a whole axis' new voxels in index units of the old ones.

    Both axes are centred on each other. As many new voxels are made as cover the axis:
    ceil(n * spacing / target).

    >>> isotropic_positions(4, 1.5, 1.0)
    array([-0.16666667,  0.5       ,  1.16666667,  1.83333333,  2.5       ,
            3.16666667])
    """
    count = int(np.ceil(round(n * spacing_mm / target_mm, 6)))
    steps = np.arange(count) - (count - 1) / 2
    return np.round((n - 1) / 2 + steps * (target_mm / spacing_mm), GEOMETRY_DECIMALS)


def lesion_grid(
    image: sitk.Image, box: Box, *, margin_mm: float, spacing_mm: float | Spacing,
) -> LesionGrid:  # fmt: skip
    """The grid of `box` and `margin_mm` around it, ended by the scan's own ends.

    Isotropic where `spacing_mm` is one number.
    """
    positions, source, spacing = [], [], along_axes(spacing_mm)
    axes = zip(reversed(image.GetSize()), spacing_zyx(image), spacing, box, strict=True)
    for n, old_mm, new_mm, part in axes:
        reach = margin_mm / old_mm
        whole = isotropic_positions(n, old_mm, new_mm)
        axis = whole[(whole >= part.start - 0.5 - reach) & (whole <= part.stop - 0.5 + reach)]
        positions.append(axis)
        source.append(
            slice(
                max(int(np.floor(axis[0])) - SPLINE_MARGIN, 0),
                min(int(np.ceil(axis[-1])) + SPLINE_MARGIN + 1, n),
            )
        )
    z, y, x = positions
    return LesionGrid((z, y, x), (source[0], source[1], source[2]), spacing)


def outside_field(image: sitk.Image, box: Box) -> Mask | None:
    """Voxels of a part of the scan outside the scanner's field of view; None without any."""
    outside: Mask = sitk.GetArrayViewFromImage(image)[box] == OUTSIDE_FIELD_HU
    return outside if outside.any() else None


def scan_part(image: sitk.Image, box: tuple[slice, ...]) -> NDArray[np.int16]:
    """HU of a part of the scan, for interpolation and filters; treat it as read-only.

    A voxel outside the field of view has the value of the nearest measured one, so that the edge of
    the field makes no step: a spline or a filter beside it sees the tissue go on. Regions leave
    such voxels out (`outside_field`).
    """
    part: NDArray[np.int16] = sitk.GetArrayViewFromImage(image)[box]
    outside = part == OUTSIDE_FIELD_HU
    if not outside.any() or outside.all():
        return part
    nearest = distance_transform_edt(
        outside, sampling=spacing_zyx(image), return_distances=False, return_indices=True
    )
    return part[tuple(nearest)]


def resample_image(
    image: sitk.Image, grid: LesionGrid, *, round_hu: bool = True, interpolator: str = "bspline",
) -> Array:  # fmt: skip
    """Cubic B-spline or linear interpolation of the scan at the grid's voxels: float32 (z, y, x).

    The same numbers as ITK's BSplineInterpolateImageFunction (mirrored ends) or
    LinearInterpolateImageFunction on the whole scan, to 1e-9 HU: on aligned axes interpolation is
    one matrix an axis, and only the crop is converted from int16. Rounded to whole HU where
    `round_hu`, as IBSI asks of CT: without it a value on a bin's edge falls to either side by the
    last bit. Padding is filled from the nearest measured voxel (`scan_part`).
    """
    crop, weights = scan_part(image, grid.source), _WEIGHTS[interpolator]
    over_z, over_y, over_x = (
        weights(p - part.start, part.stop - part.start)
        for p, part in zip(grid.positions, grid.source, strict=True)
    )
    planes = np.empty((crop.shape[0], len(grid.positions[1]), len(grid.positions[2])))
    for k, plane in enumerate(crop):
        planes[k] = over_y @ (plane.astype(np.float64) @ over_x.T)
    values = (over_z @ planes.reshape(len(planes), -1)).reshape(grid.shape)
    return (np.rint(values) if round_hu else values).astype(np.float32)


def resample_mask(mask: Mask, grid: LesionGrid, *, half_covered: str = "nearest") -> Mask:
    """Voxels of the grid that the mask covers by more than half.

    Coverage is by trilinear interpolation (IBSI's partial volume of 0.5). Exactly one half is
    decided by the nearest voxel, half-way goes to the higher index: with pixels of 0.5 mm many
    voxels are half covered, and a mask that took all of them in would be too large. With
    `half_covered` "inside" it takes them in, as IBSI's reference values ask. At the scan's ends the
    mask goes on as it ends.
    """
    inside: Mask = np.zeros(grid.shape, dtype=bool)
    box = bounding_box(mask)
    if box is None:
        return inside
    near = _near_box(box, grid)
    positions = [p[part] for p, part in zip(grid.positions, near, strict=True)]
    part = grow_box(box, 1, mask.shape)
    share = _trilinear(mask[part], [p - s.start for p, s in zip(positions, part, strict=True)])
    if half_covered == "inside":
        inside[near] = share >= 0.5 - HALF_TOLERANCE
        return inside
    nearest = mask[np.ix_(*(_nearest(p, n) for p, n in zip(positions, mask.shape, strict=True)))]
    inside[near] = np.where(np.abs(share - 0.5) <= HALF_TOLERANCE, nearest, share > 0.5)
    return inside


def resample_outside(image: sitk.Image, grid: LesionGrid) -> Mask | None:
    """`outside_field` at the nearest voxel: what lies half outside is not half measured."""
    outside = outside_field(image, grid.source)
    if outside is None:
        return None
    starts = [p - part.start for p, part in zip(grid.positions, grid.source, strict=True)]
    return outside[np.ix_(*(_nearest(p, n) for p, n in zip(starts, outside.shape, strict=True)))]


def as_image(values: NDArray, spacing_mm: float | Spacing) -> sitk.Image:
    """An array as a SimpleITK image with unit direction.

    Filters need its spacing alone, and need it exact.
    """
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(tuple(reversed(along_axes(spacing_mm))))
    return image


def along_axes(spacing_mm: float | Spacing) -> Spacing:
    """Spacing along z, y and x, where one number means all three."""
    return spacing_mm if isinstance(spacing_mm, tuple) else (spacing_mm, spacing_mm, spacing_mm)


def check_grid(image: sitk.Image, mask: Mask, what: str) -> None:
    """Raise GridError unless the mask has the image's shape."""
    expected = tuple(reversed(image.GetSize()))
    if mask.shape != expected:
        raise GridError(what, expected, mask.shape)


def _near_box(box: Box, grid: LesionGrid) -> Box:
    """The grid's voxels less than one old voxel from a box of the scan; empty without any."""
    z, y, x = (
        slice(int(np.searchsorted(p, part.start - 1, "right")), int(np.searchsorted(p, part.stop)))
        for p, part in zip(grid.positions, box, strict=True)
    )
    return z, y, x


def _trilinear(mask: Mask, positions: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Share of the mask at positions in index units, one axis after another."""
    share = mask.astype(np.float64)
    for axis, (at, n) in enumerate(zip(positions, mask.shape, strict=True)):
        lower = np.floor(at).astype(np.intp)
        weight = (at - lower).reshape([-1 if a == axis else 1 for a in range(3)])
        below, above = (share.take(np.clip(lower + step, 0, n - 1), axis) for step in (0, 1))
        share = below * (1 - weight) + above * weight
    return share


def _nearest(positions: NDArray[np.float64], n: int) -> NDArray[np.intp]:
    return np.clip(np.floor(positions + 0.5).astype(np.intp), 0, n - 1)


def _spline_weights(positions: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """The matrix from n samples to a cubic B-spline's values at positions.

    It is the basis times the inverse prefilter.
    """
    if n == 1:
        return np.ones((len(positions), 1))
    basis = np.zeros((len(positions), n))
    first = np.floor(positions).astype(int) - 1
    rows = np.arange(len(positions))
    for k in range(4):
        np.add.at(basis, (rows, _mirror(first + k, n)), _cubic(positions - (first + k)))
    return solve_banded((1, 1), _transposed_prefilter(n), basis.T, check_finite=False).T


def _linear_weights(positions: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """The matrix that takes n samples to linear interpolation at positions.

    Beyond an end the last sample goes on.
    """
    weights, rows = np.zeros((len(positions), n)), np.arange(len(positions))
    at = np.clip(positions, 0, n - 1)
    lower = np.floor(at).astype(np.intp)
    weights[rows, lower] = 1 - (at - lower)
    weights[rows, np.minimum(lower + 1, n - 1)] += at - lower
    return weights


def _transposed_prefilter(n: int) -> NDArray[np.float64]:
    """Bands of the transposed matrix that takes spline coefficients to samples, ends mirrored."""
    bands = np.empty((3, n))
    bands[0], bands[1], bands[2] = 1 / 6, 4 / 6, 1 / 6
    bands[2, 0] = bands[0, n - 1] = 1 / 3
    return bands


def _mirror(index: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    period = 2 * (n - 1)
    folded = np.abs(index) % period
    return np.where(folded < n, folded, period - folded)


def _cubic(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    distance = np.abs(offset)
    near = 2 / 3 - distance**2 + distance**3 / 2
    return np.where(distance < 1, near, np.where(distance < 2, (2 - distance) ** 3 / 6, 0.0))


_WEIGHTS: Mapping[str, Callable[[NDArray[np.float64], int], NDArray[np.float64]]] = {
    "bspline": _spline_weights,
    "linear": _linear_weights,
}
