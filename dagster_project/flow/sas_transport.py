"""SAS transport files (XPT, versions 5 and 8).

Their frame is checked here; pyreadstat reads the values.
"""

from __future__ import annotations

import codecs
import datetime as dt
import io
import math
import mmap
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dagster_project.domain.adam import Dataset
from dagster_project.domain.adam.variables import MOST_TEXT
from dagster_project.flow.trial_files import TrialFile, UnreadableFileError, numbered

RECORD = 80
"""Bytes of a record: each header is one, and each part of the file is padded to whole records."""

LIBRARY = 3 * RECORD
"""Bytes before the first data set."""

ENCODINGS = ("UTF-8", "GB18030", "CP1252", "ISO-8859-1")
"""Encodings of texts in order of trial; a transport file does not name its own."""

DATE_FORMAT = "DATE9."

CUT = "is cut off: its last record is incomplete. Copy it again"
CPORT = (
    "is a CPORT file, which SAS alone can read; "
    "write it with the XPORT engine (LIBNAME … XPORT) or as CSV"
)
NO_TRANSPORT = (
    "is no SAS transport file of version 5 or 8; "
    "write it with the XPORT engine (LIBNAME … XPORT) or as CSV"
)
UNREAD = (
    "cannot be read as a SAS transport file; "
    "write it again with the XPORT engine (LIBNAME … XPORT) or as CSV"
)

_HEADER = b"HEADER RECORD*******"
_LIBRARY = (b"LIBRARY ", b"LIBV8   ")
_MEMBER = (b"MEMBER  ", b"MEMBV8  ")
_NAMES = (b"NAMESTR ", b"NAMSTV8 ")
_ROWS = (b"OBS     ", b"OBSV8   ")
_NAME_AT = 168
"""Where the name of a data set lies behind the start of its member header."""


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    is_text: bool
    width: int


@dataclass(frozen=True, slots=True)
class _Header:
    """What stands before the rows of a data set, and where in the file the first row begins."""

    name: str
    variables: Sequence[_Variable]
    rows_at: int
    stated_rows: int | None

    @property
    def columns(self) -> list[str]:
        return [v.name for v in self.variables]

    @property
    def row_width(self) -> int:
        return sum(v.width for v in self.variables)


def read_transport(path: Path) -> list[TrialFile]:
    """Read each data set of a transport file.

    1. CPORT files, other versions and other files are refused by name
    2. a file whose size is no whole number of records, a row that is not whole, and fewer rows than
       version 8 states: cut off, refused. Version 5 states no number of rows, so that a cut between
       two records and two rows at once cannot be seen.
    3. texts by the first of `ENCODINGS` in which all of them can be decoded, a last character that
       was cut left out; numbers as Python prints them; dates as ISO 8601; missing values, .A to .Z
       included, are empty

    Raises
    ------
    UnreadableFileError
        Where one of these is so; with the columns of the data set, where they are known.
    """
    found = read_data_sets(path)
    for one in found:
        if isinstance(one, UnreadableFileError):
            raise one
    return [one for one in found if isinstance(one, TrialFile)]


def read_data_sets(
    path: Path, wanted: Callable[[Sequence[str]], bool] = lambda _: True
) -> list[TrialFile | UnreadableFileError]:
    """Read each data set by itself: the table, or why it cannot be read.

    A data set whose columns are not wanted is given without its rows: nothing but its header is
    read, however long it is.

    Raises
    ------
    UnreadableFileError
        Where the file as a whole is none of these.
    """
    if not path.stat().st_size:
        raise UnreadableFileError(path.name, NO_TRANSPORT)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _check_kind(data[: 2 * RECORD], path.name)
        starts = _member_starts(data)
        if not starts:
            raise UnreadableFileError(path.name, CUT)
        ends = [*starts[1:], len(data)]
        return [
            _data_set(
                data, start, end, path.name if len(starts) == 1 else f"{path.name} {{}}", wanted
            )
            for start, end in zip(starts, ends, strict=True)
        ]


def _check_kind(data: bytes, name: str) -> None:
    if data.startswith(b"**COMPRESSED**"):
        raise UnreadableFileError(name, CPORT)
    if not data.startswith(_HEADER) or data[20:28] not in _LIBRARY:
        raise UnreadableFileError(name, NO_TRANSPORT)


def _member_starts(data: mmap.mmap) -> list[int]:
    """Where the header of each data set is: at the start of a record."""
    found: list[int] = []
    for kind in _MEMBER:
        place = data.find(_HEADER + kind)
        while place >= 0:
            if place % RECORD == 0:
                found += [place]
            place = data.find(_HEADER + kind, place + 1)
    return sorted(found)


def _data_set(
    data: mmap.mmap, start: int, end: int, name: str, wanted: Callable[[Sequence[str]], bool]
) -> TrialFile | UnreadableFileError:
    try:
        header = _header(data, start, end, name)
        own = name.format(header.name)
        if not wanted(header.columns):
            return TrialFile(own, header.columns, [])
        return _read(
            header, data[header.rows_at : end], data[:LIBRARY] + data[start : header.rows_at], own
        )
    except UnreadableFileError as error:
        return error


def _header(data: mmap.mmap, start: int, end: int, name: str) -> _Header:
    try:
        names_at, rows_at = _find(data, _NAMES, start, end), _find(data, _ROWS, start, end)
        width, count = int(data[start + 74 : start + 78]), int(data[names_at + 54 : names_at + 58])
        places = range(names_at + RECORD, names_at + RECORD + count * width, width)
        variables = [_variable(data[place : place + width]) for place in places]
        title = data[start + _NAME_AT : start + _NAME_AT + 32].split(b"SASDATA")[0]
    except (ValueError, struct.error):
        raise UnreadableFileError(name.format("").strip(), CUT) from None
    is_version_8 = data[rows_at + 20 : rows_at + 28] == _ROWS[1]
    stated = data[rows_at + 48 : rows_at + 63].strip() if is_version_8 else b""
    rows = int(stated) if stated.isdigit() and int(stated) else None
    return _Header(title.decode("latin-1").strip(), variables, rows_at + RECORD, rows)


def _find(data: mmap.mmap, kinds: Sequence[bytes], start: int, end: int) -> int:
    places = [data.find(_HEADER + kind, start, end) for kind in kinds]
    return min(place for place in places if place >= 0)


def _variable(record: bytes) -> _Variable:
    kind, _, width = struct.unpack(">hhh", record[:6])
    return _Variable(record[8:16].decode("latin-1").strip().upper(), kind == 2, width)


def _read(header: _Header, rows: bytes, before: bytes, name: str) -> TrialFile:
    import pyreadstat

    _check_rows(header, rows, name)
    readable, encoding = _decodable(_padded(header, rows), _texts(header, rows))
    try:
        values, _ = pyreadstat.read_xport(
            io.BytesIO(before + readable), output_format="dict", encoding=encoding
        )
    except Exception:
        raise UnreadableFileError(name, UNREAD, header.columns) from None
    columns = [[_text(value) for value in column] for column in values.values()]
    names = [column.strip().upper() for column in values]
    return TrialFile(name, names, numbered(list(zip(*columns, strict=True))))


def _check_rows(header: _Header, rows: bytes, name: str) -> None:
    """Refuse incomplete rows: header and rows fill whole records, and the rest is padding."""
    width = header.row_width
    n = len(rows) // width if width else 0
    rest = rows[n * width :]
    padded = len(rest) < RECORD and not rest.strip(b" \0")
    if len(rows) % RECORD or not padded or (header.stated_rows or 0) > n:
        raise UnreadableFileError(name, CUT, header.columns)


def _padded(header: _Header, rows: bytes) -> bytes:
    """The rows with blanks for zeros behind the last one: a reader takes zeros for rows.

    An empty text is blanks, so that a row of zeros alone is no row where there are texts; numbers
    alone may all be 0.
    """
    width = header.row_width
    if not any(v.is_text for v in header.variables):
        return rows
    start = len(rows) // width * width
    while start - width > len(rows) - RECORD and not rows[start - width : start].strip(b"\0"):
        start -= width
    return rows[:start] + b" " * (len(rows) - start)


def _texts(header: _Header, rows: bytes) -> list[tuple[int, int]]:
    """Where among the rows each text with a byte beyond ASCII begins and ends."""
    width = header.row_width
    n = len(rows) // max(width, 1)
    table = np.frombuffer(rows, np.uint8, n * width).reshape(n, width)
    found: list[tuple[int, int]] = []
    at = 0
    for variable in header.variables:
        if variable.is_text:
            foreign = (table[:, at : at + variable.width] >= 0x80).any(axis=1)
            starts = (at + np.flatnonzero(foreign) * width).tolist()
            found += [(start, start + variable.width) for start in starts]
        at += variable.width
    return found


def _decodable(rows: bytes, texts: Sequence[tuple[int, int]]) -> tuple[bytes, str]:
    """The rows and the first of `ENCODINGS` in which every text can be decoded.

    SAS cuts a text at the width of its variable, within a character where that is one of several
    bytes: the bytes of such a character are blanked.
    """
    for encoding in ENCODINGS:
        tails = [_incomplete(rows[start:end], encoding) for start, end in texts]
        if None not in tails:
            return _without_tails(rows, texts, [tail or 0 for tail in tails]), encoding
    raise AssertionError("every byte is a character of the last encoding")


def _without_tails(rows: bytes, texts: Sequence[tuple[int, int]], tails: Sequence[int]) -> bytes:
    if not any(tails):
        return rows
    whole = bytearray(rows)
    for (start, end), tail in zip(texts, tails, strict=True):
        last = start + len(rows[start:end].rstrip(b" "))
        whole[last - tail : last] = b" " * tail
    return bytes(whole)


def _incomplete(text: bytes, encoding: str) -> int | None:
    """How many bytes at the end of a text are no whole character; None where others are none."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        decoder.decode(text.rstrip(b" "))
    except UnicodeDecodeError:
        return None
    return len(decoder.getstate()[0])


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.15g}"
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return "" if value is None else str(value)


def write_transport(dataset: Dataset, frame: pl.DataFrame, path: Path) -> None:
    """Write a data set as transport file of version 5: texts as UTF-8, dates as SAS dates."""
    import pyreadstat

    pyreadstat.write_xport(
        frame,
        path,
        table_name=dataset.name,
        file_label=dataset.label,
        file_format_version=5,
        column_labels=[v.label for v in dataset.variables],
        variable_format={v.name: DATE_FORMAT for v in dataset.variables if v.type == "date"},
    )


def too_long(dataset: Dataset, frame: pl.DataFrame) -> list[str]:
    """Variables that hold a text longer than version 5 can store; it would be cut."""
    texts = [v.name for v in dataset.variables if v.type == "text"]
    longest = frame.select(pl.col(name).str.len_bytes().max() for name in texts).row(0)
    return [name for name, n in zip(texts, longest, strict=True) if (n or 0) > MOST_TEXT]
