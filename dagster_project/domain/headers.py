"""DICOM headers read with suspicion: what is missing or malformed becomes NULL or a named fault, never an exception of a parser."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag


class HeaderError(ValueError):
    """An element that is needed is missing or malformed; the message names it by tag and keyword, never its value."""

    def __init__(self, keyword: str) -> None:
        tag = Tag(tag_for_keyword(keyword) or 0)
        super().__init__(f"({tag.group:04X},{tag.element:04X}) {keyword} ({dictionary_description(tag)}) is missing or malformed")
        self.keyword = keyword


def floats(dataset: Dataset, keyword: str, n: int) -> tuple[float, ...]:
    """The n finite numbers of an element.

    Raises
    ------
    HeaderError
        Where there are not exactly n finite numbers.
    """
    try:
        value = dataset.get(keyword)
        numbers = tuple(float(v) for v in ([value] if n == 1 else value))
    except (TypeError, ValueError) as error:
        raise HeaderError(keyword) from error
    if len(numbers) != n or not all(math.isfinite(v) for v in numbers):
        raise HeaderError(keyword)
    return numbers


def number(dataset: Dataset, keyword: str, minimum: float = 0.0, maximum: float = math.inf) -> float | None:
    """A number within its range, or None."""
    try:
        (value,) = floats(dataset, keyword, 1)
    except HeaderError:
        return None
    return value if minimum <= value <= maximum else None


def whole_number(dataset: Dataset, keyword: str) -> int | None:
    """A 32-bit whole number, or None."""
    value = number(dataset, keyword, -(2.0**31), 2.0**31 - 1)
    return None if value is None else round(value)


def text(dataset: Dataset, keyword: str) -> str | None:
    """Text without padding, several values joined by a backslash, or None."""
    try:
        value = dataset.get(keyword)
    except (TypeError, ValueError):
        return None
    joined = value if isinstance(value, str) else "\\".join(map(str, value)) if value else ""
    return joined.strip(" \0") or None


def identity(dataset: Dataset, keyword: str) -> str | None:
    """A UID, or None."""
    return text(dataset, keyword)


def date(dataset: Dataset, *keywords: str) -> dt.date | None:
    """The first of the elements that holds a calendar date (YYYYMMDD, or YYYY.MM.DD of old), or None."""
    for keyword in keywords:
        try:
            return dt.date.fromisoformat(str(dataset.get(keyword) or "").replace(".", "").strip())
        except ValueError:
            continue
    return None


def acquisition_facts(dataset: Dataset) -> dict[str, Any]:
    """Columns of `scans` that stand in the header of a slice.

    `contrast` is NULL where (0018,0010) is missing: scanners leave it out both without contrast and where nobody typed it in.
    """
    return {
        "series_instance_uid": identity(dataset, "SeriesInstanceUID"),
        "study_instance_uid": identity(dataset, "StudyInstanceUID") or "",
        "frame_of_reference_uid": identity(dataset, "FrameOfReferenceUID"),
        "scan_date": date(dataset, "AcquisitionDate", "SeriesDate", "StudyDate"),
        "manufacturer": text(dataset, "Manufacturer"),
        "manufacturer_model_name": text(dataset, "ManufacturerModelName"),
        "kernel": text(dataset, "ConvolutionKernel"),
        "kvp": number(dataset, "KVP", 0, 400),
        "contrast": text(dataset, "ContrastBolusAgent") is not None if "ContrastBolusAgent" in dataset else None,
        "series_number": whole_number(dataset, "SeriesNumber"),
        "axial_original": _axial_original(dataset),
        "slice_thickness_mm": number(dataset, "SliceThickness"),
        "lossy": _lossy(dataset),
    }


def _axial_original(dataset: Dataset) -> bool | None:
    """ORIGINAL, PRIMARY and not a localiser, and slices within 45 degrees of transverse."""
    kind = (text(dataset, "ImageType") or "").upper().split("\\")
    if kind == [""]:
        return None
    row, column = floats(dataset, "ImageOrientationPatient", 6)[:3], floats(dataset, "ImageOrientationPatient", 6)[3:]
    transverse = abs(row[0] * column[1] - row[1] * column[0]) > math.cos(math.pi / 4)
    return transverse and kind[:2] == ["ORIGINAL", "PRIMARY"] and "LOCALIZER" not in kind


def _lossy(dataset: Dataset) -> bool | None:
    value = text(dataset, "LossyImageCompression")
    return None if value is None else value == "01"
