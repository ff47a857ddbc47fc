"""The ROIs of an RT Structure Set, each by itself.

Its name, contours, references, and whether they can be trusted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from dagster_project.domain.imaging.headers import HeaderError, floats
from dagster_project.domain.imaging.outlined_series import References

REPEATED_NUMBER = (
    "its (3006,0022) ROINumber is that of another structure too, "
    "so that nobody can say which contours are whose; export the set again"
)
REPEATED_NAME = (
    "another structure of the set bears the same name with other contours; name each structure once"
)
REJECTED = "is marked as rejected, (300E,0002) ApprovalStatus; deliver the structure set that holds"
NAMELESS = (
    "belongs to no structure of the set by its (3006,0084) ReferencedROINumber; "
    "export the set again"
)


@dataclass(frozen=True)
class Roi:
    """One structure of a set.

    Attributes
    ----------
    position
        From 1, in StructureSetROISequence; contours of no structure follow after the last.
    slab_mm
        Thickness that the object states for all of its contours: ContourSlabThickness, (3006,0044).
    refused
        Why it cannot be used whatever series it is on; empty where it can.
    """

    position: int
    label: str
    contours: tuple[Dataset, ...]
    references: References
    slab_mm: float | None = None
    refused: str = ""


def list_rois(dataset: Dataset) -> list[Roi]:
    """Every ROI of a structure set, in the order of the set.

    1. Items of ROIContourSequence that name one ROI are joined.
    2. ROIs that share a number are refused: ROI Number is unique within a set (PS3.3, C.8.8.5).
    3. Of ROIs of one name in one frame of reference the first is used where the contours are the
       same; where they are not, all are refused.
    4. Contours that name no ROI of the set are refused under their place in ROIContourSequence.
    5. All are refused where the set was reviewed and rejected (PS3.3, C.8.8.16).
    """
    items = list(dataset.get("StructureSetROISequence") or [])
    numbers = [_number(roi, "ROINumber") for roi in items]
    contours, places = _contours_by_number(dataset)
    shared = {number for number, count in Counter(numbers).items() if count > 1 or number is None}
    rois = [
        _roi(k, roi, number, contours, shared, dataset)
        for k, (roi, number) in enumerate(zip(items, numbers, strict=True), start=1)
    ]
    nameless = [number for number in contours if number not in numbers and contours[number]]
    for k, number in enumerate(nameless, start=len(rois) + 1):
        label = f"item {places[number]} of ROIContourSequence"
        rois.append(Roi(k, label, (), References(), refused=NAMELESS))
    if str(dataset.get("ApprovalStatus") or "").strip().upper() == "REJECTED":
        return [replace(roi, refused=REJECTED) for roi in rois]
    return _named_once(rois)


def _number(item: Dataset, keyword: str) -> int | None:
    value = item.get(keyword)
    return None if value is None or value == "" else int(value)


def _contours_by_number(
    dataset: Dataset,
) -> tuple[Mapping[int | None, list[Dataset]], Mapping[int | None, int]]:
    """Contours of all items that name a ROI number, and the place of the first such item."""
    contours: dict[int | None, list[Dataset]] = defaultdict(list)
    places: dict[int | None, int] = {}
    for place, item in enumerate(dataset.get("ROIContourSequence") or [], start=1):
        number = _number(item, "ReferencedROINumber")
        contours[number] += item.get("ContourSequence") or []
        places.setdefault(number, place)
    return contours, places


def _roi(
    position: int,
    roi: Dataset,
    number: int | None,
    contours: Mapping[int | None, list[Dataset]],
    shared: set[int | None],
    dataset: Dataset,
) -> Roi:
    own = tuple(contours.get(number, ()))
    label = str(roi.get("ROIName") or "").strip()
    refused = REPEATED_NUMBER if number in shared else ""
    return Roi(position, label, own, _references(roi, own, dataset), _slab(own), refused)


def _references(roi: Dataset, contours: Sequence[Dataset], dataset: Dataset) -> References:
    images = {frozenset(named_images(one)) for one in contours}
    frames = list(dataset.get("ReferencedFrameOfReferenceSequence") or [])
    own = roi.get("ReferencedFrameOfReferenceUID") or None
    if own is None:
        stated = {str(f.FrameOfReferenceUID) for f in frames if f.get("FrameOfReferenceUID")}
        own = next(iter(stated)) if len(stated) == 1 else None
    of_frame = (
        [f for f in frames if str(f.get("FrameOfReferenceUID")) == str(own)] if own else frames
    )
    return References(
        frozenset(images - {frozenset()}),
        str(own) if own else None,
        frozenset(series_of_frames(of_frame)),
    )


def series_of_frames(frames: Sequence[Dataset]) -> set[str]:
    """SeriesInstanceUIDs that items of ReferencedFrameOfReferenceSequence name."""
    studies = [study for frame in frames for study in frame.get("RTReferencedStudySequence") or []]
    series = [one for study in studies for one in study.get("RTReferencedSeriesSequence") or []]
    return {str(one.SeriesInstanceUID) for one in series if one.get("SeriesInstanceUID")}


def named_images(contour: Dataset) -> set[str]:
    """SOPInstanceUIDs that a contour names."""
    images = contour.get("ContourImageSequence") or []
    return {
        str(one.ReferencedSOPInstanceUID) for one in images if one.get("ReferencedSOPInstanceUID")
    }


def _slab(contours: Sequence[Dataset]) -> float | None:
    stated = set()
    for contour in contours:
        try:
            (value,) = floats(contour, "ContourSlabThickness", 1)
        except HeaderError:
            return None
        stated.add(value)
    return stated.pop() if len(stated) == 1 and min(stated) > 0 else None


def _named_once(rois: Sequence[Roi]) -> list[Roi]:
    """Make names unique within one frame of reference.

    One set may hold the same lesion of two visits.
    """
    by_name: dict[tuple[str, str | None], list[Roi]] = defaultdict(list)
    for roi in rois:
        if roi.contours and roi.label and not roi.refused:
            by_name[roi.label.casefold(), roi.references.frame].append(roi)
    refused: dict[int, str | None] = {}
    for same in by_name.values():
        drawn = {_drawn(roi) for roi in same}
        refused |= {
            roi.position: None if len(drawn) == 1 else REPEATED_NAME
            for roi in same[len(drawn) == 1 :]
            if len(same) > 1
        }
    kept = [roi for roi in rois if refused.get(roi.position, "") is not None]
    return [
        Roi(
            r.position,
            r.label,
            r.contours,
            r.references,
            r.slab_mm,
            refused.get(r.position) or r.refused,
        )
        for r in kept
    ]


def _drawn(roi: Roi) -> tuple[str, ...]:
    return tuple(
        sorted(
            str(one.get_item("ContourData").value) if "ContourData" in one else ""
            for one in roi.contours
        )
    )
