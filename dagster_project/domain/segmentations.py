"""DICOM Segmentation objects: frames of voxels in any order, placed on the slices of the series they were drawn on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dagster_project.domain.grids import place_voxels
from dagster_project.domain.headers import HeaderError, floats
from dagster_project.domain.outlines import NO_REFERENCE, WRONG_FRAME, WRONG_SERIES, BorderRule, MaskError, Outline
from dagster_project.domain.series import Series

Floats = npt.NDArray[np.float64]


def segmentation_references(dataset: Dataset) -> set[str]:
    """SeriesInstanceUIDs that a segmentation refers to."""
    return {str(one.SeriesInstanceUID) for one in dataset.get("ReferencedSeriesSequence") or [] if one.get("SeriesInstanceUID")}


def read_segments(dataset: Dataset, series: Series, wanted: Callable[[str], bool]) -> list[Outline]:
    """Every wanted segment as a mask.

    1. The object has to refer to this series; where it names none, to its frame of reference.
    2. BINARY: the voxels as given. FRACTIONAL: voxels of at least half the maximum. LABELMAP: voxels that hold the segment's number.
    3. Each frame is placed by its own position; the order of frames means nothing, segments may overlap.
    4. Frames have to lie on the grid of the series; voxels beyond it are counted in `n_outside`.

    Raises
    ------
    MaskError
        Where the object refers to another series, lies on another grid or cannot be decoded.
    """
    _refuse_other_series(dataset, series)
    kind = str(dataset.get("SegmentationType", "")).strip().upper()
    if kind not in {"BINARY", "FRACTIONAL", "LABELMAP"}:
        raise MaskError("has no known (0062,0001) SegmentationType; export it as BINARY")
    frames = _frames(dataset)
    labels = {int(s.SegmentNumber): str(s.get("SegmentLabel") or "").strip() for s in dataset.get("SegmentSequence") or []}
    return [_outline(number, label, dataset, frames, kind, series) for number, label in labels.items() if number and wanted(label)]


def _refuse_other_series(dataset: Dataset, series: Series) -> None:
    named, frame = segmentation_references(dataset), dataset.get("FrameOfReferenceUID")
    if named and series.uid not in named:
        raise MaskError(WRONG_SERIES)
    if not named and not frame:
        raise MaskError(NO_REFERENCE)
    if not named and str(frame) != series.frame_of_reference_uid:
        raise MaskError(WRONG_FRAME)


def _frames(dataset: Dataset) -> npt.NDArray[Any]:
    try:
        pixels = dataset.pixel_array
    except Exception as error:
        raise MaskError("has pixels that cannot be decoded; export the segmentation again") from error
    return pixels[None] if pixels.ndim == 2 else pixels


def _outline(number: int, label: str, dataset: Dataset, frames: npt.NDArray[Any], kind: str, series: Series) -> Outline:
    mask = np.zeros(series.shape, bool)
    n_outside = 0
    for groups, frame in _frames_of(number, dataset, frames, kind):
        voxels = _voxels(frame, number, dataset, kind)
        if voxels.any():
            n_outside += place_voxels(mask, voxels[None], _frame_affine(groups), series.affine)
    rule: BorderRule = "fraction_at_least_half" if kind == "FRACTIONAL" else "voxels_as_given"
    return Outline(label, mask, "SEG", rule, n_outside)


def _frames_of(number: int, dataset: Dataset, frames: npt.NDArray[Any], kind: str) -> Iterator[tuple[tuple[Dataset, ...], npt.NDArray[Any]]]:
    """Functional groups (the frame's own, then the shared ones) and pixels of the frames that may hold a segment."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(own) != len(frames):
        raise MaskError("has another number of frames than of (5200,9230) PerFrameFunctionalGroupsSequence; export it again")
    for groups, frame in zip(own, frames, strict=True):
        both = (groups, shared[0])
        if kind == "LABELMAP" or int(_group(both, "SegmentIdentificationSequence").ReferencedSegmentNumber) == number:
            yield both, frame


def _group(groups: tuple[Dataset, ...], keyword: str) -> Dataset:
    for one in groups:
        sequence = one.get(keyword)
        if sequence:
            return sequence[0]
    raise MaskError(f"lacks {keyword} for a frame; export the segmentation again")


def _voxels(frame: npt.NDArray[Any], number: int, dataset: Dataset, kind: str) -> npt.NDArray[np.bool_]:
    if kind == "LABELMAP":
        return frame == number
    if kind == "FRACTIONAL":
        return frame.astype(np.int64) * 2 >= int(dataset.get("MaximumFractionalValue") or 255)
    return frame > 0


def _frame_affine(groups: tuple[Dataset, ...]) -> Floats:
    try:
        cosines = np.array(floats(_group(groups, "PlaneOrientationSequence"), "ImageOrientationPatient", 6))
        between_rows, between_columns = floats(_group(groups, "PixelMeasuresSequence"), "PixelSpacing", 2)
        corner = floats(_group(groups, "PlanePositionSequence"), "ImagePositionPatient", 3)
    except HeaderError as error:
        raise MaskError(f"{error}; export the segmentation again") from error
    affine = np.eye(4)
    affine[:3] = np.column_stack([cosines[:3] * between_columns, cosines[3:] * between_rows, np.cross(cosines[:3], cosines[3:]), corner])
    return affine
