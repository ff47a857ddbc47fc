"""Case-report files as sites write them: any delimiter, either encoding, headers in either language."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dagster_project.lake.vocabulary import header_meaning, header_unit, load_vocabulary

DELIMITERS = ",;\t"

IDENTIFYING = frozenset(load_vocabulary().headers["any"].values())
"""Columns that identify a person: searched for in what leaves, sealed in the crosswalk, stored in no table."""

OTHER_UNIT = (
    "states a unit that is not taken here, or a remark that could change the figures; lengths are in mm or cm, ages in years, "
    "PD-L1 is a TPS in percent. The column is left out")


@dataclass(frozen=True)
class Refusal:
    """What was refused of a case-report file: the place without a value, and why."""

    item: str
    reason: str


@dataclass(frozen=True)
class CsvRow:
    """One row: its number as a spreadsheet shows it (the header is row 1), and its cells by column."""

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

    _evidence: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def evidence(self, column: str, judge: Callable[[Iterable[str]], bool]) -> bool:
        """What all cells of a column say about how it is written, judged once."""
        if column not in self._evidence:
            self._evidence[column] = judge([row.cells.get(column, "") for row in self.rows])
        return self._evidence[column]

    def item(self, row: CsvRow, column: str = "") -> str:
        """Where something stands: `clinical/patients.csv row 7 column birth_date`."""
        return f"{self.name} row {row.number}" + (f" column {column}" if column else "")


@dataclass
class _Headers:
    columns: dict[int, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)


def read_csv_table(path: Path, table: str, name: str) -> CsvTable:
    """Read a file; one that cannot be read has no rows and a refusal, and never stops the others.

    1. UTF-8 with or without BOM, UTF-16 with BOM, else GB18030.
    2. Of comma, semicolon and tab the one that the header line has most of.
    3. Headers by the alias table of the vocabulary; an unknown one is refused by its number, since it could hold anything.
    4. Where two headers mean the same column, the one that the alias table names first.
    """
    try:
        lines = list(_records(_decoded(path.read_bytes())))
    except OSError:
        return CsvTable(name, refusals=(Refusal(name, "cannot be read; check the permissions"),))
    except UnicodeDecodeError:
        return CsvTable(name, refusals=(Refusal(name, "cannot be decoded; save it as UTF-8 or GB18030"),))
    except csv.Error:
        return CsvTable(name, refusals=(Refusal(name, "is not a CSV file; save it with comma, semicolon or tab"),))
    if not lines:
        return CsvTable(name, refusals=(Refusal(name, "is empty; deliver at least the header"),))
    headers = _headers(lines[0], lines[1:], table, name)
    if "patient_id" not in headers.columns.values():
        refusal = Refusal(name, "has no column of patient numbers (patient_id, 住院号); name it so")
        return CsvTable(name, refusals=(*headers.refusals, refusal))
    return _table(name, headers, lines)


def read_records(path: Path) -> list[list[str]]:
    """The cells of a file, header first, its encoding and delimiter found as `read_csv_table` finds them."""
    return list(_records(_decoded(path.read_bytes())))


def _decoded(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030")


def _records(text: str) -> Iterator[list[str]]:
    header = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    if "\0" in text:
        raise csv.Error
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)


def _headers(cells: Sequence[str], rows: Sequence[Sequence[str]], table: str, name: str) -> _Headers:
    found = _Headers()
    for position, cell in enumerate(cells):
        meaning = header_meaning(table, cell) or header_meaning("any", cell)
        unit = header_unit(meaning) if meaning else ""
        if unit is None:
            found.refusals.append(Refusal(f"{name} header {position + 1}", OTHER_UNIT))
        elif meaning is None:
            if cell.strip() or any(len(row) > position and row[position].strip() for row in rows):
                found.refusals.append(Refusal(f"{name} header {position + 1}", "header is not known; see dagster_project/lake/vocabulary.toml. The column is left out"))
        else:
            _settle(found, position, meaning.column, cells, table, name)
            if unit and found.columns.get(position) == meaning.column:
                found.units[meaning.column] = unit
    return found


def _settle(found: _Headers, position: int, column: str, cells: Sequence[str], table: str, name: str) -> None:
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
    found.refusals.append(Refusal(f"{name} header {loser + 1}", f"header means {column}, as another does; the column is left out"))


def _rank(table: str, header: str) -> int:
    from dagster_project.lake.vocabulary import word_key

    known = list(load_vocabulary().headers[table])
    key = word_key(header)
    return known.index(key) if key in known else len(known)


def _table(name: str, headers: _Headers, lines: list[list[str]]) -> CsvTable:
    rows, refusals = [], list(headers.refusals)
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue
        if any(cell.strip() for cell in line[len(lines[0]):]):
            refusals.append(Refusal(f"{name} row {number}", "has more cells than the header; a delimiter in a text must be quoted"))
            continue
        rows.append(CsvRow(number, {column: line[p].strip() if p < len(line) else "" for p, column in headers.columns.items()}))
    return CsvTable(name, frozenset(headers.columns.values()), tuple(rows), tuple(refusals), headers.units)
