"""The CT around a proposed place on three planes through it, as one picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from dagster_project.reports.crops import WINDOWS

if TYPE_CHECKING:
    import SimpleITK as sitk

FORMAT = 1
"""Of the picture: raise it when the same CT would be drawn otherwise."""

SIDE_MM = 90.0
"""Width and height of a plane."""

PIXELS = 180
"""The same in pixels."""

PLANES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
}
"""By plane the directions of columns and rows in LPS: radiological view, head up, front left."""

EDGES = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": "APSI"}
"""Names of the left, right, upper and lower edge."""

BEYOND_HU = -4000.0
"""Black in every window."""


def draw_place(
    image: sitk.Image, affine: np.ndarray, place_mm: tuple[float, float, float], window: str
) -> bytes:
    """Axial, coronal and sagittal plane through a place beside each other, as PNG.

    Parameters
    ----------
    image, affine
        CT in HU and its affine from index (x, y, z) to patient coordinates, with the gantry's tilt.
    place_mm
        In the middle of each plane; what lies beyond the images is black.
    window
        A key of `WINDOWS`.
    """
    import SimpleITK as sitk
    from PIL import Image

    from dagster_project.domain.imaging.grids import in_the_image

    low, high = WINDOWS[window]
    step, tilt = SIDE_MM / PIXELS, in_the_image(image, affine)
    drawn = []
    for columns, rows in PLANES.values():
        axes = np.column_stack([columns, rows, np.cross(columns, rows)]).astype(float)
        corner = np.array(place_mm) - (PIXELS - 1) / 2 * step * (axes[:, 0] + axes[:, 1])
        plane = sitk.Resample(
            image,
            [PIXELS, PIXELS, 1],
            tilt,
            sitk.sitkLinear,
            corner.tolist(),
            [step, step, 1.0],
            axes.ravel().tolist(),
            BEYOND_HU,
            sitk.sitkFloat32,
        )
        hu = sitk.GetArrayFromImage(plane)[0]
        drawn.append(np.clip((hu - low) / (high - low) * 255, 0, 255))
    target = io.BytesIO()
    Image.fromarray(np.rint(np.hstack(drawn)).astype(np.uint8)).save(target, "png", optimize=True)
    return target.getvalue()
