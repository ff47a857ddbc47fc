"""DICOM elements as bytes: what a value must look like to stay, and how an element is written."""

from __future__ import annotations

import math
import re
import struct
from functools import lru_cache

from dagster_project.intake.refusals import DamagedError

LONG_FORM = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"})
"""Value representations with a 32-bit length in explicit encoding (PS3.5, 7.1.2)."""

SHORT_VALUE = 64
"""Bytes of the longest value that is remembered from one slice to the next."""

LARGEST_NUMBER = 1e5
"""Limit of figures that a CT header writes as text: none has six digits before the point.

Dates, hospital, telephone and identity numbers have.
"""

LARGEST_INTEGER = 1e6
"""Of binary numbers."""

LARGEST_LISTED = 0x2020
"""Two letters as a 16-bit integer are at least this: a list of such integers could be a text."""

SIGNIFICANT_DIGITS = 9
"""Digits to which binary floats are rounded; this leaves no room for text in their last bytes."""

LONG_LIST = 64
"""Lists longer than this (contours) are checked as a whole, shorter ones value by value."""

LARGEST_SHORT_LENGTH = 0xFFFE
"""What a 16-bit length can say."""

_DECIMAL = re.compile(rb"[ ]*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?[ ]*")
_INTEGER = re.compile(rb"[ ]*[+-]?\d+[ ]*")
_LONG_RUN = re.compile(rb"(?<![\d.])(?:\d{8}|0*[1-9]\d{5})")
_LONG_FRACTION = re.compile(rb"(\.\d{10})\d{7,}")
"""A fraction longer than any decimal string may be (PS3.5, 6.2).

It is cut to ten places, which is a tenth of a picometre where the unit is a millimetre.
"""
_PRINTABLE = re.compile(rb"[\x20-\x7e\x80-\xff\x1b\r\n\t\x0c]*")
BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "AT": "HH"}
"""Binary value representations and their types."""


class TooLongError(Exception):
    """The value needs a 32-bit length that its representation has not got in explicit encoding."""


def encode_element(tag: int, vr: str, value: bytes, *, explicit: bool) -> bytes:
    """One element, little endian.

    >>> encode_element(0x00280010, "US", bytes([2, 0]), explicit=True).hex(" ")
    '28 00 10 00 55 53 02 00 02 00'
    """
    group, element = tag >> 16, tag & 0xFFFF
    if len(value) % 2:
        value += b"\0" if vr in {"UI", "OB"} else b" "
    if not explicit:
        return struct.pack("<HHI", group, element, len(value)) + value
    if vr in LONG_FORM:
        return struct.pack("<HH2sHI", group, element, vr.encode(), 0, len(value)) + value
    if len(value) > LARGEST_SHORT_LENGTH:
        raise TooLongError
    return struct.pack("<HH2sH", group, element, vr.encode(), len(value)) + value


def encode_item(content: bytes) -> bytes:
    """One sequence item of known length."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def multiplicity_holds(count: int, multiplicity: str) -> bool:
    """True where a number of values is allowed by the data dictionary's VM.

    >>> multiplicity_holds(6, "3-3n"), multiplicity_holds(2, "3"), multiplicity_holds(5, "1-n")
    (True, False, True)
    """
    low, _, high = multiplicity.partition("-")
    if not high:
        return count == int(low)
    if high.endswith("n"):
        step = int(high[:-1] or 1)
        return count >= int(low) and count % step == 0
    return int(low) <= count <= int(high)


def clean_number(
    tag: int, keyword: str, vr: str, value: bytes, *, multiplicity: str, little_endian: bool
) -> bytes | None:
    """The bytes of a numeric value, little endian.

    None where it is empty, implausibly large or not a number.

    Raises
    ------
    DamagedError
        Where a binary value has not the length of its type, or a text value holds control
        characters.
    """
    clean = _clean_number if len(value) > SHORT_VALUE else _clean_short_number
    return clean(tag, keyword, vr, value, multiplicity, "<" if little_endian else ">")


def _clean_number(
    tag: int, keyword: str, vr: str, value: bytes, multiplicity: str, order: str
) -> bytes | None:
    if vr in {"DS", "IS"}:
        return _clean_text_number(tag, keyword, vr, value, multiplicity)
    return _clean_binary_number(tag, keyword, vr, value, multiplicity, order)


_clean_short_number = lru_cache(maxsize=4096)(_clean_number)
"""Most figures of a slice are those of its series."""


def _clean_text_number(
    tag: int, keyword: str, vr: str, value: bytes, multiplicity: str
) -> bytes | None:
    text = value.rstrip(b" \0")
    if not text:
        return None
    if not _PRINTABLE.fullmatch(text):
        raise DamagedError(tag, keyword, "holds control characters")
    text = _LONG_FRACTION.sub(rb"\1", text)
    parts = text.split(b"\\")
    holds = multiplicity_holds(len(parts), multiplicity)
    plausible = (
        _plausible_list(text)
        if len(parts) > LONG_LIST
        else all(_plausible(vr, part) for part in parts)
    )
    return text if holds and plausible else None


def _plausible(vr: str, part: bytes) -> bool:
    if vr == "IS":
        return _INTEGER.fullmatch(part) is not None and abs(int(part)) < LARGEST_NUMBER
    return _DECIMAL.fullmatch(part) is not None and abs(float(part)) < LARGEST_NUMBER


def _plausible_list(text: bytes) -> bool:
    if text.translate(None, b"0123456789+-.eE \\") or _LONG_RUN.search(text):
        return False
    try:
        return all(math.isfinite(float(part)) for part in text.split(b"\\"))
    except ValueError:
        return False


def _clean_binary_number(
    tag: int, keyword: str, vr: str, value: bytes, multiplicity: str, order: str
) -> bytes | None:
    kind = BINARY[vr]
    count, rest = divmod(len(value), struct.calcsize("<" + kind))
    if rest:
        raise DamagedError(tag, keyword, "has not the length of its type")
    if not count or not multiplicity_holds(count, multiplicity):
        return None
    numbers = struct.unpack(f"{order}{kind * count}", value)
    if vr in {"FL", "FD"}:
        numbers = tuple(_rounded(n) for n in numbers)
    if vr == "AT":
        return (
            struct.pack(f"<{kind * count}", *numbers)
            if not any(n % 2 for n in numbers[::2])
            else None
        )
    largest = LARGEST_LISTED if kind in {"H", "h"} and count > 1 else LARGEST_INTEGER
    plausible = all(math.isfinite(n) and abs(n) < largest for n in numbers)
    return struct.pack(f"<{kind * count}", *numbers) if plausible else None


def _rounded(number: float) -> float:
    return float(f"{number:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(number) else number


def clean_words(value: bytes) -> list[str] | None:
    """The values of a text element in plain ASCII, outer spaces dropped.

    None where it holds anything else.
    """
    if not value.isascii() or not _PRINTABLE.fullmatch(value.rstrip(b" \0")):
        return None
    return [" ".join(part.split()) for part in value.rstrip(b" \0").decode("ascii").split("\\")]
