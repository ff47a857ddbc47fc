"""A CT series as a stack of Hounsfield units on one regular grid.

Everything measured later is on this grid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from pydicom.dataset import Dataset

from dagster_project.domain.imaging.acquisitions import Chosen, choose_volume
from dagster_project.domain.imaging.artifacts import artifact_figures
from dagster_project.domain.imaging.headers import (
    HeaderError,
    acquisition_dates,
    acquisition_facts,
    distinct_dates,
    floats,
    identity,
    raw_value,
)
from dagster_project.domain.imaging.padding import mark_undeclared
from dagster_project.domain.imaging.slices import Floats, Hounsfield, SeriesError, Slice, read_slice
from dagster_project.lake.voxels import OUTSIDE_FIELD_HU

__all__ = [
    "Series",
    "SeriesError",
    "describe_series",
    "geometry",
    "pixel_digest",
    "read_series",
    "scan_remarks",
]

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of direction cosines of slices that still count as parallel."""

SPACING_TOLERANCE = 0.1
"""Largest deviation of a gap from a whole number of spacings, in spacings.

With more the stack is not regular.
"""

LARGEST_ROUNDING = 0.2
"""Largest share of the spacing that rounded positions may hide.

Positions 0.625 mm apart that are written with one decimal are 0.6 and 0.7 mm apart.
"""

SAME_PIXEL_SPACING = 5e-4
"""Largest relative difference of one pixel spacing written with more and with fewer digits.

Over 1,000 pixels it moves the last one by half a pixel.
"""

SPACING_DIGITS = 6
"""Digits of a spacing in mm: what lies behind them is the rounding of a computation."""

LONGEST_GAP = 3
"""Most slices missing in a row that are bridged; a longer gap parts two volumes."""

STRAIGHT = 0.01
"""Largest distance of a slice from the line through the first and the last, in spacings.

With more their positions are rounded.
"""

LINE_TOLERANCE_PX = 0.5
"""Largest distance of a slice's corner from the straight line of the others, in pixels."""


LOCATION_RATIO = 1.25
"""Steps of SliceLocation and of ImagePositionPatient that differ by more contradict each other.

A gantry tilted by 30 degrees makes 1.15 between the way along the table and along the normal.
"""

MOST_DAYS_OF_A_SCAN = 1
"""A scan may go over midnight; slices further apart are of several scans."""

MOST_DAYS_APART = 31
"""Most days between the dates of acquisition and of study.

An order, or a study of several days, explains a month.
"""

BLANK = (
    "a slice without an image, every pixel of one value, among others that have one; "
    "send the series again"
)
SEVERAL_DAYS = (
    "slices of several days in one series, (0008,0022) AcquisitionDate; "
    "send each scan as its own series"
)
LOCATIONS_CONTRADICT = (
    "(0020,1041) SliceLocation and (0020,0032) ImagePositionPatient give different distances of "
    "the slices; send the images as the scanner made them"
)
DATES_CONTRADICT = (
    "(0008,0022) AcquisitionDate and (0008,0020) StudyDate lie more than a month apart, "
    "or no other date of the images confirms AcquisitionDate, "
    "so that the day of the scan is not known; correct the wrong one and send the series again"
)


@dataclass(frozen=True)
class Series:
    """A stacked series.

    Attributes
    ----------
    image
        int16 HU; slices along the normal, direction cosines kept. Missing slices are interpolated,
        so that the grid is regular; `n_missing_slices` counts them. With a gantry tilt the image is
        the unsheared stack.
    affine
        4 x 4, from index (x, y, z) to patient coordinates in mm, along the true stacking direction.
    places
        For each slice of the files its index in the stack.
    image_places
        The same by SOPInstanceUID.
    header
        Columns of `scans` that come from the headers.
    """

    image: sitk.Image
    uid: str
    header: Mapping[str, Any]
    affine: Floats
    places: tuple[int, ...]
    sop_instance_uids: frozenset[str]
    frame_of_reference_uid: str | None
    image_places: Mapping[str, int] = field(default_factory=dict)
    slice_gaps_mm: tuple[float, ...] = ()
    n_duplicate_slices: int = 0
    n_repeated_slices: int = 0
    dates_contradict: bool = False

    @property
    def array(self) -> Hounsfield:
        """The voxels as (z, y, x), not copied and read-only.

        The array holds the image, so that it outlives the series.
        """
        return np.asarray(_Voxels(self.image))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        x, y, z = self.image.GetSize()
        return (z, y, x)


class _Voxels:
    """An image's buffer with the image: an array made of it keeps both."""

    def __init__(self, image: sitk.Image) -> None:
        self._image = image
        self.__array_interface__ = sitk.GetArrayViewFromImage(image).__array_interface__


def read_series(folder: Path) -> Series:
    """Read and stack every *.dcm directly in a folder.

    1. Only single-frame CT slices in HU, of one series, one orientation, size and pixel spacing.
    2. One acquisition of one reconstruction, whole: see `choose_volume`; slices that are left out
       are counted.
    3. Slices of one scan: within two days, none blank between others; steps of SliceLocation, where
       given, are those of the positions.
    4. Gaps of up to `LONGEST_GAP` missing slices are bridged by linear interpolation and counted;
       otherwise irregular spacing is refused, because volumes measured on it would be wrong.
    5. A single slice is read; its spacing is SliceThickness.
    6. Voxels outside the field of view hold `OUTSIDE_FIELD_HU`, whether their padding was declared
       or not.

    Raises
    ------
    SeriesError
        Where the slices do not make one stack.
    """
    slices = sorted(map(read_slice, sorted(folder.glob("*.dcm"))), key=lambda s: s.order)
    if not slices:
        raise SeriesError("no *.dcm slices in the folder; send the series again")
    _refuse_mixture(slices)
    row, column = _orientation(slices[0].dataset)
    normal = np.cross(row, column)
    chosen = choose_volume(slices, normal)
    _refuse_several_days(chosen.slices)
    _refuse_blank(chosen.slices)
    mark_undeclared([s.hu for s in chosen.slices])
    return _stack(chosen, normal)


def _refuse_blank(slices: Sequence[Slice]) -> None:
    """Between two slices with an image; blank ends are a matrix that reaches beyond the patient."""
    images = np.flatnonzero([_varies(s.hu[s.hu.shape[0] // 2]) or _varies(s.hu) for s in slices])
    if images.size and images.size < images[-1] - images[0] + 1:
        raise SeriesError(BLANK)


def _varies(hu: Hounsfield) -> bool:
    return bool(hu.min() < hu.max())


def _refuse_several_days(slices: Sequence[Slice]) -> None:
    dates = acquisition_dates([s.dataset for s in slices])
    if dates and (dates[-1] - dates[0]).days > MOST_DAYS_OF_A_SCAN:
        raise SeriesError(SEVERAL_DAYS)


def _orientation(dataset: Dataset) -> tuple[Floats, Floats]:
    try:
        cosines = np.array(floats(dataset, "ImageOrientationPatient", 6))
    except HeaderError as error:
        raise SeriesError(f"{error}; send the original images") from error
    row, column = cosines[:3], cosines[3:]
    if (
        abs(row @ column) > ORIENTATION_TOLERANCE
        or abs(row @ row - 1) > 0.01
        or abs(column @ column - 1) > 0.01
    ):
        raise SeriesError(
            "(0020,0037) ImageOrientationPatient is not a pair of perpendicular unit vectors; "
            "send the original images"
        )
    row = row / np.linalg.norm(row)
    column = column - (row @ column) * row
    return row, column / np.linalg.norm(column)


def _pixel_spacing(dataset: Dataset) -> Floats:
    try:
        spacing = np.array(floats(dataset, "PixelSpacing", 2))
    except HeaderError as error:
        raise SeriesError(f"{error}; send the original images") from error
    if (spacing <= 0).any():
        raise SeriesError("(0028,0030) PixelSpacing is not positive; send the original images")
    return spacing


def _refuse_mixture(slices: Sequence[Slice]) -> None:
    first = slices[0]
    cosines, spacing = np.concatenate(_orientation(first.dataset)), _pixel_spacing(first.dataset)
    for other in slices[1:]:
        if other.dataset.get("SeriesInstanceUID") != first.dataset.get("SeriesInstanceUID"):
            raise SeriesError(
                "slices of several series in one folder, (0020,000E) SeriesInstanceUID; "
                "send one series a folder"
            )
        if other.hu.shape != first.hu.shape or not np.allclose(
            _pixel_spacing(other.dataset), spacing, rtol=SAME_PIXEL_SPACING, atol=0.0
        ):
            raise SeriesError(
                "slices differ in (0028,0010) Rows, (0028,0011) Columns or "
                "(0028,0030) PixelSpacing; send each reconstruction as its own series"
            )
        if not np.allclose(
            np.concatenate(_orientation(other.dataset)), cosines, atol=ORIENTATION_TOLERANCE
        ):
            raise SeriesError(
                "slices differ in (0020,0037) ImageOrientationPatient, "
                "a localiser among them perhaps; send the axial images alone"
            )


def _stack(chosen: Chosen, normal: Floats) -> Series:
    slices = chosen.slices
    first = slices[0].dataset
    gaps = np.array([float((b.corner - a.corner) @ normal) for a, b in pairwise(slices)])
    places = _places(gaps, _last_digit_mm(slices, normal))
    affine = _affine(slices, places, normal)
    _refuse_other_locations(slices, gaps)
    uid, frame_of_reference = (
        identity(first, "SeriesInstanceUID"),
        identity(first, "FrameOfReferenceUID"),
    )
    if uid is None:
        raise SeriesError("(0020,000E) SeriesInstanceUID is missing; send the original images")
    return Series(
        image=_image(slices, places, affine, normal),
        uid=uid,
        header=_header(slices),
        affine=affine,
        places=places,
        image_places={s.uid: place for s, place in zip(slices, places, strict=True)},
        sop_instance_uids=chosen.uids,
        frame_of_reference_uid=frame_of_reference,
        slice_gaps_mm=tuple(float(g) for g in gaps),
        n_duplicate_slices=chosen.n_duplicates,
        n_repeated_slices=chosen.n_repeated,
        dates_contradict=_dates_contradict([s.dataset for s in slices]),
    )


def _header(slices: Sequence[Slice]) -> dict[str, Any]:
    return acquisition_facts([s.dataset for s in slices])


def _dates_contradict(datasets: Sequence[Dataset]) -> bool:
    """Whether the day of the scan is not known, since its dates contradict each other.

    1. A date of acquisition and one of the study lie more than `MOST_DAYS_APART` apart.
    2. Or no other date confirms that of the acquisition: those of study, series and content, of
       which at least two are stated, all lie more than `MOST_DAYS_OF_A_SCAN` from it. An order or
       an import changes one of them, never all.
    """
    acquired = distinct_dates(datasets, "AcquisitionDate")
    stated = [distinct_dates(datasets, k) for k in ("StudyDate", "SeriesDate", "ContentDate")]
    far = any(abs((a - s).days) > MOST_DAYS_APART for a in acquired for s in stated[0])
    others = [date for dates in stated for date in dates]
    alone = sum(map(bool, stated)) > 1 and any(
        all(abs((a - date).days) > MOST_DAYS_OF_A_SCAN for date in others) for a in acquired
    )
    return far or alone


def _refuse_other_locations(slices: Sequence[Slice], gaps: Floats) -> None:
    """SliceLocation is optional and its origin is free, but its steps are those of the slices."""
    try:
        located = np.array(
            [raw_value(s.dataset, "SliceLocation") for s in slices], dtype=np.float64
        )
    except (TypeError, ValueError):
        return
    if not gaps.size or not np.isfinite(located).all():
        return
    steps = np.abs(np.diff(located))
    ratio = float(np.median(steps) / np.median(gaps))
    if ratio > 0 and not 1 / LOCATION_RATIO <= ratio <= LOCATION_RATIO:
        raise SeriesError(LOCATIONS_CONTRADICT)


def _places(gaps: Floats, last_digit_mm: float) -> tuple[int, ...]:
    """Index of each slice in the regular stack.

    A gap may differ from a whole number of spacings by `SPACING_TOLERANCE`, or by what rounding of
    the positions explains: both ends are off by half of their last digit.
    """
    if not gaps.size:
        return (0,)
    steps = gaps / np.median(gaps)
    whole = np.maximum(np.rint(steps), 1)
    spacing = float(gaps.sum() / whole.sum())
    rounding = last_digit_mm if last_digit_mm <= LARGEST_ROUNDING * spacing else 0.0
    uneven = np.abs(steps - whole) > SPACING_TOLERANCE * whole
    if (uneven & (np.abs(gaps - whole * spacing) > rounding)).any():
        raise SeriesError(
            "slices are irregularly spaced, (0020,0032) ImagePositionPatient; "
            "send a reconstruction of one spacing"
        )
    if whole.max() > LONGEST_GAP + 1:
        raise SeriesError(
            f"more than {LONGEST_GAP} slices in a row are missing; send the whole series"
        )
    return (0, *(int(n) for n in np.cumsum(whole)))


def _last_digit_mm(slices: Sequence[Slice], normal: Floats) -> float:
    """What one unit of the last digit of the positions, as written, is worth along the normal."""
    written = [(raw_value(s.dataset, "ImagePositionPatient") or "").split("\\") for s in slices]
    digits = [max(map(_decimals, axis)) for axis in zip(*written, strict=True)]
    return float(np.abs(normal) @ 10.0 ** -np.array(digits, dtype=float))


def _decimals(figure: str) -> int:
    """Digits behind the point, without the zeros at the end."""
    return len(figure.strip().partition(".")[2].rstrip("0"))


def _affine(slices: Sequence[Slice], places: Sequence[int], normal: Floats) -> Floats:
    row, column = _orientation(slices[0].dataset)
    between_rows, between_columns = _pixel_spacing(slices[0].dataset)
    corners = np.array([s.corner for s in slices])
    if places[-1]:
        origin, step = _line(corners, np.array(places))
    else:
        origin, step = corners[0], normal * _thickness(slices[0].dataset)
    strays = np.linalg.norm(corners - origin - np.outer(places, step), axis=1)
    allowed = LINE_TOLERANCE_PX * min(between_rows, between_columns) + SPACING_TOLERANCE * float(
        step @ normal
    )
    if strays.max() > allowed:
        raise SeriesError(
            "slices do not lie on one straight line, (0020,0032) ImagePositionPatient; "
            "send a reconstruction of one field of view"
        )
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * between_columns, column * between_rows, step, origin])
    return affine


def _line(corners: Floats, places: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Origin and step of the straight line on which slices lie.

    It runs from the first to the last; where others stray from it, the nearest to all of them.
    """
    origin, step = corners[0], (corners[-1] - corners[0]) / places[-1]
    strays = np.linalg.norm(corners - origin - np.outer(places, step), axis=1)
    if strays.max() > STRAIGHT * np.linalg.norm(step):
        step, origin = np.polyfit(places, corners, 1)
    return origin, step


def _thickness(dataset: Dataset) -> float:
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        try:
            (value,) = floats(dataset, keyword, 1)
        except HeaderError:
            continue
        if value > 0:
            return value
    raise SeriesError("a single slice without (0018,0050) SliceThickness; send the whole series")


def _image(
    slices: list[Slice], places: Sequence[int], affine: Floats, normal: Floats
) -> sitk.Image:
    voxels = np.empty((places[-1] + 1, *slices[0].hu.shape), np.int16)
    for place, one in zip(places, slices, strict=True):
        voxels[place] = one.hu
    _bridge(voxels, places)
    image = sitk.GetImageFromArray(voxels)
    spacing = [
        float(np.linalg.norm(affine[:3, 0])),
        float(np.linalg.norm(affine[:3, 1])),
        float(affine[:3, 2] @ normal),
    ]
    directions = np.column_stack([affine[:3, 0] / spacing[0], affine[:3, 1] / spacing[1], normal])
    image.SetSpacing(spacing)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection(directions.ravel().tolist())
    return image


def _bridge(voxels: Hounsfield, places: Sequence[int]) -> None:
    for low, high in pairwise(places):
        for missing in range(low + 1, high):
            share = (missing - low) / (high - low)
            voxels[missing] = np.rint(voxels[low] * (1 - share) + voxels[high] * share)
            voxels[missing][
                (voxels[low] == OUTSIDE_FIELD_HU) | (voxels[high] == OUTSIDE_FIELD_HU)
            ] = OUTSIDE_FIELD_HU


def describe_series(series: Series, limits: Mapping[str, Any]) -> dict[str, Any]:
    """Every column of `scans` that follows from the series itself.

    Geometry, acquisition and artifact figures.

    Parameters
    ----------
    limits
        Section `scans` of study.toml.

    Raises
    ------
    SeriesError
        Where the dates of the headers contradict each other: without its day a scan has no visit.
    """
    if series.dates_contradict:
        raise SeriesError(DATES_CONTRADICT)
    return {
        **series.header,
        **geometry(series),
        **artifact_figures(series.array, series.image.GetSpacing(), limits),
        "pixel_digest": pixel_digest(series),
    }


REPEAT_LEFT_OUT = (
    "slices of another acquisition at positions of this one were left out; "
    "one acquisition is used whole. Check that it is the one that was read, "
    "or send each as its own series"
)
RESCALE_DOUBTFUL = (
    "air is not near -1000 HU, so that (0028,1052) RescaleIntercept or "
    "(0028,1053) RescaleSlope may be wrong; densities and features of this scan may be too. "
    "Send the original images"
)


NO_DATE = (
    "no date of acquisition, series or study, so that the scan belongs to no visit; "
    "send the series with (0008,0022) AcquisitionDate"
)


def scan_remarks(row: Mapping[str, Any]) -> list[str]:
    """What a site should look at in a scan that is used all the same; for rows of `scans`."""
    remarks = {
        REPEAT_LEFT_OUT: bool(row["n_repeated_slices"]),
        RESCALE_DOUBTFUL: bool(row["rescale_flag"]),
        NO_DATE: row["scan_date"] is None,
    }
    return [remark for remark, applies in remarks.items() if applies]


def geometry(series: Series) -> dict[str, Any]:
    """Spacing as measured from the slices' positions; NULL where a single slice gives none."""
    gaps = series.slice_gaps_mm
    between_columns, between_rows, between_slices = series.image.GetSpacing()
    n_slices, rows, columns = series.shape
    return {
        "slice_spacing_mm": round(between_slices, SPACING_DIGITS) if gaps else None,
        "largest_gap_mm": max(gaps, default=None),
        "n_slices": len(series.places),
        "n_missing_slices": n_slices - len(series.places),
        "n_duplicate_slices": series.n_duplicate_slices,
        "n_repeated_slices": series.n_repeated_slices,
        "rows": rows,
        "columns": columns,
        "pixel_spacing_row_mm": between_rows,
        "pixel_spacing_column_mm": between_columns,
        "gantry_tilt_deg": _tilt(series) if gaps else None,
    }


def _tilt(series: Series) -> float:
    step = series.affine[:3, 2]
    sheared = np.linalg.norm(np.cross(step, _normal(series)))
    return float(np.degrees(np.arctan2(sheared, step @ _normal(series))))


def _normal(series: Series) -> Floats:
    return np.array(series.image.GetDirection()).reshape(3, 3)[:, 2]


def pixel_digest(series: Series) -> str:
    """SHA-256 of the HU and the geometry to a micrometre; nothing of the headers' text."""
    place = np.rint(series.affine.ravel() * 1000).astype(np.int64) + 0
    return _sha256(
        [
            np.array(series.shape, np.int64).tobytes(),
            place.tobytes(),
            np.ascontiguousarray(series.array),
        ]
    )


def _sha256(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
