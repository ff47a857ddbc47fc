"""What a segmentation object states of each segment.

Its number, its name, its frames and the images they were drawn on.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dagster_project.domain.imaging.headers import whole_number
from dagster_project.domain.imaging.labels import normal_label
from dagster_project.domain.imaging.outlined_series import Part, References
from dagster_project.domain.imaging.outlines import MaskError

ONE_LABEL = (
    "has the (0062,0005) SegmentLabel of another segment, "
    "and no plain (0062,0020) TrackingID tells the two apart; give each lesion its own label"
)
ONE_NUMBER = "has the (0062,0004) SegmentNumber of another segment; export the segmentation again"
NUMBER_ZERO = (
    "has no (0062,0004) SegmentNumber of its own: 0 is the background; number the segments from 1"
)
UNDESCRIBED = (
    "has frames or voxels, and no item of (0062,0002) SegmentSequence; "
    "export the segmentation again"
)
TILED = (
    "is tiled, (0020,9311) DimensionOrganizationType, as microscopy is; export it on its CT series"
)
OTHER_NUMBER_OF_FRAMES = (
    "has another number of frames than of (5200,9230) PerFrameFunctionalGroupsSequence; "
    "export it again"
)
KINDS = frozenset({"BINARY", "FRACTIONAL", "LABELMAP"})
UNKNOWN_KIND = "has no known (0062,0001) SegmentationType; export it as BINARY"
UNDECODABLE = "has pixels that cannot be decoded; export the segmentation again"

_NEUTRAL = re.compile(r"(lesion|ROI)_[A-Z2-7]{8}")
"""A label that intake wrote in place of one that is not plain."""

_BACKGROUND = re.compile(r"(background.*)?|ROI_[A-Z2-7]{8}", re.IGNORECASE)
"""Labels under which segment 0 of a label map is what lies around the others."""

Groups = tuple[Dataset, ...]
"""Functional groups of a frame: its own, then the shared ones."""


@dataclass(frozen=True)
class Segment:
    """A segment of an object.

    Attributes
    ----------
    position
        Place in SegmentSequence, from 1; those that are not described come after them.
    numbers
        SegmentNumbers of its voxels: several where parts of one lesion bear one TrackingUID.
    refused
        Why it cannot be used; empty where it can.
    """

    position: int
    numbers: frozenset[int]
    label: str
    references: References = field(default_factory=References)
    refused: str = ""


def segmentation_kind(dataset: Dataset) -> str:
    """BINARY, FRACTIONAL or LABELMAP.

    Raises
    ------
    MaskError
        Where it is none of them, or tiled.
    """
    kind = str(dataset.get("SegmentationType", "")).strip().upper()
    if kind not in KINDS:
        raise MaskError(UNKNOWN_KIND)
    if str(dataset.get("DimensionOrganizationType", "")).strip().upper().startswith("TILED"):
        raise MaskError(TILED)
    return kind


def segment_parts(dataset: Dataset) -> list[Part]:
    """What each segment states about the images it was drawn on."""
    return [Part(s.position, s.label, s.references, s.refused) for s in list_segments(dataset)]


def list_segments(dataset: Dataset) -> list[Segment]:
    """Every segment with what it states of its images.

    1. SegmentNumber is unique; segments that share one are refused. 0 is the background of a label
       map, and refused for a lesion.
    2. Segments of one label and one TrackingUID are parts of one lesion and joined.
    3. Segments of one label and several TrackingIDs are several lesions, named by these where they
       are plain; else refused.
    4. Numbers of frames or voxels that no item describes are refused.
    5. The images of a segment are those that its frames name (DerivationImageSequence); of a label
       map all frames are everybody's.

    Raises
    ------
    MaskError
        Where the object is no segmentation of slices.
    """
    kind = segmentation_kind(dataset)
    described = _unique_numbers(_described(dataset))
    known = frozenset[int]().union(*(s.numbers for s in described)) | {0}
    strangers = sorted(_numbers_used(dataset, kind) - known)
    more = [
        Segment(len(described) + k, frozenset({n}), "", refused=UNDESCRIBED)
        for k, n in enumerate(strangers, start=1)
    ]
    images = _images_by_number(dataset, kind)
    frame = str(dataset.get("FrameOfReferenceUID") or "").strip() or None
    named = frozenset(segmentation_references(dataset))
    found = [
        s
        for s in (*_named_apart(dataset, described), *more)
        if s.numbers != {0} or not _BACKGROUND.fullmatch(s.label)
    ]
    return [replace(s, references=References(_images_of(s, images), frame, named)) for s in found]


def segmentation_references(dataset: Dataset) -> set[str]:
    """SeriesInstanceUIDs that a segmentation refers to."""
    return {
        str(one.SeriesInstanceUID)
        for one in dataset.get("ReferencedSeriesSequence") or []
        if one.get("SeriesInstanceUID")
    }


def _described(dataset: Dataset) -> list[Segment]:
    items = dataset.get("SegmentSequence") or []
    return [
        Segment(
            k,
            frozenset({whole_number(item, "SegmentNumber") or 0}),
            str(item.get("SegmentLabel") or "").strip(),
        )
        for k, item in enumerate(items, start=1)
    ]


def _unique_numbers(segments: Sequence[Segment]) -> list[Segment]:
    numbers = [n for s in segments for n in s.numbers]
    return [replace(s, refused=_why_not_numbered(s, numbers)) for s in segments]


def _why_not_numbered(segment: Segment, numbers: Sequence[int]) -> str:
    if segment.numbers == {0}:
        return NUMBER_ZERO
    return ONE_NUMBER if any(numbers.count(n) > 1 for n in segment.numbers) else ""


def _named_apart(dataset: Dataset, segments: Iterable[Segment]) -> list[Segment]:
    """Segments with labels that are unique, parts of one lesion joined."""
    items = dataset.get("SegmentSequence") or []
    groups: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        groups[normal_label(segment.label)].append(segment)
    found = [
        s
        for group in groups.values()
        for s in _told_apart(group, [items[s.position - 1] for s in group])
    ]
    labels = [normal_label(s.label) for s in found]
    return sorted(
        (
            replace(s, refused=s.refused or ONE_LABEL)
            if labels.count(normal_label(s.label)) > 1
            else s
            for s in found
        ),
        key=lambda s: s.position,
    )


def _told_apart(group: Sequence[Segment], items: Sequence[Dataset]) -> list[Segment]:
    if len(group) == 1 or any(s.refused for s in group):
        return list(group)
    uids = {str(item.get("TrackingUID") or "") for item in items}
    if len(uids) == 1 and "" not in uids:
        return [replace(group[0], numbers=frozenset[int]().union(*(s.numbers for s in group)))]
    names = [str(item.get("TrackingID") or "").strip() for item in items]
    plain = all(names) and not any(_NEUTRAL.fullmatch(name) for name in names)
    if not plain or len({normal_label(name) for name in names}) < len(names):
        return [replace(s, refused=ONE_LABEL) for s in group]
    return [replace(s, label=name) for s, name in zip(group, names, strict=True)]


def frame_groups(dataset: Dataset) -> list[Groups]:
    """Functional groups of each frame."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    return [(own, shared[0]) for own in dataset.get("PerFrameFunctionalGroupsSequence") or []]


def group_of(groups: Groups, keyword: str) -> Dataset:
    """One functional group of a frame.

    Raises
    ------
    MaskError
        Where neither the frame nor what is shared has it.
    """
    for one in groups:
        sequence = one.get(keyword)
        if sequence:
            return sequence[0]
    raise MaskError(f"lacks {keyword} for a frame; export the segmentation again")


def frame_number(groups: Groups) -> int:
    """The segment that a frame of a BINARY or FRACTIONAL object belongs to."""
    number = whole_number(
        group_of(groups, "SegmentIdentificationSequence"), "ReferencedSegmentNumber"
    )
    if number is None:
        raise MaskError(
            "lacks (0062,000B) ReferencedSegmentNumber for a frame; export the segmentation again"
        )
    return number


def _numbers_used(dataset: Dataset, kind: str) -> set[int]:
    if kind != "LABELMAP":
        return {frame_number(groups) for groups in frame_groups(dataset)}
    return {int(n) for n in np.flatnonzero(np.bincount(decoded_frames(dataset).ravel()))}


def decoded_frames(dataset: Dataset) -> npt.NDArray[np.unsignedinteger]:
    """Pixels as (frame, row, column).

    Raises
    ------
    MaskError
        Where they cannot be decoded, or are not as many as the frames that are described.
    """
    try:
        pixels = dataset.pixel_array
    except Exception as error:
        raise MaskError(UNDECODABLE) from error
    frames = pixels[None] if pixels.ndim == 2 else pixels
    if len(frames) != len(dataset.get("PerFrameFunctionalGroupsSequence") or []):
        raise MaskError(OTHER_NUMBER_OF_FRAMES)
    return frames


def _images_by_number(dataset: Dataset, kind: str) -> dict[int, set[frozenset[str]]]:
    """Images that the frames of each segment name; under 0 those of every frame of a label map."""
    found: dict[int, set[frozenset[str]]] = defaultdict(set)
    for groups in frame_groups(dataset):
        images = frozenset(_source_images(groups))
        if images:
            found[0 if kind == "LABELMAP" else frame_number(groups)].add(images)
    return found


def _source_images(groups: Groups) -> Iterator[str]:
    for one in groups:
        for derivation in one.get("DerivationImageSequence") or []:
            for image in derivation.get("SourceImageSequence") or []:
                if image.get("ReferencedSOPInstanceUID"):
                    yield str(image.ReferencedSOPInstanceUID)


def _images_of(
    segment: Segment, images: dict[int, set[frozenset[str]]]
) -> frozenset[frozenset[str]]:
    return frozenset[frozenset[str]]().union(*(images.get(n, set()) for n in (*segment.numbers, 0)))
