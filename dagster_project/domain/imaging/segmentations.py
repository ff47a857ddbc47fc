"""DICOM Segmentation objects: frames of voxels in any order.

They are placed on the slices of the series they were drawn on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dagster_project.domain.imaging.grids import place_voxels, to_index
from dagster_project.domain.imaging.headers import HeaderError, floats, number
from dagster_project.domain.imaging.outlined_series import (
    ImageSeries,
    find_series,
    names_another_frame,
)
from dagster_project.domain.imaging.outlines import (
    CUT,
    WRONG_FRAME,
    BorderRule,
    Mask,
    MaskError,
    Outline,
)
from dagster_project.domain.imaging.segments import (
    Groups,
    Segment,
    decoded_frames,
    frame_groups,
    frame_number,
    group_of,
    list_segments,
    segmentation_kind,
)
from dagster_project.domain.imaging.series import Series

Floats = npt.NDArray[np.float64]
Frames = npt.NDArray[Any]

NO_MAXIMUM = (
    "lacks (0062,000E) MaximumFractionalValue, without which its fractions mean nothing; "
    "export it as BINARY"
)
ABOVE_MAXIMUM = "holds fractions above (0062,000E) MaximumFractionalValue; export it as BINARY"
BELOW_HALF = (
    "holds fractions, and no voxel of at least half of (0062,000E) MaximumFractionalValue; "
    "export it as BINARY"
)
SEVERAL_VALUES = "is BINARY and holds several values beside 0; export one segment per lesion"
FROM_THE_LEFT = (
    "its bits are packed from the left, the first voxel in the highest bit, "
    "against PS3.5 section 8.1.1: each eighth of a row is mirrored; "
    "export it with another program, or as NIfTI"
)
TWO_FRAMES = "has two different frames on one slice; export the segmentation again"

FROM_THE_LEFT_SHARE = 0.6
"""Share of the edges along the rows; where turned bits leave fewer, their order is wrong.

A mask read in the wrong order has about 2.7 times the edges that it has in the right one.
"""

FEWEST_EDGES = 200
"""Below it the shape is not judged: a few short rows may have any."""

SAME_THICKNESS_MM = 1e-3
"""Largest difference between two statements of one thickness."""


@dataclass(frozen=True)
class _Voxels:
    """Frames of an object with what their values mean.

    A value of at least `inside` of a frame of the segment.
    """

    kind: str
    frames: Frames
    groups: list[Groups]
    inside: float
    border_rule: BorderRule
    flags: tuple[str, ...] = ()


def read_segments(
    dataset: Dataset,
    series: Series,
    wanted: Callable[[str], bool],
    positions: Collection[int] | None = None,
) -> list[Outline]:
    """Every wanted segment as a mask; one that cannot be used is refused by itself.

    1. Segments that are not on this series (`find_series`) are refused; of `positions` that is
       known already. So is one that names images of this series and another frame of reference: its
       frames are placed in that one.
    2. BINARY: the voxels as given. LABELMAP: voxels that hold the segment's number. FRACTIONAL:
       voxels of at least half the maximum; a segment that reaches it nowhere is refused. An object
       that holds nothing but 0 and 1 of a larger maximum is a binary one that was declared wrongly:
       taken as given, and flagged.
    3. Each frame is placed by its own position; the order of frames means nothing, segments may
       overlap. Of equal frames of one segment on one slice one counts; different ones refuse it.
    4. Frames have to lie on the grid of the series; voxels beyond it are counted in `n_outside`
       and flagged.
    5. The thickness of the frames is handed on (`slab_mm`), so that a segmentation of thicker
       slices can be filled.

    Raises
    ------
    MaskError
        Where no segment is on this series, or the pixels cannot be understood.
    """
    segments = [s for s in list_segments(dataset) if positions is None or s.position in positions]
    on_series = ImageSeries(series.uid, series.frame_of_reference_uid, series.sop_instance_uids)
    refused = {
        s.position: s.refused or ("" if positions else _elsewhere(s, on_series)) for s in segments
    }
    chosen = [s for s in segments if wanted(s.label)]
    _refuse_all(segments, refused)
    voxels = _understood(dataset)
    found = [_read(s, refused[s.position], on_series, voxels, series) for s in chosen]
    _refuse_all(chosen, {s.position: o.refused for s, o in zip(chosen, found, strict=True)})
    return found


def _refuse_all(segments: list[Segment], refused: dict[int, str]) -> None:
    """One refusal of the whole object where every segment is refused for one reason."""
    reasons = {refused[s.position] for s in segments}
    if len(reasons) == 1 and "" not in reasons:
        raise MaskError(reasons.pop())


def _elsewhere(segment: Segment, series: ImageSeries) -> str:
    try:
        find_series(segment.references, [series])
    except MaskError as error:
        return str(error)
    return ""


def _understood(dataset: Dataset) -> _Voxels:
    kind, frames, groups = (
        segmentation_kind(dataset),
        decoded_frames(dataset),
        frame_groups(dataset),
    )
    if kind == "FRACTIONAL":
        return _fractions(dataset, frames, groups)
    if kind == "BINARY" and _holds_several(frames):
        raise MaskError(SEVERAL_VALUES)
    if kind == "BINARY" and dataset.get("BitsAllocated") == 1 and _is_packed_from_the_left(frames):
        raise MaskError(FROM_THE_LEFT)
    return _Voxels(kind, frames, groups, 1, "voxels_as_given")


def _holds_several(frames: Frames) -> bool:
    largest = frames.max(initial=0)
    return bool(largest > 1 and any(((frame != 0) & (frame != largest)).any() for frame in frames))


def _is_packed_from_the_left(frames: Frames) -> bool:
    """Whether turning the bits of each byte round leaves far fewer edges along the rows."""
    bits = np.append(frames.ravel() != 0, np.zeros(-frames.size % 8, bool))
    turned = bits.reshape(-1, 8)[:, ::-1].ravel()[: frames.size].reshape(frames.shape)
    seen = _count_edges(frames != 0)
    return seen >= FEWEST_EDGES and _count_edges(turned) < FROM_THE_LEFT_SHARE * seen


def _count_edges(frames: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(frames[..., 1:] != frames[..., :-1]))


def _fractions(dataset: Dataset, frames: Frames, groups: list[Groups]) -> _Voxels:
    maximum, largest = number(dataset, "MaximumFractionalValue"), int(frames.max(initial=0))
    if not maximum or maximum <= 0:
        raise MaskError(NO_MAXIMUM)
    if largest > maximum:
        raise MaskError(ABOVE_MAXIMUM)
    if largest == 1 and maximum > 2:
        return _Voxels(
            "FRACTIONAL", frames, groups, 1, "voxels_as_given", ("fractions_are_binary",)
        )
    return _Voxels("FRACTIONAL", frames, groups, maximum / 2, "fraction_at_least_half")


def _read(
    segment: Segment, refused: str, on_series: ImageSeries, voxels: _Voxels, series: Series
) -> Outline:
    empty = np.zeros(series.shape, bool)
    if not refused:
        try:
            return _outline(segment, on_series, voxels, series)
        except MaskError as error:
            refused = str(error)
    return Outline(segment.label, empty, "SEG", voxels.border_rule, 0, voxels.flags, refused)


def _outline(segment: Segment, on_series: ImageSeries, voxels: _Voxels, series: Series) -> Outline:
    if names_another_frame(segment.references, on_series):
        raise MaskError(WRONG_FRAME)
    mask = np.zeros(series.shape, bool)
    n_outside, seen, thicknesses = 0, dict[tuple[int, ...], Mask](), set[float | None]()
    something = False
    for groups, number_, frame in _frames_of(segment, voxels):
        inside = (frame == number_) if voxels.kind == "LABELMAP" else frame >= voxels.inside
        something = something or bool(frame.any())
        if not inside.any() or _is_repeated(seen, (number_, *_corner(groups, series)), inside):
            continue
        n_outside += place_voxels(mask, inside[None], _frame_affine(groups), series.affine)
        thicknesses.add(_thickness(groups, series))
    if something and voxels.border_rule == "fraction_at_least_half" and not seen:
        raise MaskError(BELOW_HALF)
    slab = thicknesses.pop() if len(thicknesses) == 1 else None
    flags = (*voxels.flags, *(CUT if n_outside else ()))
    return Outline(segment.label, mask, "SEG", voxels.border_rule, n_outside, flags, slab_mm=slab)


def _frames_of(segment: Segment, voxels: _Voxels) -> Iterator[tuple[Groups, int, Frames]]:
    """Groups, segment number and pixels of the frames that may hold a segment."""
    for groups, frame in zip(voxels.groups, voxels.frames, strict=True):
        if voxels.kind == "LABELMAP":
            yield from ((groups, n, frame) for n in sorted(segment.numbers))
        elif (n := frame_number(groups)) in segment.numbers:
            yield groups, n, frame


def _is_repeated(seen: dict[tuple[int, ...], Mask], place: tuple[int, ...], inside: Mask) -> bool:
    before = seen.setdefault(place, inside)
    if before is inside:
        return False
    if not np.array_equal(before, inside):
        raise MaskError(TWO_FRAMES)
    return True


def _thickness(groups: Groups, series: Series) -> float | None:
    """Distance of the planes that a frame states, else its thickness.

    The thickness does not count where it is copied from a CT of overlapping slices.
    """
    measures = group_of(groups, "PixelMeasuresSequence")
    between, thick = number(measures, "SpacingBetweenSlices"), number(measures, "SliceThickness")
    if between is not None and between > 0:
        return between
    of_series = series.header.get("slice_thickness_mm")
    copied = (
        thick is not None and of_series is not None and abs(thick - of_series) <= SAME_THICKNESS_MM
    )
    return None if copied else thick


def _corner(groups: Groups, series: Series) -> tuple[int, ...]:
    """The voxel of the series at which a frame begins."""
    corner = np.array([_stated(groups, "PlanePositionSequence", "ImagePositionPatient", 3)])
    return tuple(int(n) for n in np.rint(to_index(series.affine, corner)[0]))


def _stated(groups: Groups, sequence: str, keyword: str, count: int) -> list[float]:
    try:
        return list(floats(group_of(groups, sequence), keyword, count))
    except HeaderError as error:
        raise MaskError(f"{error}; export the segmentation again") from error


def _frame_affine(groups: Groups) -> Floats:
    cosines = np.array(_stated(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6))
    between_rows, between_columns = _stated(groups, "PixelMeasuresSequence", "PixelSpacing", 2)
    corner = _stated(groups, "PlanePositionSequence", "ImagePositionPatient", 3)
    affine = np.eye(4)
    affine[:3] = np.column_stack(
        [
            cosines[:3] * between_columns,
            cosines[3:] * between_rows,
            np.cross(cosines[:3], cosines[3:]),
            corner,
        ]
    )
    return affine
