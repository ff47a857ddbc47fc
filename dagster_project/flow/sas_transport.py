"""SAS transport files (XPT, versions 5 and 8): their frame is checked here, pyreadstat reads the values."""

from __future__ import annotations

import codecs
import datetime as dt
import io
import math
import struct
from collections.abc import Iterator, Sequence
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

ENCODINGS = ("UTF-8", "GB18030", "CP1252", "ISO-8859-1")
"""Encodings of texts in order of trial; a transport file does not name its own."""

DATE_FORMAT = "DATE9."

CUT = "is cut off: its last record is incomplete. Copy it again"
CPORT = "is a CPORT file, which SAS alone can read; write it with the XPORT engine (LIBNAME … XPORT) or as CSV"
NO_TRANSPORT = "is no SAS transport file of version 5 or 8; write it with the XPORT engine (LIBNAME … XPORT) or as CSV"
UNREAD = "cannot be read as a SAS transport file; write it again with the XPORT engine (LIBNAME … XPORT) or as CSV"

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
class _Member:
    """One data set: the bytes by which it is a file of its own, its variables, where its rows begin."""

    data: bytes
    name: str
    variables: Sequence[_Variable]
    rows_at: int
    stated_rows: int | None

    @property
    def row_width(self) -> int:
        return sum(v.width for v in self.variables)


def read_transport(path: Path) -> list[TrialFile]:
    """Read each data set of a transport file.

    1. CPORT files, other versions and other files are refused by name
    2. a file whose size is no whole number of records, a row that is not whole, and fewer rows than
       version 8 states: cut off, refused.
       Version 5 states no number of rows, so that a cut between two records and two rows at once
       cannot be seen.
    3. texts by the first of `ENCODINGS` in which all of them can be decoded, a last character that
       was cut left out; numbers as Python prints them; dates as ISO 8601;
       missing values, .A to .Z included, are empty

    Raises
    ------
    UnreadableFileError
        Where one of these is so; with the columns of the data set, where they are known.
    """
    data = path.read_bytes()
    _check_kind(data, path.name)
    members = list(_members(data, path.name))
    names = [path.name if len(members) == 1 else f"{path.name} {m.name}" for m in members]
    return [_read(member, name) for member, name in zip(members, names, strict=True)]


def _check_kind(data: bytes, name: str) -> None:
    if data.startswith(b"**COMPRESSED**"):
        raise UnreadableFileError(name, CPORT)
    if not data.startswith(_HEADER) or data[20:28] not in _LIBRARY:
        raise UnreadableFileError(name, NO_TRANSPORT)


def _members(data: bytes, name: str) -> Iterator[_Member]:
    starts = [
        place
        for place in range(0, len(data), RECORD)
        if data[place : place + 20] == _HEADER and data[place + 20 : place + 28] in _MEMBER
    ]
    if not starts:
        raise UnreadableFileError(name, CUT)
    head = data[: starts[0]]
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        yield _member(head, data[start:end], name)


def _member(head: bytes, own: bytes, name: str) -> _Member:
    try:
        names_at, rows_at = _find(own, _NAMES), _find(own, _ROWS)
        width, count = int(own[74:78]), int(own[names_at + 54 : names_at + 58])
        variables = [
            _variable(own[place : place + width])
            for place in range(names_at + RECORD, names_at + RECORD + count * width, width)
        ]
        stated = (
            own[rows_at + 48 : rows_at + 63].strip()
            if own[rows_at + 20 : rows_at + 28] == _ROWS[1]
            else b""
        )
        title = own[_NAME_AT : _NAME_AT + 32].split(b"SASDATA")[0]
    except (ValueError, struct.error):
        raise UnreadableFileError(name, CUT) from None
    rows = int(stated) if stated.isdigit() and int(stated) else None
    return _Member(
        head + own, title.decode("latin-1").strip(), variables, len(head) + rows_at + RECORD, rows
    )


def _find(own: bytes, kinds: Sequence[bytes]) -> int:
    return min(place for kind in kinds if (place := own.find(_HEADER + kind)) >= 0)


def _variable(record: bytes) -> _Variable:
    kind, _, width = struct.unpack(">hhh", record[:6])
    return _Variable(record[8:16].decode("latin-1").strip().upper(), kind == 2, width)


def _read(member: _Member, name: str) -> TrialFile:
    import pyreadstat

    _check_rows(member, name)
    data, encoding = _decodable(_padded(member), _texts(member))
    try:
        values, _ = pyreadstat.read_xport(io.BytesIO(data), output_format="dict", encoding=encoding)
    except Exception:
        raise UnreadableFileError(name, UNREAD, _columns(member)) from None
    columns = [[_text(value) for value in column] for column in values.values()]
    return TrialFile(
        name,
        [column.strip().upper() for column in values],
        numbered(list(zip(*columns, strict=True))),
    )


def _columns(member: _Member) -> list[str]:
    return [v.name for v in member.variables]


def _check_rows(member: _Member, name: str) -> None:
    rows = member.data[member.rows_at :]
    width = member.row_width
    rest = rows[len(rows) // width * width :] if width else rows
    padded = len(rest) < RECORD and not rest.strip(b" \0")
    if (
        len(member.data) % RECORD
        or not padded
        or (member.stated_rows or 0) > len(rows) // max(width, 1)
    ):
        raise UnreadableFileError(name, CUT, _columns(member))


def _padded(member: _Member) -> bytes:
    """The bytes with blanks for zeros behind the last row: a reader takes zeros for rows.

    An empty text is blanks, so that a row of zeros alone is no row where there are texts; numbers
    alone may all be 0.
    """
    width, end = member.row_width, len(member.data)
    if not any(v.is_text for v in member.variables):
        return member.data
    start = end - (end - member.rows_at) % max(width, 1)
    while (
        width
        and start - width >= max(member.rows_at, end - RECORD + 1)
        and not member.data[start - width : start].strip(b"\0")
    ):
        start -= width
    return member.data[:start] + b" " * (end - start)


def _texts(member: _Member) -> list[tuple[int, int]]:
    """Where each text with a byte beyond ASCII begins and ends in the bytes of the data set."""
    width = member.row_width
    n = (len(member.data) - member.rows_at) // max(width, 1)
    rows = np.frombuffer(member.data, np.uint8, n * width, member.rows_at).reshape(n, width)
    found: list[tuple[int, int]] = []
    at = 0
    for variable in member.variables:
        if variable.is_text:
            foreign = (rows[:, at : at + variable.width] >= 0x80).any(axis=1)
            found += [
                (start, start + variable.width)
                for start in (member.rows_at + at + np.flatnonzero(foreign) * width).tolist()
            ]
        at += variable.width
    return found


def _decodable(data: bytes, texts: Sequence[tuple[int, int]]) -> tuple[bytes, str]:
    """The bytes and the first of `ENCODINGS` in which every text can be decoded.

    SAS cuts a text at the width of its variable, within a character where that is one of several
    bytes: the bytes of such a
    character are blanked.
    """
    for encoding in ENCODINGS:
        tails = [_incomplete(data[start:end], encoding) for start, end in texts]
        if None not in tails:
            whole = bytearray(data)
            for (start, end), tail in zip(texts, tails, strict=True):
                text_end = start + len(data[start:end].rstrip(b" "))
                whole[text_end - (tail or 0) : text_end] = b" " * (tail or 0)
            return bytes(whole), encoding
    raise AssertionError("every byte is a character of the last encoding")


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
