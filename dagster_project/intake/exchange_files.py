"""Case-report data as study databases export them, REDCap CSV and CDISC ODM 1.3 XML, laid out like the three CSV files of the landing contract."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dagster_project.intake.csv_tables import (
    IDENTIFYING,
    UNKNOWN_HEADER,
    WORKBOOKS,
    CsvRow,
    CsvTable,
    Refusal,
    read_other_sheets,
    read_records,
    read_table,
    table_files,
)
from dagster_project.intake.lines import Line
from dagster_project.lake.vocabulary import header_meaning, header_unit, word_key

REDCAP, ODM = "redcap.csv", "odm.xml"
"""Names of the two files in clinical/; both may lie beside the CSV files, which are read first."""

TABLES = ("patients", "treatments", "follow_up")
"""Tables that an item may belong to."""

_REDCAP_LABELS = {
    "recordid": "record_id", "eventname": "redcap_event_name", "repeatinstrument": "redcap_repeat_instrument", "repeatinstance": "redcap_repeat_instance",
    "dataaccessgroup": "redcap_data_access_group", "surveyidentifier": "redcap_survey_identifier", "surveytimestamp": "redcap_survey_timestamp",
}
"""Headers of an export whose headers are labels too."""

_PREFIXES = {"pt_": "patients", "dm_": "patients", "tx_": "treatments", "trt_": "treatments", "ex_": "treatments", "fu_": "follow_up"}
"""What a field's name may begin with, and the table that it says."""

_CODED = frozenset({"sex", "stage"})
"""Columns in which a digit has a meaning of its own in a CSV file; in an export of REDCap it is the code of an answer."""

_EVENT_CYCLE = re.compile(r"\bcycle[\s_]*(\d{1,2})(?!\d)|^c(\d{1,2})(?:d\d+)?(?=[\s_(]|$)|第\s*(\d{1,2})\s*(?:周期|疗程)|周期\s*(\d{1,2})(?!\d)")
_LARGEST_ODM = 512 * 1024 * 1024

CODE = "is the code of an answer; export REDCap with labels. The cell is left out"
TWICE = "is given twice in the row, differently; the cell is left out"
EITHER = "may be of a treatment or of a follow-up; name the field tx_… or fu_…. The cell is left out"
OTHER_CYCLE = "is another cycle than the event's name says; the cell is left out"
NOTHING_KNOWN = "has no field that is known; see dagster_project/lake/vocabulary.toml. The row is left out"
CHECKBOX = "is one box of a multiple choice and no value; ask the question with one answer. The column is left out"

Cells = Sequence[tuple[str, str]]
"""Item and text."""


class Entry(NamedTuple):
    """A row of an export (an ItemGroupData in ODM): its number, the key of its subject, the form and event that it is of, its cells."""

    number: int
    key: str
    form: str
    event: str
    cells: Cells


@dataclass
class _Found:
    """Rows of the forms by table, and what was refused."""

    rows: dict[str, list[CsvRow]] = field(default_factory=lambda: defaultdict(list))
    refusals: list[Refusal] = field(default_factory=list)


def clinical_tables(path: Path, table: str, name: str) -> list[CsvTable]:
    """A table of the case report from every file that holds it: the CSV file, workbooks, then REDCap's and ODM's beside it where it lies in clinical/.

    What a whole file is refused for is told once, with the patients.
    """
    found = [read_table(file, table, name.removesuffix(path.suffix) + file.suffix if name.endswith(path.suffix) else name) for file in table_files(path)]
    if table in TABLES[1:]:
        book = [path.with_name("patients" + ending) for ending in WORKBOOKS]
        found += [sheet for file in book if file.exists() for sheet in read_other_sheets(file, table, f"clinical/{file.name}")]
    if table in TABLES and path.parent.name == "clinical":
        found += [reader(file)[table] for file, reader in ((path.with_name(REDCAP), read_redcap), (path.with_name(ODM), read_odm)) if file.exists()]
    return found


def read_redcap(path: Path) -> dict[str, CsvTable]:
    """An export of REDCap with labels: a row a record, event or repeat of an instrument.

    1. The patient is `patient_id` (or another known header of patient numbers) of any row of the record, else the record's identifier.
    2. A field is known by its name as a CSV header is, also behind tx_, fu_ and the like, or behind its instrument's name.
    3. A row is taken apart by its filled fields: those of the patient, of a cycle, of a follow-up; so cycles and follow-up may be
       repeating instruments, repeating events or one event each, and may share a row. What may be of two tables goes where the rest of the row is.
    4. Without a field of its own the cycle is that of the event's name ("Cycle 3").
    5. The patient's fields of all rows of a record are one patient; where two say otherwise the first stands and the second is refused.
    6. A digit as sex or stage is the code of an answer, which only the project's dictionary could tell: refused.
    """
    name = f"clinical/{REDCAP}"
    try:
        lines = read_records(path)
    except (OSError, UnicodeDecodeError):
        return _refused(name, "cannot be read; export it as CSV (labels) in UTF-8")
    header = _redcap_header(lines)
    if "record_id" not in header:
        return _refused(name, "has no column record_id; export it with the record identifier")
    faults = [Refusal(f"{name} row {line.number}", line.fault) for line in lines if line.fault]
    rows = [line for line in lines[1:] if not line.fault and not line.is_empty]
    entries = [_redcap_entry(line, header) for line in rows]
    missing = [Refusal(f"{name} row {entry.number}", "has no record_id; the row is left out") for entry in entries if not entry.key]
    found = _lay_out(name, [entry for entry in entries if entry.key], coded=True)
    return _tables(name, found, [*_unknown_headers(name, header), *faults, *missing, *found.refusals])


def _redcap_header(lines: Sequence[Line]) -> list[str]:
    """The headers, REDCap's own under their names; the first column is the record's identifier in every export of events or repeats."""
    header = list(lines[0].cells) if lines else []
    own = [_REDCAP_LABELS.get(word_key(h), h.lower() if h.lower().startswith("redcap_") else h) for h in header]
    named = [h.lower() if h.lower() == "record_id" else h for h in own]
    if "record_id" not in named and any(h.startswith("redcap_") for h in named):
        named[0] = "record_id" if _column("patients", named[0], "") is None else named[0]
        named = named if named[0] == "record_id" else ["record_id", *named[1:]]
    return named


def _redcap_entry(line: Line, header: Sequence[str]) -> Entry:
    cells = list(zip(header, line.cells, strict=False))
    own = dict(reversed(cells))
    return Entry(line.number, own["record_id"], own.get("redcap_repeat_instrument", ""), own.get("redcap_event_name", ""), [c for c in cells if not _is_redcaps(c[0])])


def _is_redcaps(header: str) -> bool:
    return header.startswith("redcap_") or header == "record_id" or header.lower().endswith("_complete") or word_key(header) == "complete?"


def _unknown_headers(name: str, header: Sequence[str]) -> list[Refusal]:
    unknown = [(n, h) for n, h in enumerate(header, start=1) if not _is_redcaps(h) and not any(_column(table, h, "") for table in TABLES)]
    return [Refusal(f"{name} header {n}", CHECKBOX if "___" in h or "choice=" in h else UNKNOWN_HEADER) for n, h in unknown]


def _refused(name: str, reason: str) -> dict[str, CsvTable]:
    return {table: CsvTable(name, refusals=(Refusal(name, reason),) if table == "patients" else ()) for table in TABLES}


def _column(table: str, item: str, form: str) -> str | None:
    """Column that an item means in a table; a prefix of the form, or a customary one, does not count. None for one in a unit that is not taken."""
    plain = item.lower()
    prefixes = tuple(p for p in (f"{form.lower()}_", *_PREFIXES) if len(p) > 1 and plain.startswith(p))
    texts = [text.replace("_", " ") for text in (plain, *(plain.removeprefix(p) for p in prefixes))]
    meaning = next((m for text in texts if (m := header_meaning(table, text) or header_meaning("any", text))), None)
    return meaning.column if meaning and header_unit(meaning) is not None else None


def _lay_out(name: str, entries: Sequence[Entry], *, coded: bool) -> _Found:
    found, numbers = _Found(), _patient_numbers(entries)
    people: dict[str, CsvRow] = {}
    for entry in entries:
        number = {"patient_id": numbers.get(entry.key, entry.key)}
        parts = _parts(name, entry, found.refusals, coded=coded)
        if parts["patients"] or not entry.form:
            row = CsvRow(entry.number, {**parts["patients"], **number})
            people[entry.key] = _merged(people[entry.key], row, name, found.refusals) if entry.key in people else row
        for table in ("treatments", "follow_up"):
            if parts[table]:
                found.rows[table].append(CsvRow(entry.number, {**parts[table], **number}))
    found.rows["patients"] = list(people.values())
    return found


def _patient_numbers(entries: Iterable[Entry]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        for item, text in entry.cells:
            if text and _column("patients", item, entry.form) == "patient_id":
                found.setdefault(entry.key, text)
    return found


def _parts(name: str, entry: Entry, refusals: list[Refusal], *, coded: bool) -> dict[str, dict[str, str]]:
    """The filled cells of a row by table and column; what contradicts itself or may be of two tables is refused."""
    filled = [(item, text) for item, text in entry.cells if text]
    options = [_options(item, entry.form) for item, _ in filled]
    sure = {next(iter(option)) for option in options if len(option) == 1}
    parts: dict[str, dict[str, str]] = {table: {} for table in TABLES}
    refused: dict[tuple[str, str], str] = {}
    for option, (_, text) in zip(options, filled, strict=True):
        for table, column in _chosen(option, sure, options):
            if parts[table].setdefault(column, text) != text:
                refused[table, column] = TWICE
            elif coded and column in _CODED and text.isdigit():
                refused[table, column] = CODE
        if len(option) > 1 and not _chosen(option, sure, options):
            refused["follow_up", next(iter(option.values()))] = EITHER
    _add_cycle(parts["treatments"], entry.event, refused)
    refusals += [Refusal(f"{name} row {entry.number} column {column}", reason) for (_, column), reason in refused.items()]
    for table, column in refused:
        parts[table].pop(column, None)
    if filled and not any(options):
        refusals.append(Refusal(f"{name} row {entry.number}", NOTHING_KNOWN))
    return parts


def _options(item: str, form: str) -> dict[str, str]:
    """The tables that an item may be of, and its column there: one where its prefix says so or it identifies the person, none where it is not known."""
    columns = {table: column for table in TABLES if (column := _column(table, item, form))}
    if set(columns.values()) & (IDENTIFYING | {"patient_id"}):
        return {"patients": columns["patients"]} if "patients" in columns else {}
    said = next((table for prefix, table in _PREFIXES.items() if item.lower().startswith(prefix) and table in columns), None)
    return {said: columns[said]} if said else columns


def _chosen(option: Mapping[str, str], sure: set[str], options: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """The table of an item: its only one, else that of the row's other items, else the one that could hold most of them."""
    if len(option) < 2:
        return list(option.items())
    near = [table for table in option if table in sure]
    if len(near) == 1:
        return [(near[0], option[near[0]])]
    holds = {table: len({other[table] for other in options if table in other}) for table in option}
    most = [table for table in option if holds[table] == max(holds.values())]
    return [(most[0], option[most[0]])] if len(most) == 1 and not near else []


def _add_cycle(treatment: dict[str, str], event: str, refused: dict[tuple[str, str], str]) -> None:
    """The cycle of the event's name, where a treatment has none; one that is another is refused."""
    match = _EVENT_CYCLE.search(event.lower())
    if not treatment or match is None:
        return
    number = next(group for group in match.groups() if group)
    told = re.search(r"\d+", treatment.setdefault("cycle", number))
    if told and int(told[0]) != int(number):
        refused["treatments", "cycle"] = OTHER_CYCLE


def _merged(first: CsvRow, second: CsvRow, name: str, refusals: list[Refusal]) -> CsvRow:
    differing = [c for c, text in second.cells.items() if first.cells.get(c, text) != text]
    refusals += [Refusal(f"{name} row {second.number} column {c}", f"contradicts row {first.number} of the same patient; the first is used, correct one of them") for c in differing]
    return CsvRow(first.number, {**second.cells, **first.cells})


def _tables(name: str, found: _Found, refusals: Sequence[Refusal]) -> dict[str, CsvTable]:
    made = {}
    for table in TABLES:
        rows = found.rows[table]
        columns = frozenset({"patient_id"}.union(*(r.cells for r in rows)))
        full = tuple(CsvRow(r.number, {**dict.fromkeys(columns, ""), **r.cells}) for r in rows)
        made[table] = CsvTable(name, columns, full, tuple(refusals) if table == "patients" else ())
    return made


def read_odm(path: Path) -> dict[str, CsvTable]:
    """A CDISC ODM 1.3 file with clinical data: a row a subject, and a row an item group of treatments or follow-up.

    1. a document type declaration is refused: it may name other files, and ODM has none
    2. an item is known by the Name of its ItemDef, else by its OID, as a CSV header is; a coded value is its Decode
    3. an item group is a row of the table that its items fit best; those of patients are one row a subject
    4. the patient is an item that means the patient number, else the SubjectKey
    5. subjects, groups and items whose TransactionType is Remove are left out

    The number of a row is that of its ItemGroupData, counted from 1.
    """
    name = f"clinical/{ODM}"
    try:
        data = path.read_bytes()[:_LARGEST_ODM]
        if b"<!DOCTYPE" in data:
            return _refused(name, "has a document type declaration; export it as ODM 1.3 without one")
        root = ET.fromstring(data)  # noqa: S314 - no document type, so no entity is defined and nothing outside is read
    except OSError:
        return _refused(name, "cannot be read; check the permissions")
    except ET.ParseError:
        return _refused(name, "is not XML; export it as ODM 1.3")
    if _tag(root) != "ODM":
        return _refused(name, "is not an ODM file; export it as ODM 1.3")
    names = _item_names(root)
    entries = list(_item_groups(root, names))
    found = _lay_out(name, entries, coded=False)
    return _tables(name, found, [*_unknown_items(name, entries), *found.refusals])


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(element: ET.Element, tag: str) -> Iterator[ET.Element]:
    return (e for e in element.iter() if _tag(e) == tag)


@dataclass(frozen=True)
class _Items:
    """What the metadata say of items: their names, and the decoded values of coded ones."""

    names: Mapping[str, str]
    decodes: Mapping[str, Mapping[str, str]]


def _item_names(root: ET.Element) -> _Items:
    lists = {c.get("OID", ""): {i.get("CodedValue", ""): _decode(i) for i in _all(c, "CodeListItem")} for c in _all(root, "CodeList")}
    names, decodes = {}, {}
    for item in _all(root, "ItemDef"):
        oid = item.get("OID", "")
        names[oid] = item.get("Name", "")
        for ref in _all(item, "CodeListRef"):
            decodes[oid] = lists.get(ref.get("CodeListOID", ""), {})
    return _Items(names, decodes)


def _decode(item: ET.Element) -> str:
    return next(((t.text or "").strip() for t in _all(item, "TranslatedText")), item.get("CodedValue", ""))


def _item_groups(root: ET.Element, items: _Items) -> Iterator[Entry]:
    """Every item group that was not removed."""
    number = 0
    for subject in _all(root, "SubjectData"):
        for group in _all(subject, "ItemGroupData"):
            number += 1
            if "Remove" not in {subject.get("TransactionType"), group.get("TransactionType")}:
                cells = [cell for item in group if (cell := _item(item, items))]
                yield Entry(number, subject.get("SubjectKey", ""), group.get("ItemGroupOID", ""), "", cells)


def _item(element: ET.Element, items: _Items) -> tuple[str, str] | None:
    """Name and text of an ItemData or typed ItemData<Type>."""
    if not _tag(element).startswith("ItemData") or element.get("IsNull") == "Yes" or element.get("TransactionType") == "Remove":
        return None
    oid, text = element.get("ItemOID", ""), (element.get("Value") or element.text or "").strip()
    name = items.names.get(oid) or oid.rpartition(".")[2]
    return name, items.decodes.get(oid, {}).get(text, text)


def _unknown_items(name: str, entries: Sequence[Entry]) -> list[Refusal]:
    first: dict[str, int] = {}
    for entry in entries:
        for place, (item, _) in enumerate(entry.cells, start=1):
            if not any(_column(table, item, entry.form) for table in TABLES):
                first.setdefault(item, entry.number * 1000 + place)
    return [Refusal(f"{name} row {place // 1000} item {place % 1000}", "item is not known; see dagster_project/lake/vocabulary.toml. It is left out wherever it comes")
            for place in first.values()]
