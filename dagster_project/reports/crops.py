"""The CT around a lesion and its outlines, small enough to lie within a page.

A crop is what the viewer scrolls through and what the still pictures are made from.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.figures.lesions import LUNG_WINDOW_HU, SOFT_TISSUE_WINDOW_HU

Voxels = npt.NDArray[np.int16]
Masks = Mapping[str, npt.NDArray[np.bool_]]
Floats = npt.NDArray[np.float64]

FORMAT = 1
"""Version of the bytes; viewer.js reads this one."""

MARGIN_MM = 25.0
"""Room around the lesion within the slice."""

MARGIN_ALONG_MM = 12.0
"""Room before its first and after its last slice."""

STILL_MARGIN_MM = 12.0
"""Room around the lesion in a still picture."""

STILL_PIXELS = 288
"""Side of a still picture."""

WINDOWS = {"lung": LUNG_WINDOW_HU, "soft": SOFT_TISSUE_WINDOW_HU}
"""Windows of the viewer and of the still pictures."""

LETTERS = (("L", "R"), ("P", "A"), ("S", "I"))
"""Names of the directions of LPS, forwards and backwards."""

DISPLAYED = {2: (0, 1, 1, 1, 1), 1: (0, 2, 1, -1, 1), 0: (1, 2, 1, -1, 1)}
"""By the axis of the normal: axes of columns and rows, and the signs of columns, rows and slices.

Transverse slices have the patient's left on the right and the back below; coronal and sagittal ones
have the head above.
"""


@dataclass(frozen=True)
class Crop:
    """A box of CT around a lesion, turned as it is displayed.

    Attributes
    ----------
    voxels
        HU (z, y, x).
    spacing
        mm (z, y, x).
    middle
        The lesion's middle along the normal, in slices.
    centre, extent
        Middle and size of the lesion within the slice (x, y), in voxels and in mm.
    edges
        Directions at the left, right, upper and lower edge.
    outlines
        Letter → slice → closed lines of corners (x, y) in half voxels.
    diameter
        Slice and two ends (x, y) of the accepted diameter, in voxels.
    """

    voxels: Voxels
    spacing: tuple[float, float, float]
    middle: float
    centre: tuple[float, float]
    extent: tuple[float, float]
    edges: tuple[str, str, str, str]
    outlines: Mapping[str, Mapping[int, Sequence[Sequence[int]]]]
    diameter: tuple[int, tuple[float, float, float, float]] | None = None


@dataclass(frozen=True)
class _Turn:
    """How indices of the image become those of the display."""

    swap: bool
    flips: tuple[bool, bool, bool]
    edges: tuple[str, str, str, str]

    def array(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A (z, y, x) array as displayed."""
        turned = values.swapaxes(1, 2) if self.swap else values
        for axis, flip in enumerate(self.flips):
            turned = np.flip(turned, axis) if flip else turned
        return np.ascontiguousarray(turned)

    def point(self, point: Floats, shape: tuple[int, ...]) -> Floats:
        """An index (x, y, z) as displayed, in an array of the displayed shape (z, y, x)."""
        x, y, z = (point[1], point[0], point[2]) if self.swap else point
        found = [z, y, x]
        for axis, flip in enumerate(self.flips):
            found[axis] = shape[axis] - 1 - found[axis] if flip else found[axis]
        return np.array(found[::-1], float)


def turn_of(direction: Floats) -> _Turn:
    """The turn by which an image is displayed, from its direction cosines.

    Parameters
    ----------
    direction
        3 x 3; a column has the direction of an index (x, y, z) in LPS.
    """
    normal = int(np.argmax(np.abs(direction[:, 2])))
    across, down, *signs = DISPLAYED[normal]
    swap = abs(direction[across, 0]) < abs(direction[across, 1])
    x, y = (direction[:, 1], direction[:, 0]) if swap else (direction[:, 0], direction[:, 1])
    flips = (
        bool(direction[normal, 2] * signs[2] < 0),
        bool(y[down] * signs[1] < 0),
        bool(x[across] * signs[0] < 0),
    )
    right, left = LETTERS[across]
    lower, upper = LETTERS[down][:: signs[1]]
    return _Turn(swap, flips, (left, right, upper, lower))


def cut_crop(
    image: Any, masks: Masks, accepted: npt.NDArray[np.bool_], ends: Floats | None = None
) -> Crop:
    """The box around a lesion, with the outlines of its readers.

    Parameters
    ----------
    image
        CT as a SimpleITK image in HU.
    masks
        Letter → boolean array (z, y, x) on the image's grid.
    accepted
        The accepted outline on that grid; its middle along the normal is the lesion's.
    ends
        Ends of the accepted diameter as (x, y, z) indices, (2, 3).

    Raises
    ------
    NothingToDraw
        Where the accepted outline has no voxel.
    """
    import SimpleITK as sitk

    if not accepted.any():
        raise NothingToDraw("cut_crop", "an accepted outline with at least one voxel")
    spacing = tuple(float(v) for v in image.GetSpacing()[::-1])
    box = _box(np.logical_or.reduce([accepted, *masks.values()]), spacing)
    turn = turn_of(np.array(image.GetDirection()).reshape(3, 3))
    voxels = turn.array(sitk.GetArrayViewFromImage(image)[box]).astype("<i2")
    lesion = turn.array(accepted[box])
    size = spacing if not turn.swap else (spacing[0], spacing[2], spacing[1])
    spans = [np.flatnonzero(lesion.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    middles = [float(span[0] + span[-1]) / 2 for span in spans]
    return Crop(
        voxels,
        (size[0], size[1], size[2]),
        middles[0],
        (middles[2], middles[1]),
        (_length(spans[2]) * size[2], _length(spans[1]) * size[1]),
        turn.edges,
        {letter: outlines_of(turn.array(mask[box])) for letter, mask in masks.items()},
        _diameter(ends, box, turn, voxels.shape),
    )


def _length(span: npt.NDArray[np.int64]) -> int:
    return int(span[-1] - span[0]) + 1


def _box(mask: npt.NDArray[np.bool_], spacing: Sequence[float]) -> tuple[slice, ...]:
    margins = (MARGIN_ALONG_MM, MARGIN_MM, MARGIN_MM)
    found = []
    for axis, (mm, margin) in enumerate(zip(spacing, margins, strict=True)):
        others = tuple(a for a in range(3) if a != axis)
        places, room = np.flatnonzero(mask.any(axis=others)), math.ceil(margin / mm)
        low, high = int(places[0]) - room, int(places[-1]) + room + 1
        found.append(slice(max(0, low), min(mask.shape[axis], high)))
    return tuple(found)


def _diameter(
    ends: Floats | None, box: Sequence[slice], turn: _Turn, shape: tuple[int, ...]
) -> tuple[int, tuple[float, float, float, float]] | None:
    if ends is None:
        return None
    start = np.array([box[2].start, box[1].start, box[0].start], float)
    first, second = (turn.point(end - start, shape) for end in ends)
    line = (first[0], first[1], second[0], second[1])
    return round(float(first[2] + second[2]) / 2), tuple(round(float(v), 2) for v in line)  # type: ignore[return-value]


def outlines_of(mask: npt.NDArray[np.bool_]) -> dict[int, list[list[int]]]:
    """The outlines of a mask by slice, halfway between the voxels within and without.

    Each is a list x, y, x, y … in half voxels, where 0 is the centre of the first one.
    """
    from skimage.measure import find_contours

    found: dict[int, list[list[int]]] = {}
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        padded = np.pad(mask[z].astype(np.float32), 1)
        lines = [_corners(line[:, ::-1] - 1) for line in find_contours(padded, 0.5)]
        found[int(z)] = [line.ravel().tolist() for line in lines]
    return found


def _corners(line: Floats) -> npt.NDArray[np.int64]:
    """Points of a closed line in half voxels, without those on a straight stretch."""
    points = np.rint(line[:-1] * 2).astype(np.int64)
    before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    return points[(before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0])]


# -- bytes -----------------------------------------------------------------------------------------


def encode_crop(crop: Crop) -> bytes:
    """A crop as bytes: gzip of the length of a header, the header as JSON, and two byte planes.

    A voxel is predicted as the median of left, upper, and left + upper - upper left (the predictor
    of JPEG-LS, ISO 14495-1); what is left is written as an unsigned number, low bytes first.
    """
    header = {
        "format": FORMAT,
        "shape": list(crop.voxels.shape),
        "spacing": list(crop.spacing),
        "middle": crop.middle,
        "centre": list(crop.centre),
        "extent": list(crop.extent),
        "edges": list(crop.edges),
        "outlines": crop.outlines,
        "diameter": crop.diameter and [crop.diameter[0], *crop.diameter[1]],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    left = (crop.voxels.astype(np.int32) - _predicted(crop.voxels)).astype(np.int16)
    folded = ((left.astype(np.int32) << 1) ^ (left.astype(np.int32) >> 15)).astype("<u2")
    planes = folded.reshape(-1).view(np.uint8).reshape(-1, 2)
    content = struct.pack("<I", len(text)) + text + planes[:, 0].tobytes() + planes[:, 1].tobytes()
    return gzip.compress(content, 9, mtime=0)


def _predicted(voxels: Voxels) -> npt.NDArray[np.int32]:
    padded = np.pad(voxels.astype(np.int32), ((0, 0), (1, 0), (1, 0)))
    left, upper, corner = padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1]
    return np.clip(left + upper - corner, np.minimum(left, upper), np.maximum(left, upper))


def decode_crop(content: bytes) -> Crop:
    """The crop that `encode_crop` wrote.

    Raises
    ------
    ValueError
        Where the bytes are of another format.
    """
    plain = gzip.decompress(content)
    (length,) = struct.unpack_from("<I", plain)
    header = json.loads(plain[4 : 4 + length])
    if header["format"] != FORMAT:
        raise ValueError(f"a crop of format {header['format']}: draw the pages anew")
    shape = tuple(header["shape"])
    planes = np.frombuffer(plain, np.uint8, offset=4 + length).reshape(2, -1)
    folded = (planes[0].astype(np.int32) | planes[1].astype(np.int32) << 8).reshape(shape)
    voxels = _unpredicted((folded >> 1) ^ -(folded & 1))
    line = header["diameter"]
    return Crop(
        voxels,
        tuple(header["spacing"]),
        header["middle"],
        tuple(header["centre"]),
        tuple(header["extent"]),
        tuple(header["edges"]),
        {
            letter: {int(z): lines for z, lines in of.items()}
            for letter, of in header["outlines"].items()
        },
        line and (line[0], tuple(line[1:])),
    )


def _unpredicted(left: npt.NDArray[np.int32]) -> Voxels:
    """All slices and, within them, an antidiagonal at once: each voxel needs the two before it."""
    depth, height, width = left.shape
    padded = np.zeros((depth, height + 1, width + 1), np.int32)
    for diagonal in range(height + width - 1):
        y = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        x = diagonal - y
        a, b, c = padded[:, y + 1, x], padded[:, y, x + 1], padded[:, y, x]
        guess = np.clip(a + b - c, np.minimum(a, b), np.maximum(a, b))
        padded[:, y + 1, x + 1] = (guess + left[:, y, x]).astype(np.int16)
    return padded[:, 1:, 1:].astype(np.int16)


# -- still pictures --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Still:
    """A slice of a crop as a square picture, and what is drawn over it in its units.

    `lines` are paths of SVG by letter, `diameter` two ends; a unit is a mm, 0 the upper left corner
    of the square, `side` its length.
    """

    png: bytes
    side: float
    lines: Mapping[str, str]
    diameter: tuple[float, float, float, float] | None
    edges: tuple[str, str, str, str]


def side_of(crops: Sequence[Crop]) -> float:
    """Side in mm of a square that holds the lesion in each of the crops, with room around it."""
    return math.ceil(max(max(crop.extent) for crop in crops) + 2 * STILL_MARGIN_MM)


def draw_still(crop: Crop, side: float, window: str) -> Still:
    """The slice of the diameter, else of the lesion's middle, in a square of so many mm."""
    place = crop.diameter[0] if crop.diameter else round(crop.middle)
    _, dy, dx = crop.spacing
    left, top = crop.centre[0] * dx - side / 2, crop.centre[1] * dy - side / 2

    def at(x: float, y: float) -> tuple[float, float]:
        return round(x * dx - left, 2), round(y * dy - top, 2)

    line = crop.diameter[1] if crop.diameter else None
    paths = {
        letter: "".join(
            "M" + "L".join("{:g} {:g}".format(*at(x / 2, y / 2)) for x, y in _pairs(corners)) + "Z"
            for corners in slices.get(place, ())
        )
        for letter, slices in crop.outlines.items()
    }
    return Still(
        _picture(crop.voxels[place], (left, top), (dy, dx), side, WINDOWS[window]),
        side,
        {letter: path for letter, path in paths.items() if path},
        (*at(*line[:2]), *at(*line[2:])) if line else None,
        crop.edges,
    )


def _pairs(flat: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _picture(
    plane: npt.NDArray[np.int16],
    corner: tuple[float, float],
    spacing: tuple[float, float],
    side: float,
    window: tuple[float, float],
) -> bytes:
    """A square of a slice as PNG; what lies beyond the crop is black."""
    from PIL import Image

    low, high = window
    grey = np.clip((plane.astype(np.float64) - low) / (high - low) * 255, 0, 255)
    dy, dx = spacing
    step = side / STILL_PIXELS
    # PIL maps the middle of a pixel; half a pixel lies between it and the corner.
    moved = (step / dx, 0.0, corner[0] / dx + 0.5, 0.0, step / dy, corner[1] / dy + 0.5)
    picture = Image.fromarray(np.rint(grey).astype(np.uint8)).transform(
        (STILL_PIXELS, STILL_PIXELS), Image.Transform.AFFINE, moved, Image.Resampling.BICUBIC
    )
    target = io.BytesIO()
    picture.save(target, format="png", optimize=True)
    return target.getvalue()
