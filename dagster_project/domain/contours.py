"""RT Structure Sets: closed planar contours in patient coordinates, filled on the slices of the series they were drawn on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dagster_project.domain.grids import to_index
from dagster_project.domain.outlines import NO_REFERENCE, WRONG_FRAME, WRONG_SERIES, Mask, MaskError, Outline
from dagster_project.domain.rasterisation import fill_polygons
from dagster_project.domain.series import Series

Floats = npt.NDArray[np.float64]

NEAREST_SLICE = 0.5 + 1e-3
"""A contour up to half a spacing from a slice belongs to that slice."""

PLANE_TOLERANCE = 0.5
"""Largest spread of a contour's points across slices, in spacings; more is not drawn in the plane of the slices."""

SAME_PLANE = 0.05
"""Contours of one slice that differ less in height, in spacings, lie in one plane and are filled together."""

CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"})


@dataclass(frozen=True)
class _Contour:
    polygon: Floats
    height: float
    place: int


def structure_references(dataset: Dataset) -> set[str]:
    """SeriesInstanceUIDs that a structure set refers to."""
    frames = dataset.get("ReferencedFrameOfReferenceSequence") or []
    studies = [study for frame in frames for study in frame.get("RTReferencedStudySequence") or []]
    series = [one for study in studies for one in study.get("RTReferencedSeriesSequence") or []]
    return {str(one.SeriesInstanceUID) for one in series if one.get("SeriesInstanceUID")}


def read_structures(dataset: Dataset, series: Series, wanted: Callable[[str], bool]) -> list[Outline]:
    """Every wanted ROI of a structure set as a mask.

    1. The set has to refer to this series; where it names no series, to one of its images or its frame of reference.
    2. A contour belongs to the nearest slice within half a spacing. Contours beyond, or with a vertex beyond the edge of
       the image, are counted in `n_outside`; what lies within the image is filled all the same.
    3. Contours of one slice are combined by XOR. Where they lie in several planes within that slice, those of the plane
       nearest to the slice are used and the others counted in `n_outside`: their XOR would hollow the structure.
    4. Points, open contours and contours of fewer than three points enclose nothing and are left out.

    Raises
    ------
    MaskError
        Where the set refers to another series or holds a contour across slices or with damaged numbers.
    """
    _refuse_other_series(dataset, series)
    contours = {int(item.ReferencedROINumber): item.get("ContourSequence") or [] for item in dataset.get("ROIContourSequence") or []}
    labels = {int(roi.ROINumber): str(roi.get("ROIName") or "").strip() for roi in dataset.get("StructureSetROISequence") or []}
    return [_outline(label, contours.get(number, []), series) for number, label in labels.items() if wanted(label)]


def _refuse_other_series(dataset: Dataset, series: Series) -> None:
    named = structure_references(dataset)
    if named:
        if series.uid not in named:
            raise MaskError(WRONG_SERIES)
        return
    images, frames = _image_references(dataset), _frame_references(dataset)
    if images & series.sop_instance_uids:
        return
    if not images and not frames:
        raise MaskError(NO_REFERENCE)
    if series.frame_of_reference_uid not in frames:
        raise MaskError(WRONG_FRAME)


def _image_references(dataset: Dataset) -> set[str]:
    contours = [c for item in dataset.get("ROIContourSequence") or [] for c in item.get("ContourSequence") or []]
    return {str(image.get("ReferencedSOPInstanceUID")) for c in contours for image in c.get("ContourImageSequence") or []}


def _frame_references(dataset: Dataset) -> set[str]:
    of_set = {str(frame.get("FrameOfReferenceUID")) for frame in dataset.get("ReferencedFrameOfReferenceSequence") or []}
    return of_set | {str(roi.get("ReferencedFrameOfReferenceUID")) for roi in dataset.get("StructureSetROISequence") or []} - {"None"}


def _outline(label: str, items: list[Dataset], series: Series) -> Outline:
    contours = [_contour(item, series) for item in items if str(item.get("ContourGeometricType", "CLOSED_PLANAR")).strip() in CLOSED]
    enclosing = [c for c in contours if len(c.polygon) >= 3]
    used, n_outside = _on_slices(enclosing)
    mask: Mask = fill_polygons([c.polygon for c in used], [c.place for c in used], series.shape)
    n_outside += sum(_crosses_edge(c.polygon, series.shape) for c in used)
    return Outline(label, mask, "RTSTRUCT", "even_odd_pixel_centres", n_outside)


def _contour(item: Dataset, series: Series) -> _Contour:
    indices = to_index(series.affine, _points(item))
    spread = np.ptp(indices[:, 2]) if len(indices) else 0.0
    if spread > PLANE_TOLERANCE:
        raise MaskError("holds a contour that crosses slices, (3006,0050) ContourData; draw contours in the plane of the slices")
    height = float(indices[:, 2].mean()) if len(indices) else 0.0
    nearest = min(max(math.ceil(height - 0.5), 0), series.shape[0] - 1)
    return _Contour(indices[:, :2], height, nearest)


def _points(item: Dataset) -> Floats:
    """Vertices in patient coordinates; read from the raw text, since one object a number costs more than the filling."""
    element = item.get_item("ContourData")
    value = None if element is None else element.value
    try:
        numbers = np.array(value.split(b"\\") if isinstance(value, bytes) else list(value or []), dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if numbers.size % 3 or not np.isfinite(numbers).all():
        raise MaskError("holds damaged coordinates, (3006,0050) ContourData; export the structure set again")
    return numbers.reshape(-1, 3)


def _on_slices(contours: list[_Contour]) -> tuple[list[_Contour], int]:
    """Contours that are filled, and how many are not."""
    near = [c for c in contours if abs(c.height - c.place) <= NEAREST_SLICE]
    nearest = {place: min(abs(c.height - place) for c in near if c.place == place) for place in {c.place for c in near}}
    planes = {c.place: c.height for c in sorted(near, key=lambda c: c.height) if abs(c.height - c.place) <= nearest[c.place] + 1e-9}
    used = [c for c in near if abs(c.height - planes[c.place]) <= SAME_PLANE]
    return used, len(contours) - len(used)


def _crosses_edge(polygon: Floats, shape: tuple[int, int, int]) -> bool:
    limits = np.array([shape[2], shape[1]]) - 0.5
    return bool(((polygon < -0.5 - 1e-6) | (polygon > limits + 1e-6)).any())
