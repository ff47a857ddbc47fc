"""Case-report data as REDCap exports them: CSV of the menu, CSV, JSON and XML of its API, flat or one value per row."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dagster_project.intake.case_values import plain, whole
from dagster_project.intake.csv_tables import (
    TOO_LONG,
    UNKNOWN_HEADER,
    CsvTable,
    Refusal,
    read_records,
)
from dagster_project.intake.exchange_rows import (
    CODE,
    MISSING_CODE,
    OTHER_SITES,
    Cell,
    Entry,
    is_missing_code,
    lay_out,
    occasion,
    of_this_site,
    options,
    refused_whole,
    tables,
)
from dagster_project.intake.file_kinds import other_kind
from dagster_project.intake.redcap_dates import Order, date_order, in_order
from dagster_project.intake.redcap_dictionary import (
    NO_EXPORT,
    OTHER_PROJECT,
    SEVERAL,
    Definition,
    Dictionary,
    choose,
    read_dictionary,
)
from dagster_project.lake.vocabulary import word_key

CANNOT_BE_READ = "cannot be read; export it as CSV (labels) in UTF-8"
NO_RECORDS = "holds no records of REDCap; export them anew as CSV (labels)"
NO_RECORD_ID = "has no column record_id; export it with the record identifier"
NO_KEY = "has no record_id; the row is left out"
CHECKBOX = "is one box of a multiple choice and no value; ask the question with one answer. The column is left out"
BOX = "is one box of a multiple choice and no value; ask the question with one answer. The cell is left out"
NOT_A_CHOICE = "is none of the answers that the data dictionary has for its field; correct it, or deliver the dictionary of this project. The cell is left out"

_LABELS = {
    "recordid": "record_id",
    "eventname": "redcap_event_name",
    "repeatinstrument": "redcap_repeat_instrument",
    "repeatinstance": "redcap_repeat_instance",
    "dataaccessgroup": "redcap_data_access_group",
    "surveyidentifier": "redcap_survey_identifier",
    "surveytimestamp": "redcap_survey_timestamp",
}
"""REDCap's own columns in an export whose headers are labels."""

_STATES = {
    "0": "raw",
    "1": "raw",
    "2": "raw",
    "incomplete": "labels",
    "unverified": "labels",
    "complete": "labels",
}
_BOXES = {"0": "raw", "1": "raw", "unchecked": "labels", "checked": "labels"}
_RAW_EVENT = re.compile(r"[a-z0-9_]+_arm_\d+[a-z]?")
_WORDS = frozenset({"sex", "stage", "smoking", "histology", "egfr", "alk", "consent"})
_ITSELF_MISSING = frozenset({66.0, 77.0, 88.0, 97.0, 98.0, 99.0})
_FIGURE = re.compile(r"\d{2,3}(\.\d+)?")


@dataclass
class _Sheet:
    """An export as rows: its name, its headers with the place of each, its rows, and what could not be read."""

    name: str
    headers: list[str] = field(default_factory=list)
    places: dict[int, str] = field(default_factory=dict)
    rows: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def column(self, position: int) -> Iterator[str]:
        """The texts of a column."""
        return (cells[position] for _, cells in self.rows if position < len(cells))


@dataclass(frozen=True)
class _Field:
    """A column of an export: its names, its form, its definition, whether a digit in it may be a code, how its dates are written."""

    names: tuple[str, ...]
    position: int
    definition: Definition | None = None
    doubtful: bool = False
    order: Order = Order.YEAR_FIRST


def read_redcap(
    files: Mapping[str, Path], dictionaries: Mapping[str, Path] | None = None, site: str = ""
) -> dict[str, list[CsvTable]]:
    """Exports of a REDCap project: a row per record, event or repeat of an instrument.

    1. The first column is the record's identifier, where the file shows that it is REDCap's (its own columns, its dictionary).
    2. A field is known by its name, else by the label that the dictionary gives it; of headers that are labels the other way round.
    3. A dictionary counts where it knows every field and form of the export; another one is named and not used.
    4. A code is the answer that the dictionary has for it. Without a dictionary, and where nothing shows that the file holds labels,
       a digit in a column of answers is refused.
    5. Codes for missing values are empty cells, named once a column.
    6. Day first or month first is read where the dictionary's validation says so and no cell of the column contradicts it.
    7. Of several data access groups the records of this site's own.
    8. Rows of all files are laid out together (exchange_rows.py), since a project may be exported a file an instrument.

    `files` and `dictionaries` by their names here.
    """
    sheets, refusals = _sheets(files)
    known, unread = _dictionaries(dictionaries or {})
    refusals += unread
    used: set[str] = set()
    entries: list[Entry] = []
    for sheet in sheets:
        entries += _entries(sheet, known, used, refusals, site)
    refusals += [
        Refusal(d.name, OTHER_PROJECT if sheets else NO_EXPORT) for d in known if d.name not in used
    ]
    if not sheets:
        first = refusals[0] if refusals else Refusal("clinical", NO_RECORDS)
        made = refused_whole(first.item, first.reason)
        made["patients"] = [CsvTable(first.item, refusals=tuple(refusals))]
        return made
    found = lay_out(entries)
    return tables(found, [sheet.name for sheet in sheets], [*refusals, *found.refusals])


def _dictionaries(files: Mapping[str, Path]) -> tuple[list[Dictionary], list[Refusal]]:
    found, refusals = [], []
    for name, path in files.items():
        try:
            found.append(read_dictionary(name, path))
        except ValueError as fault:
            refusals.append(Refusal(name, str(fault)))
    return found, refusals


# ── The file as rows ──


def _sheets(files: Mapping[str, Path]) -> tuple[list[_Sheet], list[Refusal]]:
    sheets, refusals = [], []
    for name, path in files.items():
        try:
            sheet = _one_value_a_row(_read(name, path))
        except (OSError, UnicodeDecodeError):
            refusals.append(Refusal(name, CANNOT_BE_READ))
        except ValueError as fault:
            refusals.append(Refusal(name, str(fault)))
        else:
            sheets.append(sheet)
            refusals += sheet.refusals
    return sheets, refusals


def _read(name: str, path: Path) -> _Sheet:
    data = path.read_bytes()
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if path.suffix.lower() == ".json" or start.startswith((b"[{", b"[]", b'{"')):
        return _of_items(name, _json_items(data))
    if path.suffix.lower() == ".xml":
        return _of_items(name, _xml_items(data))
    other = other_kind(data)
    if other:
        raise ValueError(other)
    sheet = _Sheet(name)
    lines = read_records(path)
    sheet.headers = list(lines[0].cells) if lines else []
    sheet.places = {n: f"{name} header {n + 1}" for n in range(len(sheet.headers))}
    for line in lines[1:]:
        fault = line.fault or (TOO_LONG if any(line.cells[len(sheet.headers) :]) else "")
        if fault:
            sheet.refusals.append(Refusal(f"{name} row {line.number}", fault))
        elif not line.is_empty:
            sheet.rows.append((line.number, line.cells))
    return sheet


def _json_items(data: bytes) -> list[dict[str, str]]:
    try:
        items = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(NO_RECORDS) from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError(NO_RECORDS)
    return [{str(key): _text(value) for key, value in item.items()} for item in items]


def _text(value: Any) -> str:
    return "" if value is None else plain(value if isinstance(value, str) else json.dumps(value))


def _xml_items(data: bytes) -> list[dict[str, str]]:
    if b"<!DOCTYPE" in data.replace(b"\0", b""):
        raise ValueError(NO_RECORDS)
    try:
        root = ET.fromstring(data)  # noqa: S314 - no document type, so no entity is defined and nothing outside is read
    except (ET.ParseError, ValueError) as error:
        raise ValueError(NO_RECORDS) from error
    if root.tag != "records":
        raise ValueError(NO_RECORDS)
    return [{child.tag: (child.text or "").strip() for child in item} for item in root]


def _of_items(name: str, items: Sequence[Mapping[str, str]]) -> _Sheet:
    """Records of the API, counted from 1; its fields in the order in which they come."""
    headers = list(dict.fromkeys(key for item in items for key in item))
    sheet = _Sheet(name, headers, {n: f"{name} field {n + 1}" for n in range(len(headers))})
    if not headers:
        raise ValueError(NO_RECORDS)
    sheet.rows = [
        (n, tuple(item.get(header, "") for header in headers))
        for n, item in enumerate(items, start=1)
    ]
    return sheet


def _one_value_a_row(sheet: _Sheet) -> _Sheet:
    """The same with a row per record, event and instance, where it has one value per row; of a field with several the values are boxes."""
    if not {"record", "field_name", "value"} <= set(sheet.headers):
        return sheet
    at = {header: n for n, header in enumerate(sheet.headers)}
    keys = [
        key
        for key in (
            "record",
            "redcap_event_name",
            "redcap_repeat_instrument",
            "redcap_repeat_instance",
        )
        if key in at
    ]
    made: dict[tuple[str, ...], dict[str, str]] = {}
    numbers: dict[tuple[str, ...], int] = {}
    first: dict[str, int] = {}
    for number, cells in sheet.rows:
        own = (*cells, *[""] * (len(sheet.headers) - len(cells)))
        key = tuple(own[at[k]] for k in keys)
        name, value = own[at["field_name"]], own[at["value"]]
        row = made.setdefault(key, {})
        name = f"{name}___" if row.get(name, value) != value else name
        row.setdefault(name, value)
        numbers.setdefault(key, number)
        first.setdefault(name, number)
    headers = ["record_id", *keys[1:], *(name for name in first if name != "record_id")]
    rows = [
        (numbers[key], (*key, *(made[key].get(name, "") for name in headers[len(keys) :])))
        for key in made
    ]
    places = {
        n: f"{sheet.name} row {first[name]}" for n, name in enumerate(headers) if name in first
    }
    return _Sheet(sheet.name, headers, places, rows, sheet.refusals)


# ── What its columns mean ──


def _entries(
    sheet: _Sheet, known: Sequence[Dictionary], used: set[str], refusals: list[Refusal], site: str
) -> list[Entry]:
    own = [_own_name(header) for header in sheet.headers]
    fields = [n for n, header in enumerate(own) if not _is_redcaps(header)]
    dictionary = _dictionary(own, fields, known, used, refusals)
    key = _key(own, dictionary)
    if key is None:
        refusals.append(Refusal(sheet.name, NO_RECORD_ID))
        return []
    found = _fields(sheet, [n for n in fields if n != key], dictionary)
    written = _written(sheet, own, found)
    found = [_settled(sheet, column, written) for column in found]
    unknown = [c for c in found if not options(c.names)]
    refusals += [
        Refusal(
            sheet.places[c.position],
            CHECKBOX if _is_box(sheet.headers[c.position]) else UNKNOWN_HEADER,
        )
        for c in unknown
    ]
    place = {header: n for n, header in reversed(list(enumerate(own)))}
    rows = [(number, cells) for number, cells in sheet.rows if len(cells) > key and cells[key]]
    refusals += [
        Refusal(f"{sheet.name} row {number}", NO_KEY)
        for number, cells in sheet.rows
        if not (len(cells) > key and cells[key])
    ]
    rows = _of_site(sheet, rows, key, place.get("redcap_data_access_group"), site, refusals)
    told: dict[int, str] = {}
    entries = [
        _entry(sheet, number, cells, key, place, found, written, told) for number, cells in rows
    ]
    refusals += [Refusal(item, MISSING_CODE) for item in told.values()]
    return entries


def _own_name(header: str) -> str:
    lower = header.lower()
    return _LABELS.get(
        word_key(header), lower if lower.startswith("redcap_") or lower == "record_id" else header
    )


def _is_redcaps(header: str) -> bool:
    lower = header.lower()
    return (
        lower.startswith("redcap_")
        or lower in {"record_id", "record"}
        or lower.endswith(("_complete", "_timestamp"))
        or word_key(header) == "complete?"
    )


def _is_box(header: str) -> bool:
    return "___" in header or "choice=" in header


def _dictionary(
    own: Sequence[str],
    fields: Sequence[int],
    known: Sequence[Dictionary],
    used: set[str],
    refusals: list[Refusal],
) -> Dictionary | None:
    forms = [header[: -len("_complete")] for header in own if header.lower().endswith("_complete")]
    found, several = choose(known, [own[n] for n in fields], forms)
    used |= {d.name for d in (*several, *([found] if found else []))}
    if found:
        used |= {d.name for d in known if d.explains([own[n] for n in fields], forms)}
    refusals += [Refusal(d.name, SEVERAL) for d in several]
    return found


def _key(own: Sequence[str], dictionary: Dictionary | None) -> int | None:
    """The column of the record's identifier: its own name, else the first one, where the file shows that it is of REDCap."""
    if "record_id" in own:
        return own.index("record_id")
    redcaps = any(_is_redcaps(header) for header in own)
    first = dictionary.fields[0] if dictionary else None
    is_first = (
        first is not None
        and own
        and (own[0].lower() == first.name or word_key(own[0]) == word_key(first.label))
    )
    return 0 if own and (redcaps or is_first) else None


def _fields(sheet: _Sheet, positions: Sequence[int], dictionary: Dictionary | None) -> list[_Field]:
    labels = dictionary.labels if dictionary else {}
    times = Counter(word_key(sheet.headers[n]) for n in positions)
    seen: Counter[str] = Counter()
    found = []
    for n in positions:
        header, label = sheet.headers[n], word_key(sheet.headers[n])
        same = labels.get(label, [])
        definition = dictionary.by_name.get(header.lower()) if dictionary else None
        if definition is None and len(same) == times[label]:
            definition = same[seen[label]]
        seen[label] += 1
        names = (header, definition.name, definition.label) if definition else (header,)
        found.append(_Field(tuple(dict.fromkeys(name for name in names if name)), n, definition))
    return found


def _written(sheet: _Sheet, own: Sequence[str], fields: Sequence[_Field]) -> str:
    """Whether the file holds codes ("raw") or words ("labels"); empty where nothing shows it.

    By the first of these that shows one of them alone: the states of its forms, boxes of multiple choices, answers that the dictionary
    knows as codes or as labels alone, names of events, words in columns of answers.
    """
    signs = (
        (
            _STATES.get(text.lower(), "")
            for n, h in enumerate(own)
            if h.lower().endswith("_complete") or word_key(h) == "complete?"
            for text in sheet.column(n)
        ),
        (
            _BOXES.get(text.lower(), "")
            for n, h in enumerate(own)
            if _is_box(h)
            for text in sheet.column(n)
        ),
        (_sign(f.definition, text) for f in fields for text in sheet.column(f.position)),
        (
            ("raw" if _RAW_EVENT.fullmatch(text) else "labels")
            for n, h in enumerate(own)
            if h == "redcap_event_name"
            for text in sheet.column(n)
            if text
        ),
        (
            ("raw" if whole(text).isdigit() else "labels")
            for f in fields
            if set(options(f.names).values()) & _WORDS
            for text in sheet.column(f.position)
            if text and not is_missing_code(text)
        ),
    )
    for found in signs:
        said = set(found) - {""}
        if len(said) == 1:
            return said.pop()
    return ""


def _sign(definition: Definition | None, text: str) -> str:
    if definition is None or definition.answers is None or not text:
        return ""
    code, label = whole(text) in definition.answers, text in definition.answers.values()
    return ("raw" if code else "labels") if code != label else ""


def _settled(sheet: _Sheet, column: _Field, written: str) -> _Field:
    texts = [text for text in sheet.column(column.position) if text]
    order = (
        date_order(texts, column.definition.validation) if column.definition else Order.YEAR_FIRST
    )
    doubtful = column.definition is None and written != "labels"
    if doubtful and "pd_l1_tps" in options(column.names).values():
        doubtful = not _are_figures(texts)
    return _Field(column.names, column.position, column.definition, doubtful, order)


def _are_figures(texts: Iterable[str]) -> bool:
    """True for a column with two figures or more that are too high for the code of an answer."""
    return (
        len(
            {float(text) for text in texts if _FIGURE.fullmatch(text) and float(text) > 20}
            - _ITSELF_MISSING
        )
        > 1
    )


def _of_site(
    sheet: _Sheet,
    rows: list[tuple[int, tuple[str, ...]]],
    key: int,
    group: int | None,
    site: str,
    refusals: list[Refusal],
) -> list[tuple[int, tuple[str, ...]]]:
    if group is None:
        return rows
    groups: dict[str, str] = {}
    for _, cells in rows:
        groups[cells[key]] = groups.get(cells[key]) or (cells[group] if group < len(cells) else "")
    own, reason = of_this_site(groups, site)
    if reason:
        refusals.append(Refusal(sheet.name, reason))
    return [] if reason == OTHER_SITES else [row for row in rows if row[1][key] in own]


def _entry(
    sheet: _Sheet,
    number: int,
    texts: Sequence[str],
    key: int,
    place: Mapping[str, int],
    fields: Sequence[_Field],
    written: str,
    told: dict[int, str],
) -> Entry:
    def own(name: str) -> str:
        return texts[place[name]] if name in place and place[name] < len(texts) else ""

    instrument, instance = own("redcap_repeat_instrument"), own("redcap_repeat_instance")
    happened = occasion(
        ([own("redcap_event_name")], "" if instrument else instance), ([instrument], instance)
    )
    cells = []
    for column in fields:
        text = texts[column.position] if column.position < len(texts) else ""
        if not text:
            continue
        cell = _cell(column, text, written)
        if cell is not None:
            cells.append(cell)
        elif options(column.names):
            told.setdefault(
                column.position,
                f"{sheet.name} row {number} column {next(iter(options(column.names).values()))}",
            )
    return Entry(
        sheet.name, number, texts[key], (instrument,) if instrument else (), happened, cells
    )


def _cell(column: _Field, text: str, written: str) -> Cell | None:
    """A cell in words; None for a code that stands for a missing value."""
    definition = column.definition
    if definition is not None and definition.type == "checkbox":
        return Cell(column.names, text, BOX)
    if definition is None or definition.answers is None:
        if is_missing_code(text):
            return None
        return Cell(column.names, *in_order(text, column.order), doubtful=column.doubtful)
    code = whole(text)
    if code not in definition.answers and text not in definition.answers.values():
        return None if is_missing_code(text) else Cell(column.names, text, NOT_A_CHOICE)
    if code not in definition.answers or (
        written == "labels" and text in definition.answers.values()
    ):
        return Cell(column.names, text)
    answer = definition.answers[code]
    unsure = written == "" and text in definition.answers.values() and answer != text
    return Cell(column.names, answer, CODE if unsure else "")
