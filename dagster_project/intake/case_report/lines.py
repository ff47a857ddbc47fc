"""The lines of a case-report file, of whatever kind.

They are numbered as a spreadsheet numbers them, each with its cells as text.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

DELIMITERS = ",;\t|"

HEADER_WITHIN = 30
"""Lines among which the header is looked for: titles and remarks may stand above it."""

MOST_PARTS = 8
"""Lines that one row may have been cut into."""

UNSEEN = dict.fromkeys([0xFEFF, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0x00AD])
"""Characters that nobody sees: marks of byte order and of direction, spaces of no width."""

LONGEST_LINE = 2**20
"""Bytes between two line ends: a row of a case report has a few hundred."""

MOST_COLUMNS = 10_000
"""Most cells of a line.

A study database with every question of every visit in one row has some thousands.
"""

MOST_CELLS = 5_000_000
"""Delimiters and line ends of a file: each cell needs some hundred bytes of memory."""

MOST_LINES_OF_A_ROW = 1000
"""Most lines of a text in quotation marks.

Where one is not closed, it would swallow the file for each line anew.
"""

LONG_LINE = (
    f"has a line longer than {LONGEST_LINE // 2**20} MiB, which no row of a table is; "
    "export it again with one row a line"
)
MANY_COLUMNS = (
    f"has more than {MOST_COLUMNS} columns; export the fields of the delivery specification alone"
)
MANY_CELLS = (
    "has more cells than a case report can; "
    "export the rows and fields of the delivery specification alone"
)

OPEN_QUOTE = (
    "has a quotation mark that is not closed, or not doubled within a text; "
    "the row is left out, and those that it swallowed are read"
)
NO_TEXT = (
    "holds characters that are no text, or of another encoding than the rest; "
    "save the whole file as CSV UTF-8. The row is left out"
)
BROKEN = (
    "is cut by a line break within a text; put the text in quotation marks. The row is left out"
)
CUT = "is where the file ends, in the middle of a row; deliver the file whole. The row is left out"

_ENDS = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_LIKE_NUMBER = re.compile(r"[\w'=\"]?[\w./,\"-]*\d[\w./\"+-]*")
_SEPARATOR = re.compile(r"\ufeff?\"?sep=(.)\"?[\r\n]+", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """One line: its number, its cells, which of them a merged cell covers, and its fault if any.

    A line with a fault cannot be read.
    """

    number: int
    cells: tuple[str, ...]
    covered: frozenset[int] = frozenset()
    fault: str = ""

    @property
    def own(self) -> list[str]:
        """The cells that are the line's own."""
        return [cell for place, cell in enumerate(self.cells) if place not in self.covered]

    @property
    def is_empty(self) -> bool:
        """True where it is empty."""
        return not self.fault and not any(self.own)


class Place(NamedTuple):
    """Where the header is, and where in it the column that names whose a row is."""

    header: int
    width: int
    key: int


Find = Callable[[Sequence[Line]], tuple[int, Place | None]]
"""How many headers of the best line are known, and its place; None where no line has the key."""


def clean(cell: str) -> str:
    """A cell without what is not seen and without outer spaces."""
    return cell.translate(UNSEEN).strip()


class TooLargeError(ValueError):
    """Text whose lines would need too much memory; the text of the error is the reason."""


def check_amount(data: bytes) -> None:
    """Count lines and cells in the bytes of a table, before anything is made of them.

    Raises
    ------
    TooLargeError
        Where a line is too long or has too many cells, or all have.
    """
    if sum(map(data.count, (b",", b";", b"\t", b"|", b"\n", b"\r"))) > MOST_CELLS:
        raise TooLargeError(MANY_CELLS)
    data, start = data.replace(b"\r", b"\n"), 0
    while start < len(data):
        end = data.find(b"\n", start, start + LONGEST_LINE)
        if end < 0 and len(data) - start > LONGEST_LINE:
            raise TooLargeError(LONG_LINE)
        stop = end if end >= 0 else len(data)
        if max(data.count(mark, start, stop) for mark in (b",", b";", b"\t", b"|")) >= MOST_COLUMNS:
            raise TooLargeError(MANY_COLUMNS)
        start = stop + 1


def decoded(data: bytes) -> str:
    """Text of bytes.

    1. UTF-16 with its mark; without one where every second byte of the beginning is zero.
    2. UTF-8 with or without its mark, else GB18030.
    3. Where most lines are UTF-8 and some are not, those have U+FFFD and are refused one by one.

    Raises
    ------
    UnicodeDecodeError
        Where it is none of these.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    wide = _utf_16(data[:4096])
    if wide:
        return data.decode(wide)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return (
            data.decode("utf-8-sig", errors="replace")
            if _mostly_utf_8(data)
            else data.decode("gb18030")
        )


def _utf_16(start: bytes) -> str:
    low, high = start[0::2].count(0), start[1::2].count(0)
    if not low + high or min(low, high) > 0.1 * max(low, high) or max(low, high) < 4:
        return ""
    return "utf-16-le" if high > low else "utf-16-be"


def _mostly_utf_8(data: bytes) -> bool:
    good = bad = 0
    for line in data.splitlines():
        if not line.isascii():
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                bad += 1
            else:
                good += 1
    return good > bad


def text_lines(text: str, find: Find) -> list[Line]:
    """The lines of delimited text.

    1. A line `sep=;` says the delimiter, and is no line of the sheet.
    2. Else of comma, semicolon, tab and bar the one by which most headers are known.
    3. Only CR, LF and CR LF end a line, and within quotes none does.
    4. A quotation mark that is not closed swallows lines: the line is refused, and those that are
       rows by themselves are read.
    5. Short lines that make one row together were cut by a line break in a text without quotation
       marks.
    6. A last line without an end that has too few cells was cut.
    """
    declared = _SEPARATOR.match(text)
    text = text[declared.end() :] if declared else text
    physical = _ENDS.findall(text)
    delimiter = declared[1] if declared else _delimiter(physical, find)
    _, place = find(
        [
            Line(n, cells)
            for n, (cells, _) in enumerate(
                islice(_records(physical, delimiter, None), HEADER_WITHIN), start=1
            )
        ]
    )
    lines = [
        _line(n, cells, fault)
        for n, (cells, fault) in enumerate(_records(physical, delimiter, place), start=1)
    ]
    return _without_cut(_without_broken(lines, place), text, place)


def _line(number: int, cells: tuple[str, ...], fault: str) -> Line:
    if any("\0" in cell or "\ufffd" in cell for cell in cells):
        fault = fault or NO_TEXT
    return Line(number, cells, fault=fault)


def _delimiter(physical: Sequence[str], find: Find) -> str:
    first = next((line for line in physical if line.strip()), "")

    def known(delimiter: str) -> tuple[int, int]:
        lines = [
            Line(n, cells)
            for n, (cells, _) in enumerate(
                islice(_records(physical, delimiter, None), HEADER_WITHIN), start=1
            )
        ]
        return find(lines)[0], first.count(delimiter)

    return max(DELIMITERS, key=known)


def _records(
    physical: Sequence[str], delimiter: str, place: Place | None
) -> Iterator[tuple[tuple[str, ...], str]]:
    start = 0
    while start < len(physical):
        stop, cells = _record(physical, start, delimiter)
        fault = _quote_fault(physical[start:stop], delimiter, place)
        if fault:
            yield (), fault
            start += 1
            while place and start < stop and not _is_row(physical[start], delimiter, place):
                yield (), fault
                start += 1
        else:
            yield tuple(map(clean, cells)), ""
            start = stop


def _record(physical: Sequence[str], start: int, delimiter: str) -> tuple[int, list[str]]:
    """Where a record ends, and its cells; most records are one line without a quotation mark."""
    if '"' not in physical[start]:
        return start + 1, physical[start].rstrip("\r\n").split(delimiter)
    last = min(len(physical), start + MOST_LINES_OF_A_ROW)
    reader = csv.reader(
        (physical[n] for n in range(start, last)), delimiter=delimiter, skipinitialspace=True
    )
    try:
        cells = next(reader)
    except csv.Error:
        return last, []
    return start + reader.line_num, cells


def _quote_fault(lines: Sequence[str], delimiter: str, place: Place | None) -> str:
    """Why the quotation marks of a record are wrong; empty where they are right."""
    marks = sum(line.count('"') for line in lines)
    if not marks:
        return ""
    if marks % 2:
        return OPEN_QUOTE
    try:
        list(
            csv.reader(
                io.StringIO("".join(lines), newline=""),
                delimiter=delimiter,
                skipinitialspace=True,
                strict=True,
            )
        )
    except csv.Error:
        return OPEN_QUOTE
    return OPEN_QUOTE if any(_is_row(line, delimiter, place) for line in lines[1:]) else ""


def _is_row(line: str, delimiter: str, place: Place | None) -> bool:
    """True for a line within quotes that would be a row by itself.

    The last line of a quoted text has a mark that closes it and none that opens.
    """
    if place is None or place.width == 1 or line.count('"') % 2:
        return False
    cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return len(cells) == place.width and _is_number(cells, place)


def _is_number(cells: Sequence[str], place: Place) -> bool:
    return len(cells) > place.key and _LIKE_NUMBER.fullmatch(clean(cells[place.key])) is not None


def _without_broken(lines: list[Line], place: Place | None) -> list[Line]:
    """The lines, those refused that a line break cut.

    1. Short lines that together make one row, where none after the first has a number of its own,
       or no other line is short.
    2. Short lines beside a line that is cut, or that has a quotation mark too many.
    """
    if place is None or place.width < 3:
        return lines
    body = lines[place.header + 1 :]
    short = {
        at for at, line in enumerate(body) if 0 < len(line.cells) < place.width and any(line.cells)
    }
    padded = any(
        len(line.cells) >= place.width and not line.cells[place.width - 1]
        for line in body
        if not line.fault
    )
    broken = _broken(body, short, place, numbered=True)
    broken = broken if padded or short <= broken else _broken(body, short, place, numbered=False)
    broken = _with_neighbours(body, short, broken)
    return [
        *lines[: place.header + 1],
        *(
            Line(line.number, line.cells, fault=BROKEN) if at in broken else line
            for at, line in enumerate(body)
        ),
    ]


def _broken(body: Sequence[Line], short: set[int], place: Place, *, numbered: bool) -> set[int]:
    found: set[int] = set()
    for at in sorted(short):
        if at not in found:
            found.update(range(at, _end_of_broken(body, at, place, numbered=numbered)))
    return found


def _with_neighbours(body: Sequence[Line], short: set[int], broken: set[int]) -> set[int]:
    found = set(broken)
    passed = short | {at for at, line in enumerate(body) if line.is_empty}
    faulty = {at for at, line in enumerate(body) if line.fault == OPEN_QUOTE} | found
    while faulty:
        faulty = {near for at in faulty for near in (at - 1, at + 1) if near in passed - found}
        found |= faulty
    return found & (short | broken)


def _end_of_broken(body: Sequence[Line], at: int, place: Place, *, numbered: bool) -> int:
    """Position behind the last of the short lines that make one row with the line at a place.

    It is the place itself where none do.
    """
    cells = len(body[at].cells)
    for end, line in enumerate(body[at + 1 : at + MOST_PARTS], start=at + 1):
        if (
            line.fault
            or len(line.cells) >= place.width
            or (not numbered and _is_number(line.cells, place))
        ):
            return at
        cells += len(line.cells) - 1
        if cells == place.width:
            return end + 1
    return at


def _without_cut(lines: list[Line], text: str, place: Place | None) -> list[Line]:
    if place is None or len(lines) <= place.header + 2 or text.endswith(("\n", "\r")):
        return lines
    last, others = lines[-1], lines[place.header + 1 : -1]
    whole = [len(line.cells) >= place.width for line in others if not line.is_empty]
    if last.fault or len(last.cells) >= place.width or not whole or not all(whole):
        return lines
    return [*lines[:-1], Line(last.number, last.cells, fault=CUT)]
