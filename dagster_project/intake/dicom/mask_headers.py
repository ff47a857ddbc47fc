"""What the header of a mask file states.

It states where its voxels lie, where they are placed, and the segments of 3D Slicer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dagster_project.intake.refusals import RefusedError

HEADER_BYTES = 2**16
"""How much of a file is looked at for the statement of where its voxels lie."""

LARGEST_HEADER = 2**22
"""How much of a NRRD file may be header: 3D Slicer writes a few hundred bytes for each segment."""

DETACHED = "mask keeps its voxels in a second file; save it as one file (.nrrd, .mha or .nii.gz)"
NIFTI_2 = "mask is NIfTI-2; save it as NIfTI-1 (nibabel: Nifti1Image) or as .nrrd"
OTHER_SEGMENT = (
    "mask's file is named after another lesion than the segment in it; "
    "rename the file or the segment"
)
SEVERAL_SEGMENTS = (
    "mask holds several segments and none bears the name of the file; "
    "in 3D Slicer export one file per segment, "
    "or the segmentation as DICOM SEG (Export to DICOM)"
)

TWO_PLACES = (
    "mask states two different places (NIfTI qform and sform); export it again with one of them"
)
TILTED = (
    "mask's axes are not at right angles (tilted gantry); "
    "export the lesion as DICOM SEG or RTSTRUCT on its CT series, "
    "which state the place of each slice"
)

RIGHT_ANGLE = 1e-3
"""Largest cosine between two axes that still are at a right angle."""

SAME_PLACE_MM = 0.05
"""Largest distance of the corners of a volume between two statements of its place."""

_DETACHED_NRRD = re.compile(rb"^data ?file:", re.IGNORECASE | re.MULTILINE)
_MHA_DATA = re.compile(rb"^ElementDataFile\s*=\s*(\S+)", re.MULTILINE)
_SEGMENT = re.compile(r"Segment(\d+)_(Name|ID|LabelValue|Layer)")
_NUMBERED = re.compile(r"([^\W\d_]*)(\d+)")


@dataclass(frozen=True)
class Segment:
    """A segment of a .seg.nrrd: its name, its layer in the file, and its value there.

    `alone` is whether the file has no other segment.
    """

    name: str
    layer: int
    value: int
    alone: bool


def check_header(path: Path) -> None:
    """Refuse a header that leads to another file, and NIfTI-2.

    Nobody asked for the other file's content, and ITK does not read NIfTI-2.

    Raises
    ------
    RefusedError
        Naming what to export instead.
    """
    head = _head(path, HEADER_BYTES)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        _refuse_nifti_2(path, head)
    local = _MHA_DATA.search(head)
    if head.startswith(b"NRRD") and _is_detached(_head(path, LARGEST_HEADER)):
        raise RefusedError(DETACHED)
    if path.name.lower().endswith(".mha") and (local is None or local[1].upper() != b"LOCAL"):
        raise RefusedError(DETACHED)


def _head(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _is_detached(head: bytes) -> bool:
    """Whether the header of a NRRD leads to voxels in another file, or to none.

    A NRRD header names its data file before the blank line that ends it; a header without an end
    has no voxels behind it.
    """
    text, end, _ = head.replace(b"\r\n", b"\n").partition(b"\n\n")
    return not end or _DETACHED_NRRD.search(text.replace(b"\r", b"\n")) is not None


def _refuse_nifti_2(path: Path, head: bytes) -> None:
    import gzip

    if head.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(path) as file:
                head = file.read(4)
        except (OSError, EOFError):
            return
    if head[:4] in {(540).to_bytes(4, "little"), (540).to_bytes(4, "big")}:
        raise RefusedError(NIFTI_2)


def segment_of(image: Any, lesion: str) -> Segment | None:
    """The segment of a 3D Slicer segmentation that a file is named after.

    None where the file has no segments.

    1. A single segment is the lesion, whatever it is called; but not where both names number
       something, and differently.
    2. Of several the one that bears the lesion's name; case, blanks, hyphens and underscores do not
       count.

    Raises
    ------
    RefusedError
        Where the names contradict each other, or none of several segments is meant.
    """
    segments = list(_segments(image))
    if not segments:
        return None
    if len(segments) == 1:
        if _contradict(segments[0].name, lesion):
            raise RefusedError(OTHER_SEGMENT)
        return segments[0]
    meant = [s for s in segments if _plain(s.name) == _plain(lesion)]
    if len(meant) != 1:
        raise RefusedError(SEVERAL_SEGMENTS)
    return meant[0]


def _segments(image: Any) -> Iterator[Segment]:
    """The segments that a header states.

    Files of 3D Slicer before 4.11 have neither LabelValue nor Layer: each segment has a layer of
    its own, and is 1 there.
    """
    found: dict[int, dict[str, str]] = {}
    for key in image.GetMetaDataKeys():
        match = _SEGMENT.fullmatch(key)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = image.GetMetaData(key)
    layers = image.GetNumberOfComponentsPerPixel()
    for number, facts in sorted(found.items()):
        layer, value = (
            _number(facts.get("Layer"), number if layers > 1 else 0),
            _number(facts.get("LabelValue"), 1),
        )
        if not 0 <= layer < layers:
            raise RefusedError(
                "mask names a layer that it does not have; save the segmentation again"
            )
        yield Segment(
            facts.get("Name") or facts.get("ID") or "", layer, value, alone=len(found) == 1
        )


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and re.fullmatch(r"\d{1,5}", text.strip()) else default


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name)).casefold()


def _contradict(segment: str, lesion: str) -> bool:
    """L2 in a file of L1; Segment_1, the program's own name, contradicts nothing."""
    one, other = _NUMBERED.fullmatch(_plain(segment)), _NUMBERED.fullmatch(_plain(lesion))
    return (
        one is not None
        and other is not None
        and one[1] == other[1]
        and int(one[2]) != int(other[2])
    )


def check_place(image: Any) -> None:
    """Refuse a NIfTI header that places the volume twice, and differently.

    The two places are those of the quaternion (qform) and of the matrix (sform).

    Programs differ in which of the two they believe: nibabel in the matrix, ITK in the quaternion
    where the matrix is tilted.

    Raises
    ------
    RefusedError
        Also where the matrix has axes that are not at right angles.
    """
    keys = set(image.GetMetaDataKeys())
    if (
        not {"qform_code", "sform_code", "srow_x", "quatern_b"} <= keys
        or int(image.GetMetaData("sform_code")) == 0
    ):
        return
    by_matrix = np.array(
        [[float(n) for n in image.GetMetaData(f"srow_{axis}").split()] for axis in "xyz"]
    )
    axes = by_matrix[:, :3] / np.linalg.norm(by_matrix[:, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > RIGHT_ANGLE:
        raise RefusedError(TILTED)
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * [
        *image.GetSize(),
        1,
    ]
    by_quaternion = (
        by_matrix if int(image.GetMetaData("qform_code")) == 0 else _of_quaternion(image)
    )
    if np.abs(corners @ (by_matrix - by_quaternion).T).max() > SAME_PLACE_MM:
        raise RefusedError(TWO_PLACES)


def _of_quaternion(image: Any) -> npt.NDArray[np.float64]:
    """3 x 4 matrix of qform (NIfTI-1, method 2)."""
    b, c, d = (float(image.GetMetaData(f"quatern_{n}")) for n in "bcd")
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    sign = -1.0 if float(image.GetMetaData("pixdim[0]")) < 0 else 1.0
    scale = [float(image.GetMetaData(f"pixdim[{n}]")) for n in (1, 2, 3)]
    move = [float(image.GetMetaData(f"qoffset_{axis}")) for axis in "xyz"]
    return np.column_stack([turn * np.array(scale) * [1, 1, sign], move])
