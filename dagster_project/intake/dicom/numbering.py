"""Counts SeriesNumber and AcquisitionNumber anew within their study.

A hospital's own number may be a date or a patient's number.
"""

from __future__ import annotations

import hmac
import re
import struct
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple, Protocol

import pydicom
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.tag import Tag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from dagster_project.intake.dicom.allowlists import CT
from dagster_project.intake.dicom.elements import LONG_FORM, encode_element
from dagster_project.intake.dicom.identifiers import plain_text

HEAD_BYTES = 2**16
"""What is read of a file at first: the header of a slice is seldom longer."""

SERIES_NUMBER, ACQUISITION_NUMBER, INSTANCE_NUMBER = 0x00200011, 0x00200012, 0x00200013
SERIES, ACQUISITION = "series", "acquisition"
"""What is counted."""

_STUDY, _SERIES, _CLASS, _ROWS = (Tag(n) for n in (0x0020000D, 0x0020000E, 0x00080016, 0x00280010))
_WANTED = [_CLASS, _STUDY, _SERIES, Tag(SERIES_NUMBER), Tag(ACQUISITION_NUMBER), _ROWS]
_INTEGER = re.compile(r"[+-]?\d{1,12}")
_UNDEFINED = 0xFFFFFFFF
_SYNTAX, _FILE_META_END = 0x00020010, 0x0002FFFF
_SOUGHT = frozenset({_SYNTAX, *map(int, _WANTED)})
_USUAL = re.compile(rb"1\.2\.840\.10008\.1\.2\.(1|4\.\d+|5)\0?")
"""Transfer syntaxes of explicit VR little endian: plain, the JPEG families, RLE."""
_SHORT_HEADER, _LENGTH = struct.Struct("<HH2sH"), struct.Struct("<I")
_LONG_VRS = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32)
_SHORT_VRS = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_16)


@dataclass(frozen=True)
class Head:
    """Where an image belongs, by keyed UIDs, and the numbers of its file: these stay in memory."""

    study: str
    series: str
    series_number: int | None = field(default=None, repr=False)
    acquisition: int | None = field(default=None, repr=False)


class Numbers(NamedTuple):
    """The numbers that an image gets; None where it had none."""

    series: int | None = None
    acquisition: int | None = None


NO_NUMBERS = Numbers()


class GivenNumbers(Protocol):
    """The numbers that were given so far, as `register.Register` stores them."""

    def numbers(self, study: str, what: str) -> dict[str, int]:
        """Those of a study, by the keyed name of what they are of."""
        ...

    def give_numbers(self, study: str, what: str, numbers: Mapping[str, int]) -> None:
        """Store more of them."""
        ...

    def note_studies(self, studies: Mapping[str, str]) -> None:
        """Store the study of each series."""
        ...


def read_head(data: bytes, keyed: Callable[[str], str]) -> Head | None:
    """The head of a CT image, from the first bytes of its file.

    None for anything else, and where the bytes do not reach as far as its geometry (Rows).

    A file of the usual form is read element by element (`_usual_elements`), any other by pydicom.
    """
    values = _usual_elements(data)
    if values is None:
        return _unusual_head(data, keyed)
    texts = {tag: value.decode("latin-1").strip(" \0") for tag, value in values.items()}
    study, series = texts.get(int(_STUDY), ""), texts.get(int(_SERIES), "")
    if texts.get(int(_CLASS)) != CT or not study or not series:
        return None
    numbers = (texts.get(number, "") for number in (SERIES_NUMBER, ACQUISITION_NUMBER))
    return Head(keyed(study), keyed(series), *map(_number, numbers))


def _usual_elements(data: bytes) -> dict[int, bytes] | None:
    """The elements of `_WANTED` in a file of explicit VR little endian, by tag.

    None where it is of any other form: without preamble, in another transfer syntax, elements out
    of order, of a VR that nobody knows or of undefined length, or cut off before Rows.
    """
    if data[128:132] != b"DICM":
        return None
    found: dict[int, bytes] = {}
    at, last, size = 132, 0, len(data)
    while at + 8 <= size:
        group, element, vr, length = _SHORT_HEADER.unpack_from(data, at)
        tag, value = group << 16 | element, at + 8
        if vr in _LONG_VRS and at + 12 <= size:
            length, value = _LENGTH.unpack_from(data, at + 8)[0], at + 12
        elif vr not in _SHORT_VRS:
            return None
        if tag <= last or length == _UNDEFINED or value + length > size:
            return None
        if tag > _FILE_META_END >= last and not _USUAL.fullmatch(found.pop(_SYNTAX, b"")):
            return None
        if tag in _SOUGHT:
            found[tag] = data[value : value + length]
        if tag >= int(_ROWS):
            return found if tag == int(_ROWS) else None
        at, last = value + length, tag
    return None


def _unusual_head(data: bytes, keyed: Callable[[str], str]) -> Head | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=_WANTED)
        except (MemoryError, RecursionError):
            raise
        except Exception:  # what cannot be read is refused with its reason when it is taken in
            return None
    if _ROWS not in dataset or plain_text(dataset, _CLASS) != CT:
        return None
    study, series = plain_text(dataset, _STUDY), plain_text(dataset, _SERIES)
    return (
        Head(
            keyed(study),
            keyed(series),
            _whole(dataset, SERIES_NUMBER),
            _whole(dataset, ACQUISITION_NUMBER),
        )
        if study and series
        else None
    )


def _whole(dataset: Dataset, number: int) -> int | None:
    return _number(plain_text(dataset, Tag(number)))


def _number(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) else None


def count_anew(
    register: GivenNumbers, heads: Mapping[Hashable, Head], key: bytes
) -> dict[Hashable, Numbers]:
    """The numbers of images, within the caller's transaction.

    1. Within a study the series of a delivery are numbered from 1 in the order of their
       SeriesNumber, of equal ones in that of their keyed UID; its acquisitions in the order of
       AcquisitionNumber. No name of a file and no order of reading has a part in it.
    2. A number that was given stays. What a later delivery brings to the study comes behind.
    3. An image without a number gets none.

    The register has the keyed UID of a series, and of an acquisition a keyed digest (`key`): no
    number that stood in a file.
    """
    acquisition = {k: _keyed(key, h) for k, h in heads.items() if h.acquisition is not None}
    series_of: dict[str, dict[str, int]] = defaultdict(dict)
    acquisitions_of: dict[str, dict[str, int]] = defaultdict(dict)
    for one, head in heads.items():
        numbers = series_of[head.study]
        stated = [n for n in (head.series_number, numbers.get(head.series)) if n is not None]
        if stated:
            numbers[head.series] = min(stated)
        if one in acquisition:
            acquisitions_of[head.study][acquisition[one]] = head.acquisition or 0
    register.note_studies({head.series: head.study for head in heads.values()})
    given = {
        study: _given(register, study, SERIES, numbers) for study, numbers in series_of.items()
    }
    given_acquisitions = {
        study: _given(register, study, ACQUISITION, numbers)
        for study, numbers in acquisitions_of.items()
    }
    return {
        one: Numbers(
            given[head.study].get(head.series),
            given_acquisitions[head.study][acquisition[one]] if one in acquisition else None,
        )
        for one, head in heads.items()
    }


def _keyed(key: bytes, head: Head) -> str:
    return hmac.digest(key, f"acquisition\0{head.study} {head.acquisition}".encode(), "sha256")[
        :16
    ].hex()


def _given(
    register: GivenNumbers, study: str, what: str, stated: Mapping[str, int]
) -> dict[str, int]:
    given = register.numbers(study, what)
    new = sorted(stated.keys() - given.keys(), key=lambda one: (stated[one], one))
    added = {
        one: number for number, one in enumerate(new, start=max(given.values(), default=0) + 1)
    }
    register.give_numbers(study, what, added)
    return given | added


def with_numbers(data: bytes, values: Mapping[int, bytes]) -> bytes:
    """A file of the vault with new values for some of its elements; every other byte is unchanged.

    Raises
    ------
    ValueError
        Where the bytes are not those of a file that intake wrote.
    """
    written, start = [], 0
    for one in _elements(data):
        if one.tag in values:
            written += [
                data[start : one.begin],
                encode_element(one.tag, one.vr or "IS", values[one.tag], explicit=bool(one.vr)),
            ]
            start = one.end
    return b"".join([*written, data[start:]])


def values_of(data: bytes) -> dict[str, bytes]:
    """The values of a file of the vault by keyword, without padding.

    Raises
    ------
    ValueError
        Where the bytes are not those of a file that intake wrote.
    """
    return {
        keyword_for_tag(one.tag): data[one.value : one.end].rstrip(b" \0")
        for one in _elements(data)
    }


class _Element(NamedTuple):
    """An element of the data set itself: where it, its value and its end lie.

    The VR is empty where it is implicit.
    """

    tag: int
    vr: str
    begin: int
    value: int
    end: int


def _elements(data: bytes) -> Iterator[_Element]:
    if data[128:132] != b"DICM" or len(data) < 144:
        raise ValueError("not a file of the vault")
    at = 144 + struct.unpack_from("<I", data, 140)[0]
    explicit = b"1.2.840.10008.1.2.1" in data[144:at]
    while at < len(data):
        group, element = struct.unpack_from("<HH", data, at)
        vr = data[at + 4 : at + 6].decode("latin-1") if explicit else ""
        long = not explicit or vr in LONG_FORM
        value = at + (12 if explicit and long else 8)
        length_format, size = ("<I", 4) if long else ("<H", 2)
        (length,) = struct.unpack_from(length_format, data, value - size)
        if length == _UNDEFINED or value + length > len(data):
            raise ValueError("not a file of the vault")
        yield _Element(group << 16 | element, vr, at, value, value + length)
        at = value + length
