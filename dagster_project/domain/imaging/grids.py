"""Voxels of a mask onto the CT grid by moving them, never by interpolating.

A mask either lies on that grid or is refused.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from dagster_project.domain.imaging.outlines import Mask, MaskError

Floats = npt.NDArray[np.float64]

GRID_TOLERANCE = 0.1
"""Largest distance, in voxels, of a mask's voxel centre from a voxel centre of the CT."""


def affine_of(image: sitk.Image) -> Floats:
    """4 x 4 matrix from index (x, y, z) to patient coordinates in mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return affine


def points_of(text: str) -> Floats:
    """Points (n, 3) of a column such as `diameter_ends_mm`.

    >>> points_of("1,2,3;4,5,6").tolist()
    [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    """
    return np.array([[float(c) for c in point.split(",")] for point in text.split(";")])


def in_the_image(image: sitk.Image, affine: Floats) -> sitk.AffineTransform:
    """From patient coordinates by the affine to the image's own, which know no gantry tilt."""
    matrix = affine_of(image) @ np.linalg.inv(affine)
    return sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())


def to_index(affine: Floats, points: Floats) -> Floats:
    """Patient coordinates (n, 3) in mm to continuous indices (x, y, z)."""
    return np.asarray(np.linalg.solve(affine[:3, :3], (points - affine[:3, 3]).T).T, np.float64)


def to_patient(affine: Floats, indices: Floats) -> Floats:
    """Indices (n, 3) as (x, y, z) to patient coordinates in mm."""
    return indices @ affine[:3, :3].T + affine[:3, 3]


def place_voxels(mask: Mask, voxels: Mask, affine: Floats, target: Floats) -> int:
    """Set in `mask` what is set in `voxels`, and return how many voxels fall outside it.

    Axes may be swapped or flipped and the grids may begin and end elsewhere; spacing, directions
    and the place of the voxel centres must be the same to `GRID_TOLERANCE`.

    Parameters
    ----------
    mask, voxels
        (z, y, x).
    affine, target
        From index (x, y, z) of `voxels` and of `mask` to patient coordinates.

    Raises
    ------
    MaskError
        Where the voxels do not lie on the grid.
    """
    matrix = np.asarray(np.linalg.solve(target, affine), np.float64)
    _refuse_other_grid(matrix, voxels.shape)
    z, y, x = np.nonzero(voxels)
    moved = np.rint(np.column_stack([x, y, z]) @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.int64)
    inside = ((moved >= 0) & (moved < mask.shape[::-1])).all(1)
    kept = moved[inside]
    mask[kept[:, 2], kept[:, 1], kept[:, 0]] = True
    return int((~inside).sum())


def _refuse_other_grid(matrix: Floats, shape: tuple[int, ...]) -> None:
    """Refuse a grid that is not that of the CT.

    Every corner of the one grid has to be a voxel of the other, and every step along an axis one
    voxel.
    """
    corners = np.array(
        [[i, j, k] for i in (0, shape[2] - 1) for j in (0, shape[1] - 1) for k in (0, shape[0] - 1)]
    )
    moved = corners @ matrix[:3, :3].T + matrix[:3, 3]
    counted = [axis for axis, n in enumerate(reversed(shape)) if n > 1]
    steps = np.abs(matrix[:3, counted])
    one_voxel = np.allclose(np.sort(steps, axis=0), np.array([[0.0], [0.0], [1.0]]), atol=0.01)
    if not one_voxel or np.abs(moved - np.rint(moved)).max() > GRID_TOLERANCE:
        raise MaskError(
            "does not lie on the grid of the CT series; export the mask on the original series "
            "without resampling"
        )
