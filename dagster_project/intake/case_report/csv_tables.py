"""Case-report tables as sites write them, with headers in either language.

They are text with any delimiter and encoding, or workbooks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dagster_project.intake.case_report.file_kinds import no_workbook, other_kind
from dagster_project.intake.case_report.lines import (
    HEADER_WITHIN,
    Line,
    Place,
    TooLargeError,
    check_amount,
    decoded,
    text_lines,
)
from dagster_project.intake.case_report.workbooks import (
    NOT_CALCULATED,
    Sheet,
    WorkbookFault,
    read_sheets,
)
from dagster_project.intake.opening import NotOpenedError, read_table_file
from dagster_project.lake.vocabulary import (
    Header,
    header_meaning,
    header_unit,
    load_vocabulary,
    sheet_table,
)

WORKBOOKS = (".xlsx", ".xlsm")
"""Endings of workbooks, which take the place of the CSV file of that name or lie beside it."""

ROW_KEYS = frozenset({"patient_id", "visit_date"})
"""Columns in which a merged cell holds for each row that it covers; in others it is refused."""

IDENTIFYING = frozenset(load_vocabulary().headers["any"].values())
"""Columns that identify a person.

They are searched for in what leaves, sealed in the crosswalk, and stored in no table.
"""

OTHER_UNIT = (
    "states a unit that is not taken here, or a remark that could change the figures; "
    "lengths are in mm or cm, ages in years, "
    "PD-L1 is a TPS in percent. The column is left out"
)


@dataclass(frozen=True)
class Refusal:
    """What was refused of a case-report file: the place without a value, and why."""

    item: str
    reason: str


@dataclass(frozen=True)
class CsvRow:
    """One row: its number as in a spreadsheet (the header is row 1), and its cells by column."""

    number: int
    cells: dict[str, str]


@dataclass(frozen=True)
class CsvTable:
    """The rows of one file under the columns of one table, and what of it was refused."""

    name: str
    columns: frozenset[str] = frozenset()
    rows: tuple[CsvRow, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    """Units that headers state, by column."""

    named: frozenset[str] = frozenset()
    """Places refused where the file was read; they are not refused as missing once more."""

    _evidence: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def evidence(self, column: str, judge: Callable[[Iterable[str]], bool]) -> bool:
        """What all cells of a column say about how it is written, judged once."""
        if column not in self._evidence:
            self._evidence[column] = judge([row.cells.get(column, "") for row in self.rows])
        return self._evidence[column]

    def item(self, row: CsvRow, column: str = "") -> str:
        """The place of something: `clinical/patients.csv row 7 column birth_date`."""
        return f"{self.name} row {row.number}" + (f" column {column}" if column else "")


@dataclass
class _Headers:
    columns: dict[int, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)


NO_KEY = "has no column of patient numbers (patient_id, 住院号) in its first 30 rows; name it so"
HIDDEN = "has its patient numbers on a hidden sheet alone, which is not read; show the sheet"
SECOND_SHEET = (
    "also holds rows under patient numbers, and one sheet of a file is read; "
    "put all rows on one sheet"
)
MERGED = "is part of a merged cell; write the value in each cell. The cell is left out"
UNCALCULATED = (
    "is a formula whose result the file does not hold; open it in Excel and save it. "
    "The cell is left out"
)
TOO_LONG = (
    "has more cells than the header; a delimiter in a text must be quoted. The row is left out"
)
UNKNOWN_HEADER = (
    "header is not known; see dagster_project/lake/vocabulary.toml. The column is left out"
)


def table_files(path: Path) -> list[Path]:
    """Existing files with the table of a CSV path: itself and the workbooks of its name."""
    return [
        file
        for file in (path, *(path.with_suffix(ending) for ending in WORKBOOKS))
        if os.path.lexists(file)
    ]


def read_table(path: Path, table: str, name: str) -> CsvTable:
    """Read a file; one that cannot be read has no rows and a refusal, and never stops the others.

    1. A workbook by its ending, everything else as text; one that is not what its ending says is
       called what it is.
    2. The header is the line of the first 30 that most of the table's headers are in, the patient
       number among them; titles may stand above it.
    3. Of a workbook the sheet that is named as the table is, else the first that has such a line
       and is shown; others that have one are named.
    4. Headers by the alias table of the vocabulary; an unknown one is refused by its number, since
       it could hold anything.
    5. Where two headers mean the same column, the one that the alias table names first.
    6. Rows by the number that a spreadsheet shows.
    """
    try:
        data = read_table_file(path)
    except NotOpenedError as fault:
        return _refused(name, fault.reason)
    return (
        _of_workbook(data, table, name) if path.suffix in WORKBOOKS else _of_text(data, table, name)
    )


def _refused(name: str, reason: str) -> CsvTable:
    return CsvTable(name, refusals=(Refusal(name, reason),))


def _of_text(data: bytes, table: str, name: str) -> CsvTable:
    other = other_kind(data)
    if other:
        return _refused(name, other)
    try:
        check_amount(data)
        lines = text_lines(decoded(data), partial(_find, table))
    except TooLargeError as fault:
        return _refused(name, str(fault))
    except UnicodeDecodeError:
        return _refused(name, "cannot be decoded; save it as UTF-8 or GB18030")
    if all(line.is_empty for line in lines):
        return _refused(name, "is empty; deliver at least the header")
    return _table(name, table, lines)


def _of_workbook(data: bytes, table: str, name: str) -> CsvTable:
    try:
        sheets = _sheets(data)
    except WorkbookFault as fault:
        return _refused(name, str(fault))
    keyed = [
        sheet
        for sheet in sheets
        if _find(table, sheet.lines[:HEADER_WITHIN])[1] and sheet_table(sheet.name) in {None, table}
    ]
    shown = sorted(
        (sheet for sheet in keyed if sheet.visible),
        key=lambda sheet: sheet_table(sheet.name) is None,
    )
    if not shown:
        return _refused(name, HIDDEN if keyed else NO_KEY)
    read = _table(name, table, shown[0].lines)
    others = tuple(
        Refusal(f"{name} sheet {sheet.number}", SECOND_SHEET)
        for sheet in shown[1:]
        if _has_rows(sheet, table)
    )
    return replace(read, refusals=(*read.refusals, *others))


def _sheets(data: bytes) -> list[Sheet]:
    other = no_workbook(data)
    if other:
        raise WorkbookFault(other)
    return read_sheets(data)


def read_other_sheets(path: Path, table: str, name: str) -> list[CsvTable]:
    """The sheets of another table's workbook that are named as this table is.

    An example is "治疗" in patients.xlsx. Faults of the whole file are reported with its own table.
    """
    try:
        sheets = _sheets(read_table_file(path))
    except (OSError, WorkbookFault):
        return []
    return [
        _table(f"{name} sheet {sheet.number}", table, sheet.lines)
        for sheet in sheets
        if sheet.visible
        and sheet_table(sheet.name) == table
        and any(not line.is_empty for line in sheet.lines)
    ]


def _has_rows(sheet: Sheet, table: str) -> bool:
    place = _find(table, sheet.lines[:HEADER_WITHIN])[1]
    return place is not None and not all(line.is_empty for line in sheet.lines[place.header + 1 :])


def read_records(path: Path) -> list[Line]:
    """The lines of a text file, header first.

    They are found as `read_table` finds them, by the number of headers alone.

    Raises
    ------
    OSError, UnicodeDecodeError, TooLargeError
        Where it cannot be read.
    """
    data = read_table_file(path)
    check_amount(data)
    return text_lines(
        decoded(data), lambda lines: (0, Place(0, len(lines[0].cells), 0) if lines else None)
    )


def _meaning(table: str, cell: str) -> Header | None:
    return header_meaning(table, cell) or header_meaning("any", cell)


def _find(table: str, lines: Sequence[Line]) -> tuple[int, Place | None]:
    """The line of the header: the one with most known columns, the patient number among them."""
    best: tuple[int, Place | None] = (0, None)
    for index, line in enumerate(lines):
        meanings = (_meaning(table, cell) for cell in line.cells)
        columns = [meaning.column if meaning else "" for meaning in meanings]
        known = len(set(columns) - {""})
        if "patient_id" in columns and known > best[0]:
            best = known, Place(index, len(columns), columns.index("patient_id"))
    return best


def _headers(line: Line, rows: Sequence[Line], table: str, name: str) -> _Headers:
    found = _Headers()
    for position, cell in enumerate(line.cells):
        meaning = _meaning(table, cell)
        unit = header_unit(meaning) if meaning else ""
        if unit is None:
            found.refusals.append(Refusal(f"{name} header {position + 1}", OTHER_UNIT))
        elif meaning is None:
            if cell.strip() or any(
                len(row.cells) > position and row.cells[position] for row in rows
            ):
                found.refusals.append(Refusal(f"{name} header {position + 1}", UNKNOWN_HEADER))
        else:
            _settle(found, position, meaning.column, line.cells, table, name)
            if unit and found.columns.get(position) == meaning.column:
                found.units[meaning.column] = unit
    return found


def _settle(
    found: _Headers, position: int, column: str, cells: Sequence[str], table: str, name: str
) -> None:
    """Note a header; where its column is taken, the header of higher rank keeps it."""
    other = next((p for p, c in found.columns.items() if c == column), None)
    if other is None:
        found.columns[position] = column
        return
    better = _rank(table, cells[position]) < _rank(table, cells[other])
    loser = other if better else position
    if better:
        found.units.pop(column, None)
        del found.columns[other]
        found.columns[position] = column
    found.refusals.append(
        Refusal(
            f"{name} header {loser + 1}",
            f"header means {column}, as another does; the column is left out",
        )
    )


def _rank(table: str, header: str) -> int:
    from dagster_project.lake.vocabulary import word_key

    known = list(load_vocabulary().headers[table])
    key = word_key(header)
    return known.index(key) if key in known else len(known)


def _table(name: str, table: str, lines: Sequence[Line]) -> CsvTable:
    place = _find(table, lines[:HEADER_WITHIN])[1]
    if place is None:
        return CsvTable(
            name,
            refusals=(*_headers(lines[0], lines[1:], table, name).refusals, Refusal(name, NO_KEY)),
        )
    body = [line for line in lines[place.header + 1 :] if not line.is_empty]
    headers = _headers(lines[place.header], body, table, name)
    longest = max(place.width, min((len(line.cells) for line in body if not line.fault), default=0))
    rows, refusals = [], list(headers.refusals)
    for line in body:
        fault = line.fault or (
            TOO_LONG if len(line.cells) > longest or any(line.cells[place.width :]) else ""
        )
        if fault:
            refusals.append(Refusal(f"{name} row {line.number}", fault))
        else:
            rows.append(_row(line, headers.columns, name, refusals))
    return CsvTable(
        name, frozenset(headers.columns.values()), tuple(rows), tuple(refusals), headers.units
    )


def _row(line: Line, columns: Mapping[int, str], name: str, refusals: list[Refusal]) -> CsvRow:
    """The cells of a line by column.

    A cell that is part of a merged one, or a formula without a result, is empty and refused.
    """
    cells = {}
    for position, column in columns.items():
        text = line.cells[position] if position < len(line.cells) else ""
        merged = text and position in line.covered and column not in ROW_KEYS
        fault = MERGED if merged else ""
        if text == NOT_CALCULATED:
            fault = UNCALCULATED
        cells[column] = "" if fault else text
        if fault:
            refusals.append(Refusal(f"{name} row {line.number} column {column}", fault))
    return CsvRow(line.number, cells)
