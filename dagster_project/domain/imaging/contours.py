"""RT Structure Sets: closed planar contours in patient coordinates.

They are filled on the slices of the series they were drawn on.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from scipy.spatial import cKDTree

from dagster_project.domain.imaging.grids import to_index
from dagster_project.domain.imaging.headers import whole_number
from dagster_project.domain.imaging.outlined_series import (
    ImageSeries,
    References,
    find_series,
    names_another_frame,
)
from dagster_project.domain.imaging.outlines import Mask, MaskError, Outline
from dagster_project.domain.imaging.rasterisation import fill_polygons, is_traced, winding_numbers
from dagster_project.domain.imaging.series import Series
from dagster_project.domain.imaging.structure_sets import Roi, list_rois, named_images

Floats = npt.NDArray[np.float64]

_DEGREES = np.radians(np.arange(180))
DIRECTIONS = np.array([np.cos(_DEGREES), np.sin(_DEGREES)])
"""Unit vectors (2, 180) in the plane, a degree apart."""

NEAREST_SLICE = 0.5 + 1e-3
"""A contour up to half a spacing from a slice belongs to that slice."""

PLANE_TOLERANCE = 0.5
"""Largest spread of a contour's points across slices, in spacings.

With more the contour is not drawn in the plane of the slices.
"""

SAME_PLANE = 0.05
"""Largest difference in height of contours of one slice that lie in one plane, in spacings.

Those that differ by less are filled together.
"""

NAMED_IMAGE_SLICES = 1.0 - SAME_PLANE
"""Largest distance of a contour from an image that it names, in spacings.

A reformat lies between two slices; with more the contour lies on another image than it names.
"""

ENDS_MEET_PX = math.sqrt(2.0)
"""Largest distance, in pixels, between the ends of an open contour that are neighbours.

Such a contour was traced round and not closed.
"""

SAME_CONTOUR_PX = 0.05
"""Largest distance, in pixels, between the vertices of one contour written twice.

Every vertex of each lies this close to a vertex of the other.
"""

CROSSING_SHARE = 0.02
"""Share of the smaller contour's pixels from which on a common part is a crossing.

Contours that share less touch; those that share more, and neither lies within the other, cross.
"""

CROSSING_PIXELS = 3
"""A crossing also has at least so many pixels, on either side of both contours.

Neighbours that share a border cross by chance.
"""

BY_XOR = frozenset({"CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"})
"""Contours that may cross: what an odd number of them encloses is inside (PS3.3, C.8.8.6.3)."""

CLOSED = BY_XOR | {"CLOSED_PLANAR"}
ONLY_POINTS = "holds points alone, which enclose nothing; outline the structure, or remove it"
ALL_OPEN = (
    "holds open contours alone, (3006,0042) ContourGeometricType; export it with closed contours"
)
OPEN = (
    "holds an open contour whose ends do not meet, (3006,0042) ContourGeometricType; "
    "close it and export again"
)
ACROSS = (
    "holds a contour that crosses slices, (3006,0050) ContourData; "
    "draw contours in the plane of the slices"
)
DAMAGED = "holds damaged coordinates, (3006,0050) ContourData; export the structure set again"
ELSEWHERE = (
    "holds a contour that names an image, (3006,0016) ContourImageSequence, "
    "at another height than its own; export the structure set again"
)


@dataclass(frozen=True)
class _Contour:
    polygon: Floats
    height: float
    place: int


def read_structures(
    dataset: Dataset,
    series: Series,
    wanted: Callable[[str], bool],
    positions: Collection[int] | None = None,
) -> list[Outline]:
    """Every wanted ROI of a structure set as a mask; one that cannot be used is refused by itself.

    1. ROIs that are not on this series (`find_series`) are refused; of `positions` that is known
       already.
    2. Points and contours of fewer than three points enclose nothing, are left out and flagged.
       A ROI of these alone is refused.
    3. An open contour among closed ones is closed and flagged where its ends meet; else it refuses
       its ROI, as do open contours alone.
    4. Damaged coordinates, a contour across slices, and one that names an image at another height
       than its own refuse their ROI.
    5. A contour belongs to the nearest slice within half a spacing. Contours beyond, or with a
       vertex beyond the edge of the image, are counted in `n_outside`; what lies within the image
       is filled all the same and flagged, also where such a contour is longer than all others.
    6. Of equal contours in one plane one is used. One that crosses itself (a figure of eight, a
       loop) is filled by the even-odd rule and flagged.
    7. Contours of one slice are combined by XOR: one within another is a hole. Where contours
       cross, what any of them encloses is taken and flagged. Where they lie in several planes
       within that slice, those of the plane nearest to the slice are used and the others counted in
       `n_outside`: their XOR would hollow the structure.

    Raises
    ------
    MaskError
        Where no ROI of the set is on this series.
    """
    rois = [roi for roi in list_rois(dataset) if positions is None or roi.position in positions]
    on_series = ImageSeries(series.uid, series.frame_of_reference_uid, series.sop_instance_uids)
    elsewhere = {} if positions is not None else _elsewhere(rois, on_series)
    if rois and len(elsewhere) == len(rois):
        raise MaskError(next(iter(elsewhere.values())))
    return [
        _read(roi, elsewhere.get(roi.position, ""), on_series, series)
        for roi in rois
        if wanted(roi.label)
    ]


def _elsewhere(rois: Iterable[Roi], series: ImageSeries) -> dict[int, str]:
    """Why ROIs are not on a series, by position."""
    reasons = {}
    for roi in rois:
        try:
            find_series(roi.references, [series])
        except MaskError as error:
            reasons[roi.position] = roi.refused or str(error)
    return reasons


def _read(roi: Roi, elsewhere: str, on_series: ImageSeries, series: Series) -> Outline:
    refused = roi.refused or elsewhere
    try:
        if not refused:
            return _outline(roi, on_series, series)
    except MaskError as error:
        refused = str(error)
    return Outline(
        roi.label,
        np.zeros(series.shape, bool),
        "RTSTRUCT",
        "even_odd_pixel_centres",
        0,
        refused=refused,
    )


def _outline(roi: Roi, on_series: ImageSeries, series: Series) -> Outline:
    enclosing, flags = _enclosing(roi, series)
    used, beyond = _on_slices(enclosing)
    unique = _without_repeats(used)
    by_xor = all(_kind(item) in BY_XOR for item in roi.contours)
    mask, crossing = _filled(unique, series.shape, by_xor=by_xor)
    n_outside = len(enclosing) - len(used)
    n_outside += sum(_crosses_edge(c.polygon, series.shape) for c in unique)
    cut = beyond + [c for c in unique if _loses_pixels(c.polygon, series.shape)]
    whole = [c for c in unique if not _loses_pixels(c.polygon, series.shape)]
    found = {
        "cut_by_images": bool(cut),
        "longest_outside": bool(cut) and _longest_mm(cut, series) > _longest_mm(whole, series),
        "repeated_contours": len(unique) < len(used),
        "crossing_contours": crossing
        or (not by_xor and any(_crosses_itself(c.polygon, series.shape) for c in unique)),
        "other_frame": _by_another_frame(roi.references, on_series),
        "traced_through_pixel_centres": is_traced([c.polygon for c in unique]),
    }
    flags += [code for code, is_so in found.items() if is_so]
    return Outline(
        roi.label,
        mask,
        "RTSTRUCT",
        "even_odd_pixel_centres",
        n_outside,
        tuple(flags),
        slab_mm=roi.slab_mm,
    )


def _by_another_frame(references: References, series: ImageSeries) -> bool:
    return bool(references.images) and names_another_frame(references, series)


def _enclosing(roi: Roi, series: Series) -> tuple[list[_Contour], list[str]]:
    """Contours that enclose something, and what is odd about the others."""
    read = [(item, _points(item)) for item in roi.contours]
    lines = [
        (item, points)
        for item, points in read
        if not _is_point(item) and len(np.unique(points, axis=0)) >= 3
    ]
    if read and not lines:
        raise MaskError(ONLY_POINTS)
    is_open = [_is_open(item) for item, _ in lines]
    if lines and all(is_open):
        raise MaskError(ALL_OPEN)
    if any(
        o and not _ends_meet(points, series) for (_, points), o in zip(lines, is_open, strict=True)
    ):
        raise MaskError(OPEN)
    flags = {"enclosing_nothing": len(lines) < len(read), "open_contours": any(is_open)}
    contours = [_contour(points, series) for _, points in lines]
    _refuse_other_heights([item for item, _ in lines], contours, series.image_places)
    return contours, [code for code, is_so in flags.items() if is_so]


def _kind(item: Dataset) -> str:
    return str(item.get("ContourGeometricType") or "").strip().upper()


def _is_point(item: Dataset) -> bool:
    return _kind(item) == "POINT"


def _is_open(item: Dataset) -> bool:
    """Whatever is not stated to be closed has to be seen to be."""
    return _kind(item) not in CLOSED


def _ends_meet(points: Floats, series: Series) -> bool:
    ends = to_index(series.affine, points[[0, -1]])
    return float(np.linalg.norm(ends[0] - ends[1])) <= ENDS_MEET_PX


def _contour(points: Floats, series: Series) -> _Contour:
    indices = to_index(series.affine, points)
    if np.ptp(indices[:, 2]) > PLANE_TOLERANCE:
        raise MaskError(ACROSS)
    height = float(indices[:, 2].mean())
    nearest = min(max(math.ceil(height - 0.5), 0), series.shape[0] - 1)
    return _Contour(indices[:, :2], height, nearest)


def _points(item: Dataset) -> Floats:
    """Vertices in patient coordinates.

    They are read from the raw text, since one object per number costs more than the filling.
    """
    element = item.get_item("ContourData")
    value = None if element is None else element.value
    try:
        numbers = np.array(
            value.split(b"\\") if isinstance(value, bytes) else list(value or []), dtype=np.float64
        )
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    stated = whole_number(item, "NumberOfContourPoints")
    # Without its number, a contour that holds nothing lost its figures on the way.
    n_points = max(1, numbers.size // 3) if stated is None else stated
    if numbers.size != 3 * n_points or not np.isfinite(numbers).all():
        raise MaskError(DAMAGED)
    return numbers.reshape(-1, 3)


def _refuse_other_heights(
    items: Sequence[Dataset], contours: Sequence[_Contour], image_places: Mapping[str, int]
) -> None:
    """A contour that names images lies near one of them.

    One and the same image for contours of several heights names the series alone.
    """
    named = [
        {image_places[uid] for uid in named_images(item) if uid in image_places} for item in items
    ]
    places = set[int]().union(*named)
    if len(places) == 1 and len({c.place for c in contours}) > 1:
        return
    for contour, own in zip(contours, named, strict=True):
        if own and min(abs(contour.height - place) for place in own) > NAMED_IMAGE_SLICES:
            raise MaskError(ELSEWHERE)


def _on_slices(contours: list[_Contour]) -> tuple[list[_Contour], list[_Contour]]:
    """Contours that are filled, and those beyond the first or the last slice.

    Neither are those of another plane within a slice.
    """
    near = [c for c in contours if abs(c.height - c.place) <= NEAREST_SLICE]
    nearest = {
        place: min(abs(c.height - place) for c in near if c.place == place)
        for place in {c.place for c in near}
    }
    planes = {
        c.place: c.height
        for c in sorted(near, key=lambda c: c.height)
        if abs(c.height - c.place) <= nearest[c.place] + 1e-9
    }
    used = [c for c in near if abs(c.height - planes[c.place]) <= SAME_PLANE]
    return used, [c for c in contours if abs(c.height - c.place) > NEAREST_SLICE]


def _by_slice(contours: Iterable[_Contour]) -> dict[int, list[_Contour]]:
    found: dict[int, list[_Contour]] = defaultdict(list)
    for contour in contours:
        found[contour.place].append(contour)
    return found


def _without_repeats(contours: Sequence[_Contour]) -> list[_Contour]:
    unique: list[_Contour] = []
    for same_slice in _by_slice(contours).values():
        first: list[_Contour] = []
        for contour in same_slice:
            if not any(_is_same(contour.polygon, other.polygon) for other in first):
                first.append(contour)
        unique += first
    return unique


def _is_same(a: Floats, b: Floats) -> bool:
    """Whether two polygons have the same vertices.

    They may begin at another vertex and run the other way.
    """
    corners = [np.array([p.min(0), p.max(0)]) for p in (a, b)]
    if np.abs(corners[0] - corners[1]).max() > SAME_CONTOUR_PX:
        return False
    farthest = max(cKDTree(q).query(p)[0].max() for p, q in ((a, b), (b, a)))
    return bool(farthest <= SAME_CONTOUR_PX)


def _filled(
    contours: Sequence[_Contour], shape: tuple[int, int, int], *, by_xor: bool
) -> tuple[Mask, bool]:
    """The mask, and whether contours cross."""
    mask: Mask = fill_polygons([c.polygon for c in contours], [c.place for c in contours], shape)
    crossing = False
    for place, same_slice in _by_slice(contours).items():
        if len(same_slice) > 1 and not by_xor:
            planes = _planes(same_slice, shape)
            if any(_cross(a, b) for a, b in combinations(planes, 2)):
                mask[place], crossing = np.any(planes, axis=0), True
    return mask, crossing


def _planes(contours: Sequence[_Contour], shape: tuple[int, int, int]) -> list[Mask]:
    """What each contour of a slice encloses by itself."""
    polygons = [c.polygon for c in contours]
    filled: Mask = fill_polygons(polygons, list(range(len(polygons))), (len(polygons), *shape[1:]))
    return list(filled)


def _cross(a: Mask, b: Mask) -> bool:
    common = int(np.count_nonzero(a & b))
    left = min(int(np.count_nonzero(a)), int(np.count_nonzero(b)))
    least = max(CROSSING_PIXELS, CROSSING_SHARE * left)
    return common > least and left - common > least


def _crosses_itself(polygon: Floats, shape: tuple[int, int, int]) -> bool:
    """Whether parts of what a contour encloses are wound round otherwise than the most of it."""
    turns = winding_numbers(polygon, (shape[1], shape[2]))
    _, counts = np.unique(turns[turns != 0], return_counts=True)
    most = int(counts.max(initial=0))
    return int(counts.sum()) - most > max(CROSSING_PIXELS, CROSSING_SHARE * most)


def _crosses_edge(polygon: Floats, shape: tuple[int, int, int]) -> bool:
    limits = np.array([shape[2], shape[1]]) - 0.5
    return bool(((polygon < -0.5 - 1e-6) | (polygon > limits + 1e-6)).any())


def _loses_pixels(polygon: Floats, shape: tuple[int, int, int]) -> bool:
    """Whether a contour reaches pixel centres that the image does not have."""
    return bool(((polygon < -1) | (polygon > np.array([shape[2], shape[1]]))).any())


def _longest_mm(contours: Iterable[_Contour], series: Series) -> float:
    """The longest extent of one contour, to 0.004 % (`DIRECTIONS`); 0 without contours.

    Any number of vertices is taken: their distances in pairs would need memory by its square.
    """
    spacing = np.linalg.norm(series.affine[:3, :2], axis=0)
    extents = (np.ptp((c.polygon * spacing) @ DIRECTIONS, axis=0).max() for c in contours)
    return float(max(extents, default=0.0))
