"""Case-report data as REDCap exports them: CSV, JSON and XML, flat or one value per row."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dagster_project.intake.case_report.case_values import plain, whole
from dagster_project.intake.case_report.csv_tables import (
    TOO_LONG,
    UNKNOWN_HEADER,
    CsvTable,
    Refusal,
    read_records,
)
from dagster_project.intake.case_report.exchange_rows import (
    CODE,
    HIGHEST_CODE,
    MISSING_CODE,
    NAMES_DIFFER,
    OTHER_SITES,
    Cell,
    Entry,
    is_missing_code,
    lay_out,
    names_differ,
    occasion,
    of_this_site,
    options,
    tables,
)
from dagster_project.intake.case_report.file_kinds import other_kind
from dagster_project.intake.case_report.redcap_dates import Order, date_order, in_order
from dagster_project.intake.case_report.redcap_dictionary import (
    NO_EXPORT,
    OTHER_PROJECT,
    SEVERAL,
    Definition,
    Dictionary,
    choose,
    read_dictionary,
)
from dagster_project.intake.case_report.xml_files import XmlFault, parse_xml, short_text
from dagster_project.intake.opening import NotOpenedError, file_digest, read_table_file
from dagster_project.lake.vocabulary import word_key

CANNOT_BE_READ = "cannot be read; export it as CSV (labels) in UTF-8"
NO_RECORDS = "holds no records of REDCap; export them anew as CSV (labels)"
MOST_MARKS = 5_000_000
"""Values of a JSON file: each needs some hundred bytes of memory."""

TOO_MANY_VALUES = "holds more values than a case report can; export the records of this study alone"
NO_ROWS = "holds no records; export the records with it"
NO_RECORD_ID = "has no column record_id; export it with the record identifier"
NO_KEY = "has no record_id; the row is left out"
JOINED = (
    "has no patient numbers and is joined to the other export by its records; check that both are "
    "of one project, or deliver the data dictionary with them"
)
CHECKBOX = (
    "is one box of a multiple choice and no value; ask the question with one answer. The column "
    "is left out"
)
BOX = (
    "is one box of a multiple choice and no value; ask the question with one answer. The cell is "
    "left out"
)
NOT_A_CHOICE = (
    "is none of the answers that the data dictionary has for its field; correct it, or deliver "
    "the dictionary of this project. The cell is left out"
)

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
_HALF_CHARACTER = re.compile(r"[\ud800-\udfff]")


@dataclass
class _Sheet:
    """An export as rows: its headers with their places, its rows, and what could not be read."""

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
    """A column of an export: its names, its definition, what its cells say of how it is written."""

    names: tuple[str, ...]
    position: int
    definition: Definition | None = None
    doubtful: bool = False
    """True where a digit may be the code of an answer."""
    order: Order = Order.YEAR_FIRST

    @property
    def forms(self) -> tuple[str, ...]:
        """The form that the dictionary has it on."""
        return (self.definition.form,) if self.definition and self.definition.form else ()

    @property
    def column(self) -> str:
        """The column that it means in some table; empty where it means none."""
        return next(iter(options(self.names, self.forms).values()), "")


@dataclass
class _Project:
    """What is known of a project while its exports are read."""

    dictionaries: Sequence[Dictionary]
    used: set[str] = field(default_factory=set)
    groups: dict[str, str] = field(default_factory=dict)
    """The data access group of each record."""
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, item: str, reason: str) -> None:
        self.refusals.append(Refusal(item, reason))


def read_redcap(
    files: Mapping[str, Path], dictionaries: Mapping[str, Path] | None = None, site: str = ""
) -> dict[str, list[CsvTable]]:
    """Exports of a REDCap project: a row per record, event or repeat of an instrument.

    1. The first column is the record's identifier, where the file shows that it is REDCap's
       (its own columns, its dictionary).
    2. A field is known by its name and by the label that the dictionary gives it; where the two
       say different things it is left out.
    3. A dictionary counts where it knows every field and form of the export; another one is named
       and not used.
    4. A code is the answer that the dictionary has for it. Without a dictionary, and where nothing
       shows that the file holds labels, a digit in a column of answers is refused.
    5. Codes for missing values are empty cells, named once per column.
    6. Day first or month first is read where the dictionary's validation says so and no cell of the
       column contradicts it.
    7. Of several data access groups the records of this site's own.
    8. Rows of all files are laid out together (exchange_rows.py), since a project may be exported a
       file an instrument. A file without patient numbers that no dictionary joins to the others is
       named: it may be of another project.

    `files` and `dictionaries` by their names here.
    """
    sheets, refusals = _sheets(files)
    known, unread = _dictionaries(dictionaries or {})
    project = _Project(known, refusals=[*refusals, *unread])
    readings = [_Reading(sheet, project) for sheet in sheets]
    entries = [entry for reading in readings for entry in reading.entries()]
    for d in known:
        if d.name not in project.used:
            project.refuse(d.name, OTHER_PROJECT if sheets else NO_EXPORT)
    _name_doubtful_joins(readings, project)
    entries = _of_site(entries, project, site)
    found = lay_out(entries)
    refusals = [*project.refusals, *found.refusals]
    return tables(found, [sheet.name for sheet in sheets] or [refusals[0].item], refusals)


def _dictionaries(files: Mapping[str, Path]) -> tuple[list[Dictionary], list[Refusal]]:
    found, refusals = [], []
    for name, path in files.items():
        try:
            found.append(read_dictionary(name, path))
        except ValueError as fault:
            refusals.append(Refusal(name, str(fault)))
    return found, refusals


def _of_site(entries: list[Entry], project: _Project, site: str) -> list[Entry]:
    if not entries:
        return []
    groups = {**{entry.key: "" for entry in entries}, **project.groups}
    own, reason = of_this_site(groups, site)
    if reason:
        project.refuse(entries[0].file, reason)
    return [] if reason == OTHER_SITES else [entry for entry in entries if entry.key in own]


def _name_doubtful_joins(readings: Sequence[_Reading], project: _Project) -> None:
    numbered = [r for r in readings if any(f.column == "patient_id" for f in r.fields)]
    joined = {r.dictionary.name for r in numbered if r.dictionary}
    for reading in readings:
        known = reading.dictionary is not None and reading.dictionary.name in joined
        if numbered and reading not in numbered and reading.fields and not known:
            project.refuse(reading.sheet.name, JOINED)


# ── The file as rows ──


def _sheets(files: Mapping[str, Path]) -> tuple[list[_Sheet], list[Refusal]]:
    """The exports as rows, each content once."""
    sheets, refusals = [], []
    contents: set[str] = set()
    for name, path in files.items():
        digest = file_digest(path)
        if digest and digest in contents:
            continue
        contents.add(digest)
        try:
            sheet = _one_value_a_row(_read(name, path))
        except NotOpenedError as fault:
            refusals.append(Refusal(name, fault.reason))
        except UnicodeDecodeError:
            refusals.append(Refusal(name, CANNOT_BE_READ))
        except ValueError as fault:
            refusals.append(Refusal(name, str(fault)))
        else:
            sheets.append(sheet)
            refusals += sheet.refusals
    return sheets, refusals


def _read(name: str, path: Path) -> _Sheet:
    data = read_table_file(path)
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
    if sum(data.count(mark) for mark in (b"{", b"[", b":")) > MOST_MARKS:
        raise ValueError(TOO_MANY_VALUES)
    try:
        items = json.loads(data.decode("utf-8-sig"), parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise ValueError(NO_RECORDS) from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError(NO_RECORDS)
    return [{_text(key): _text(value) for key, value in item.items()} for item in items]


def _text(value: Any) -> str:
    """JSON can escape half of a character, which no text of ours may hold."""
    known = "" if value is None else value
    text = known if isinstance(known, str) else json.dumps(known)
    return plain(_HALF_CHARACTER.sub("\ufffd", short_text(text)))


def _xml_items(data: bytes) -> list[dict[str, str]]:
    try:
        root = parse_xml(data)
    except XmlFault as error:
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
    """The same with a row for each record, event and instance, where it has one value per row."""
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


def _own_name(header: str) -> str:
    lower = header.lower()
    return _LABELS.get(
        word_key(header), lower if lower.startswith("redcap_") or lower == "record_id" else header
    )


def _is_redcaps(header: str) -> bool:
    lower = header.lower()
    own = lower.startswith("redcap_") or lower in {"record_id", "record"}
    return own or lower.endswith(("_complete", "_timestamp")) or word_key(header) == "complete?"


def _is_box(header: str) -> bool:
    return "___" in header or "choice=" in header


class _Reading:
    """An export while it is read: its columns, its dictionary, whether it holds codes or labels."""

    def __init__(self, sheet: _Sheet, project: _Project) -> None:
        self.sheet, self.project = sheet, project
        self.own = [_own_name(header) for header in sheet.headers]
        self.place = {header: n for n, header in reversed(list(enumerate(self.own)))}
        asked = [n for n, header in enumerate(self.own) if not _is_redcaps(header)]
        self.dictionary = self._dictionary(asked)
        self.key = self._key()
        self.fields: list[_Field] = []
        if self.key is None:
            project.refuse(sheet.name, NO_RECORD_ID)
            return
        if not (sheet.rows or sheet.refusals):
            project.refuse(sheet.name, NO_ROWS)
        self.fields = self._fields([n for n in asked if n != self.key])
        self.written = self._written()
        self.fields = [self._settled(column) for column in self.fields]
        self._name_unknown()

    def entries(self) -> list[Entry]:
        """The rows that have a record."""
        if self.key is None:
            return []
        missing: dict[int, str] = {}
        found = []
        for number, texts in self.sheet.rows:
            if not _at(texts, self.key):
                self.project.refuse(f"{self.sheet.name} row {number}", NO_KEY)
                continue
            entry = self._entry(number, texts, missing)
            group = self._text(texts, "redcap_data_access_group")
            if group:
                self.project.groups.setdefault(entry.key, group)
            found.append(entry)
        self.project.refusals += [Refusal(item, MISSING_CODE) for item in missing.values()]
        return found

    def _dictionary(self, asked: Sequence[int]) -> Dictionary | None:
        forms = [
            h.removesuffix("_complete") for h in map(str.lower, self.own) if h.endswith("_complete")
        ]
        headers, known = [self.own[n] for n in asked], self.project.dictionaries
        found, several = choose(known, headers, forms)
        self.project.used |= {d.name for d in several}
        if found:
            self.project.used |= {d.name for d in known if d.explains(headers, forms)}
        for dictionary in several:
            self.project.refuse(dictionary.name, SEVERAL)
        return found

    def _key(self) -> int | None:
        """The column of the record's identifier: by its name, else the first one of REDCap."""
        own = self.own
        if "record_id" in own:
            return own.index("record_id")
        first = self.dictionary.fields[0] if self.dictionary else None
        is_first = first is not None and bool(own) and own[0].lower() == first.name
        is_label = first is not None and bool(own) and word_key(own[0]) == word_key(first.label)
        redcaps = any(_is_redcaps(header) for header in own)
        return 0 if redcaps or is_first or is_label else None

    def _fields(self, positions: Sequence[int]) -> list[_Field]:
        labels = self.dictionary.labels if self.dictionary else {}
        headers = self.sheet.headers
        times = Counter(word_key(headers[n]) for n in positions)
        seen: Counter[str] = Counter()
        found = []
        for n in positions:
            label = word_key(headers[n])
            same = labels.get(label, [])
            definition = (
                self.dictionary.by_name.get(headers[n].lower()) if self.dictionary else None
            )
            if definition is None and len(same) == times[label]:
                definition = same[seen[label]]
            seen[label] += 1
            names = (definition.name, definition.label) if definition else (headers[n],)
            found.append(_Field(tuple(name for name in names if name), n, definition))
        return found

    def _name_unknown(self) -> None:
        for column in self.fields:
            if column.column:
                continue
            box = _is_box(self.sheet.headers[column.position])
            differ = names_differ(column.names, column.forms)
            reason = NAMES_DIFFER if differ else UNKNOWN_HEADER
            if box:
                reason = CHECKBOX
            self.project.refuse(self.sheet.places[column.position], reason)

    def _written(self) -> str:
        """Whether the file holds codes ("raw") or words ("labels"); empty where nothing shows it.

        By the first of these that shows one of them alone: the states of its forms, boxes of
        multiple choices, answers that the dictionary knows as codes or as labels alone, names of
        events, words in columns of answers.
        """
        for signs in (
            self._states(),
            self._boxes(),
            self._answers(),
            self._events(),
            self._words(),
        ):
            answers = set(signs) - {""}
            if len(answers) == 1:
                return answers.pop()
        return ""

    def _texts(self, chosen: Callable[[str], bool]) -> Iterator[str]:
        columns = (n for n, header in enumerate(self.own) if chosen(header))
        return (text for n in columns for text in self.sheet.column(n) if text)

    def _states(self) -> Iterator[str]:
        texts = self._texts(lambda h: h.lower().endswith("_complete") or word_key(h) == "complete?")
        return (_STATES.get(text.lower(), "") for text in texts)

    def _boxes(self) -> Iterator[str]:
        return (_BOXES.get(text.lower(), "") for text in self._texts(_is_box))

    def _answers(self) -> Iterator[str]:
        return (
            _sign(f.definition, text) for f in self.fields for text in self.sheet.column(f.position)
        )

    def _events(self) -> Iterator[str]:
        texts = self._texts(lambda header: header == "redcap_event_name")
        return ("raw" if _RAW_EVENT.fullmatch(text) else "labels" for text in texts)

    def _words(self) -> Iterator[str]:
        columns = (f for f in self.fields if f.column in _WORDS)
        texts = (text for f in columns for text in self.sheet.column(f.position) if text)
        return ("raw" if whole(t).isdigit() else "labels" for t in texts if not is_missing_code(t))

    def _settled(self, column: _Field) -> _Field:
        texts = [text for text in self.sheet.column(column.position) if text]
        doubtful = column.definition is None and self.written != "labels"
        if doubtful and column.column == "pd_l1_tps":
            doubtful = not _are_figures(texts)
        validation = column.definition.validation if column.definition else ""
        return replace(column, doubtful=doubtful, order=date_order(texts, validation))

    def _text(self, texts: Sequence[str], name: str) -> str:
        return _at(texts, self.place[name]) if name in self.place else ""

    def _entry(self, number: int, texts: Sequence[str], missing: dict[int, str]) -> Entry:
        instrument = self._text(texts, "redcap_repeat_instrument")
        instance = self._text(texts, "redcap_repeat_instance")
        event = self._text(texts, "redcap_event_name")
        happened = occasion(([event], "" if instrument else instance), ([instrument], instance))
        cells = []
        for column in self.fields:
            text = _at(texts, column.position)
            cell = _cell(column, text, self.written) if text else None
            if cell is not None:
                cells.append(cell)
            elif text and column.column:
                place = f"{self.sheet.name} row {number} column {column.column}"
                missing.setdefault(column.position, place)
        forms = (instrument,) if instrument else ()
        key = _at(texts, self.key or 0)
        return Entry(self.sheet.name, number, key, forms, happened, cells)


def _at(texts: Sequence[str], position: int) -> str:
    return texts[position] if position < len(texts) else ""


def _sign(definition: Definition | None, text: str) -> str:
    if definition is None or definition.answers is None or not text:
        return ""
    code, label = whole(text) in definition.answers, text in definition.answers.values()
    if code == label:
        return ""
    return "raw" if code else "labels"


def _are_figures(texts: Iterable[str]) -> bool:
    """True for a column with two figures or more that are too high for the code of an answer."""
    figures = {float(text) for text in texts if _FIGURE.fullmatch(text)}
    return len({f for f in figures if f > HIGHEST_CODE} - _ITSELF_MISSING) > 1


def _cell(column: _Field, text: str, written: str) -> Cell | None:
    """A cell in words; None for a code that means a missing value."""
    definition = column.definition
    cell = Cell(column.names, text, forms=column.forms)
    if definition is not None and definition.type == "checkbox":
        return cell._replace(fault=BOX)
    if definition is None or definition.answers is None:
        if is_missing_code(text):
            return None
        text, fault = in_order(text, column.order)
        return cell._replace(text=text, fault=fault, doubtful=column.doubtful)
    return _answer(definition.answers, cell, written)


def _answer(answers: Mapping[str, str], cell: Cell, written: str) -> Cell | None:
    """The answer behind a code; None for a code that means a missing value."""
    text, code = cell.text, whole(cell.text)
    is_label = text in answers.values()
    if code not in answers and not is_label:
        return None if is_missing_code(text) else cell._replace(fault=NOT_A_CHOICE)
    if code not in answers or (is_label and written == "labels"):
        return cell
    unsure = written == "" and is_label and answers[code] != text
    return cell._replace(text=answers[code], fault=CODE if unsure else "")
