"""DICOM headers read with suspicion.

What is missing or malformed becomes NULL or a named fault, never an exception of a parser.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

EARLIEST_CT = dt.date(1971, 10, 1)
"""The month of the first CT of a patient: earlier dates are placeholders (1900-01-01, 1970-01-01).
"""


class HeaderError(ValueError):
    """An element that is needed is missing or malformed.

    The message names it by tag and keyword, never its value.
    """

    def __init__(self, keyword: str) -> None:
        described = dictionary_description(_tag(keyword))
        super().__init__(f"{element_name(keyword)} ({described}) is missing or malformed")
        self.keyword = keyword


@cache
def element_name(keyword: str) -> str:
    """Tag and keyword as a reason names an element: (0018,1210) ConvolutionKernel."""
    tag = _tag(keyword)
    return f"({tag.group:04X},{tag.element:04X}) {keyword}"


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(tag_for_keyword(keyword) or 0)


def raw_value(dataset: Dataset, keyword: str) -> str | None:
    """An element's text as written in the file, without padding and without parsing, or None."""
    element = dataset.get_item(_tag(keyword))
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    elif isinstance(value, (list, MultiValue)):
        value = "\\".join(map(str, value))
    return (None if value is None else str(value).strip(" \0")) or None


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


def number(
    dataset: Dataset, keyword: str, minimum: float = 0.0, maximum: float = math.inf
) -> float | None:
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
    joined = value if isinstance(value, str) else "\\".join(map(str, value or ()))
    return joined.strip(" \0") or None


def identity(dataset: Dataset, keyword: str) -> str | None:
    """A UID, or None."""
    return text(dataset, keyword)


def date(dataset: Dataset, *keywords: str) -> dt.date | None:
    """The first of the elements that holds a calendar date from `EARLIEST_CT` on, or None.

    A date is YYYYMMDD, or YYYY.MM.DD of old.
    """
    for keyword in keywords:
        try:
            found = dt.date.fromisoformat(str(dataset.get(keyword) or "").replace(".", "").strip())
        except ValueError:
            continue
        if found >= EARLIEST_CT:
            return found
    return None


def distinct_dates(datasets: Sequence[Dataset], keyword: str) -> list[dt.date]:
    """The dates that an element has in some slices, each once, in order."""
    distinct = {raw_value(dataset, keyword): dataset for dataset in datasets}
    found = {date(dataset, keyword) for dataset in distinct.values()}
    return sorted(one for one in found if one is not None)


def acquisition_dates(datasets: Sequence[Dataset]) -> list[dt.date]:
    """Dates of acquisition of slices; without any, of their series or study.

    A slice without a date of its own has no say where another has one.
    """
    keywords = ("AcquisitionDate", "SeriesDate", "StudyDate", "ContentDate")
    return next(filter(None, (distinct_dates(datasets, keyword) for keyword in keywords)), [])


def acquisition_facts(datasets: Sequence[Dataset]) -> dict[str, Any]:
    """Columns of `scans` that stand in the headers of a volume's slices.

    1. `scan_date` is the earliest date of acquisition: a scan over midnight has that of its start.
    2. Kernel and tube voltage are those of the first slice that has them, `slice_thickness_mm` is
       the largest; a slice with lossy compression makes the scan lossy.
    3. `contrast` is NULL where (0018,0010) is missing from every slice: scanners leave it out both
       without contrast and where nobody typed it in.
    """
    first = datasets[0]
    dates = acquisition_dates(datasets)
    return {
        "series_instance_uid": identity(first, "SeriesInstanceUID"),
        "study_instance_uid": identity(first, "StudyInstanceUID") or "",
        "frame_of_reference_uid": identity(first, "FrameOfReferenceUID"),
        "scan_date": dates[0] if dates else None,
        "manufacturer": text(first, "Manufacturer"),
        "manufacturer_model_name": text(first, "ManufacturerModelName"),
        "kernel": next(filter(None, (text(d, "ConvolutionKernel") for d in datasets)), None),
        "kvp": next(filter(None, (number(d, "KVP", 0, 400) for d in datasets)), None),
        "contrast": _contrast(datasets),
        "series_number": whole_number(first, "SeriesNumber"),
        "axial_original": _axial_original(first),
        "slice_thickness_mm": _thickest(datasets),
        "lossy": _lossy(datasets),
    }


def _contrast(datasets: Sequence[Dataset]) -> bool | None:
    given = [d for d in datasets if "ContrastBolusAgent" in d]
    if not given:
        return None
    return any(raw_value(d, "ContrastBolusAgent") is not None for d in given)


def _thickest(datasets: Sequence[Dataset]) -> float | None:
    distinct = {raw_value(d, "SliceThickness"): d for d in datasets}
    known = [number(d, "SliceThickness") for d in distinct.values()]
    return max((mm for mm in known if mm is not None), default=None)


def _axial_original(dataset: Dataset) -> bool | None:
    """ORIGINAL, PRIMARY and not a localiser, and slices within 45 degrees of transverse."""
    kind = (text(dataset, "ImageType") or "").upper().split("\\")
    if kind == [""]:
        return None
    row, column = (
        floats(dataset, "ImageOrientationPatient", 6)[:3],
        floats(dataset, "ImageOrientationPatient", 6)[3:],
    )
    transverse = abs(row[0] * column[1] - row[1] * column[0]) > math.cos(math.pi / 4)
    return transverse and kind[:2] == ["ORIGINAL", "PRIMARY"] and "LOCALIZER" not in kind


def _lossy(datasets: Sequence[Dataset]) -> bool | None:
    values = {raw_value(d, "LossyImageCompression") for d in datasets} - {None}
    return "01" in values if values else None
