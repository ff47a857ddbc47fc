"""Excel workbooks as hospitals send them: each sheet's lines, every cell as the person sees it."""

from __future__ import annotations

import datetime as dt
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.parsers.expat import ExpatError

from dagster_project.intake.case_report.lines import Line, clean
from dagster_project.intake.case_report.xml_files import XmlFault, refuse_document_type
from dagster_project.intake.opening import LARGEST_TABLE

if TYPE_CHECKING:
    from openpyxl.workbook.workbook import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

LARGEST_UNPACKED, MOST_PARTS = 256 * 2**20, 5000
"""Limits of a file that is opened at all: bytes when unpacked, and parts.

A case report of ten thousand rows is 2 MB, and 20 MB unpacked.
"""

MOST_CELLS = 3_000_000
"""Rows times columns of a sheet, and of its merged cells, empty ones counted."""

MOST_MARKS = 8_000_000
"""Starts and ends of elements in all parts: four per cell, which needs some 100 bytes of memory."""

EXACT = 10**15
"""A number from here on has lost digits."""

TOO_LARGE = (
    "is larger than a case report can be; "
    "take out what is not the table (pictures, empty formatted rows) and save it anew"
)
UNREADABLE = "is an Excel workbook that cannot be read; open it in Excel and save it anew as .xlsx"
NOT_CALCULATED = "#formula"
"""Stands for a formula whose result the file does not hold."""

_EAST_ASIAN_DATES = {
    27: 'yyyy"年"m"月"',
    28: 'm"月"d"日"',
    29: 'm"月"d"日"',
    30: "m-d-yy",
    31: 'yyyy"年"m"月"d"日"',
    36: 'yyyy"年"m"月"',
    50: 'yyyy"年"m"月"',
    51: 'm"月"d"日"',
    52: 'yyyy"年"m"月"',
    53: 'm"月"d"日"',
    54: 'm"月"d"日"',
    55: 'yyyy"年"m"月"',
    56: 'm"月"d"日"',
    57: 'yyyy"年"m"月"',
    58: 'm"月"d"日"',
}
"""Number formats that Excel in Chinese knows by their number alone (ECMA-376 part 1, 18.8.30).

openpyxl lists those of English.
"""

_FORMAT_PARTS = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|\[[^\]]*\]|[_*].|(?P<digits>[0#?][0#?,.]*|General|@)|(?P<percent>%)|.'
)


_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*ref\s*=\s*[\"']([^\"'>]+)")


class WorkbookFault(ValueError):
    """A workbook that is refused whole; the text says why and what to do."""


@dataclass(frozen=True)
class Sheet:
    """A worksheet: its number from 1, its name, whether it is shown, its lines."""

    number: int
    name: str
    visible: bool
    lines: tuple[Line, ...]


def read_sheets(data: bytes) -> list[Sheet]:
    """The worksheets of an .xlsx or .xlsm file.

    1. Bounds before anything is built (bytes, elements, merged cells), and no part with a document
       type declaration; nothing in the file is run or followed.
    2. Numbers as they are seen: percent cells with their sign, units and prefixes of the format
       written out, dates as dates (from 1900 or 1904 as the workbook says). Not rounded as they are
       shown.
    3. Formulas by the result that the file holds; one without is an error, as #N/A is.
    4. A merged cell counts in each cell that it covers. Hidden rows and columns are read as others
       are: a filter hides, it does not delete.

    Raises
    ------
    WorkbookFault
        Where it cannot be opened.
    """
    _check_bounds(data)
    book = _opened(data, values=True)
    formulas = _opened(data, values=False) if _has_formulas(data) else None
    try:
        return [
            _sheet(number, sheet, formulas.worksheets[number - 1] if formulas else None)
            for number, sheet in enumerate(book.worksheets, start=1)
        ]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise error if isinstance(error, WorkbookFault) else WorkbookFault(UNREADABLE) from error


def _check_bounds(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            infos = parts.infolist()
            if (
                len(data) > LARGEST_TABLE
                or len(infos) > MOST_PARTS
                or sum(i.file_size for i in infos) > LARGEST_UNPACKED
            ):
                raise WorkbookFault(TOO_LARGE)
            _check_parts(parts, infos)
    except (
        zipfile.BadZipFile,
        zlib.error,
        ExpatError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise error if isinstance(error, WorkbookFault) else WorkbookFault(UNREADABLE) from error


def _check_parts(parts: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Read each part once, before openpyxl does.

    What openpyxl would make of it has to fit, and nothing may be defined in it.
    """
    marks = merged = cells = 0
    for info in infos:
        with parts.open(info) as part:
            data = part.read()
        plain = data.replace(b"\0", b"")  # UTF-16 of letters of ASCII
        marks += plain.count(b"<")
        merged += sum(_cells_of(found[1].decode("latin-1")) for found in _MERGED.finditer(plain))
        cells += sum(map(plain.count, (b"<c ", b"<c>", b"<c/")))
        if marks > MOST_MARKS or max(cells, merged) > MOST_CELLS:
            raise WorkbookFault(TOO_LARGE)
        if info.filename.lower().endswith((".xml", ".rels")) and data:
            _refuse_definitions(data)


def _refuse_definitions(data: bytes) -> None:
    try:
        refuse_document_type(data)
    except XmlFault as error:
        raise WorkbookFault(UNREADABLE) from error


def _cells_of(area: str) -> int:
    """Cells of an area as openpyxl reads it.

    >>> _cells_of("A1:C3"), _cells_of("$A$1:$C$3")
    (9, 9)
    """
    from openpyxl.utils import range_boundaries

    left, top, right, bottom = range_boundaries(area)
    if None in {left, top, right, bottom}:
        raise WorkbookFault(UNREADABLE)
    return (right - left + 1) * (bottom - top + 1)


def _has_formulas(data: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(data)) as parts:
        return any(
            re.search(rb"<(\w+:)?f[ >/]", parts.read(i))
            for i in parts.infolist()
            if "worksheets/" in i.filename and i.filename.endswith(".xml")
        )


def _opened(data: bytes, *, values: bool) -> Workbook:
    from openpyxl import load_workbook
    from openpyxl.styles.numbers import BUILTIN_FORMATS

    for number, form in _EAST_ASIAN_DATES.items():
        BUILTIN_FORMATS.setdefault(number, form)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load_workbook(io.BytesIO(data), data_only=values, keep_links=False)
    except Exception as error:  # whatever a damaged file makes of a reader
        raise WorkbookFault(UNREADABLE) from error


def _sheet(number: int, sheet: Worksheet, formulas: Worksheet | None) -> Sheet:
    if sheet.max_row * sheet.max_column > MOST_CELLS:
        raise WorkbookFault(TOO_LARGE)
    merged = _merged(sheet)
    lines = []
    for row in sheet.iter_rows():
        at = row[0].row
        texts = [_text(cell, formulas) for cell in row]
        above = {place: merged[at, place] for place in range(len(row)) if (at, place) in merged}
        for place, (top, left) in above.items():
            texts[place] = _text(sheet.cell(top, left + 1), formulas)
        lines.append(Line(at, tuple(texts), frozenset(above)))
    return Sheet(number, sheet.title, sheet.sheet_state == "visible", tuple(lines))


def _merged(sheet: Worksheet) -> dict[tuple[int, int], tuple[int, int]]:
    """Row and place of each covered cell → row and place of the cell that covers it."""
    found = {}
    for area in sheet.merged_cells.ranges:
        if (area.max_row - area.min_row + 1) * (area.max_col - area.min_col + 1) > MOST_CELLS:
            raise WorkbookFault(TOO_LARGE)
        found.update(
            {
                (row, column - 1): (area.min_row, area.min_col - 1)
                for row in range(area.min_row, area.max_row + 1)
                for column in range(area.min_col, area.max_col + 1)
                if (row, column) != (area.min_row, area.min_col)
            }
        )
    return found


def _text(cell: Any, formulas: Worksheet | None) -> str:
    from openpyxl.utils.escape import unescape

    value = cell.value
    if value is None:
        lost = (
            formulas is not None
            and cell.data_type == "n"
            and formulas.cell(cell.row, cell.column).data_type == "f"
        )
        return NOT_CALCULATED if lost else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return shown(value, cell.number_format)
    return _day(value) if isinstance(value, dt.datetime) else clean(unescape(str(value)))


def _day(value: dt.datetime) -> str:
    rounded = (value + dt.timedelta(seconds=0.5)).replace(microsecond=0)
    return rounded.date().isoformat() if rounded.time() == dt.time() else rounded.isoformat(sep=" ")


def shown(number: float, form: str) -> str:
    """A number with the percent sign, the unit or the prefix that its format shows.

    >>> shown(0.8, "0%"), shown(3.45, '0.0"cm"'), shown(1234, '"ZY"000000'), shown(330102198801, "0.00E+00"), shown(34.5, "General")
    ('80%', '3.45cm', 'ZY001234', '330102198801', '34.5')
    """  # noqa: E501
    parts = list(_FORMAT_PARTS.finditer(form.split(";", maxsplit=1)[0]))
    if any(part["percent"] for part in parts):
        return f"{number * 100:.15g}%"
    if abs(number) >= EXACT:
        return f"{number:.14E}"
    digits = str(int(number)) if number == int(number) else f"{number:.15g}"
    place = next((n for n, part in enumerate(parts) if part["digits"]), len(parts))
    before, behind = (_literal(some) for some in (parts[:place], parts[place + 1 :]))
    if before and place < len(parts):
        digits = digits.zfill(len(re.sub(r"[^0]", "", parts[place]["digits"].partition(".")[0])))
    return before + digits + behind


def _literal(parts: list[re.Match[str]]) -> str:
    return "".join(part["quoted"] or part["escaped"] or "" for part in parts).strip()
