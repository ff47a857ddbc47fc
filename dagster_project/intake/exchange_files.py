"""Case-report data as study databases export them, REDCap CSV and CDISC ODM 1.3 XML, laid out like the three CSV files of the landing contract."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dagster_project.intake.csv_tables import CsvRow, CsvTable, Refusal, read_csv_table, read_records
from dagster_project.lake.vocabulary import header_column

REDCAP, ODM = "redcap.csv", "odm.xml"
"""Names of the two files in clinical/; both may lie beside the CSV files, which are read first."""

TABLES = ("patients", "treatments", "follow_up")
"""Tables that a form may belong to; a form whose items fit several belongs to the first of them."""

_REDCAP_FIELDS = frozenset({"record_id", "redcap_event_name", "redcap_repeat_instrument", "redcap_repeat_instance", "redcap_data_access_group", "redcap_survey_identifier"})
_PREFIXES = ("pt_", "tx_", "trt_", "fu_", "dm_", "ex_")
_LARGEST_ODM = 512 * 1024 * 1024

Cells = dict[str, str]
FormOf = Callable[[Cells], str]
"""The form that cells come from; an empty text for what is a patient's."""

Entry = tuple[int, str, Cells]
"""Number of a row (of an ItemGroupData in ODM), key of its subject, item → text."""


@dataclass
class _Found:
    """Rows of the forms by table, and what was refused."""

    rows: dict[str, list[CsvRow]] = field(default_factory=lambda: defaultdict(list))
    refusals: list[Refusal] = field(default_factory=list)


def clinical_tables(path: Path, table: str, name: str) -> list[CsvTable]:
    """A table of the case report from every file that holds it: the CSV file, then REDCap's and ODM's beside it where it lies in clinical/.

    What a whole file is refused for is told once, with the patients.
    """
    found = [read_csv_table(path, table, name)] if path.exists() else []
    if table in TABLES and path.parent.name == "clinical":
        found += [reader(file)[table] for file, reader in ((path.with_name(REDCAP), read_redcap), (path.with_name(ODM), read_odm)) if file.exists()]
    return found


def read_redcap(path: Path) -> dict[str, CsvTable]:
    """An export of REDCap with labels: a row a record, event or repeat of an instrument.

    1. the patient is `patient_id` (or another known header of patient numbers) of any row of the record, else `record_id`
    2. a row of a repeating instrument is a row of the table that its filled fields fit best
    3. the other rows of a record are one patient; where two events say otherwise the first stands and the second is refused
    4. a field is known by its name as a CSV header is, also behind tx_, fu_ and the like, or behind its instrument's name
    """
    name = f"clinical/{REDCAP}"
    try:
        lines = read_records(path)
    except (OSError, UnicodeDecodeError, csv.Error):
        return _refused(name, "cannot be read; export it as CSV (labels) in UTF-8")
    if not lines or "record_id" not in (cell.strip().lower() for cell in lines[0]):
        return _refused(name, "has no column record_id; export it with the record identifier")
    header = [cell.strip() for cell in lines[0]]
    rows = [(n, dict(zip(header, (cell.strip() for cell in line), strict=False))) for n, line in enumerate(lines[1:], start=2)]
    key = next(h for h in header if h.lower() == "record_id")
    entries = [(n, cells[key], cells) for n, cells in rows if cells.get(key)]
    unknown = [Refusal(f"{name} header {n}", "header is not known; see dagster_project/lake/vocabulary.toml. The column is left out")
               for n, h in enumerate(header, start=1) if h.lower() not in _REDCAP_FIELDS and not h.lower().endswith("_complete") and not any(_column(t, h, "") for t in TABLES)]
    missing = [Refusal(f"{name} row {n}", "has no record_id; the row is left out") for n, cells in rows if any(cells.values()) and not cells.get(key)]
    found = _lay_out(name, entries, lambda cells: cells.get("redcap_repeat_instrument", ""))
    return _tables(name, found, [*unknown, *missing, *found.refusals])


def _refused(name: str, reason: str) -> dict[str, CsvTable]:
    return {table: CsvTable(name, refusals=(Refusal(name, reason),) if table == "patients" else ()) for table in TABLES}


def _column(table: str, item: str, form: str) -> str | None:
    """Column that an item means in a table; a prefix of the form, or a customary one, does not count."""
    plain = item.lower()
    prefixes = tuple(p for p in (f"{form.lower()}_", *_PREFIXES) if len(p) > 1 and plain.startswith(p))
    texts = [plain, *(plain.removeprefix(p) for p in prefixes)]
    return next((c for text in texts if (c := header_column(table, text.replace("_", " ")) or header_column("any", text.replace("_", " ")))), None)


def _lay_out(name: str, entries: Sequence[Entry], form_of: FormOf) -> _Found:
    found, numbers = _Found(), _patient_numbers(entries, form_of)
    people: dict[str, CsvRow] = {}
    for number, key, cells in entries:
        form = form_of(cells)
        table = _best_table(cells, form) if form else "patients"
        known = {c: text for item, text in cells.items() if text and (c := _column(table, item, form))}
        row = CsvRow(number, {**known, "patient_id": numbers.get(key, key)})
        if table == "patients":
            people[key] = _merged(people[key], row, name, found.refusals) if key in people else row
        elif len(row.cells) > 1:
            found.rows[table].append(row)
    found.rows["patients"] = list(people.values())
    return found


def _patient_numbers(entries: Iterable[Entry], form_of: FormOf) -> dict[str, str]:
    found: dict[str, str] = {}
    for _, key, cells in entries:
        for item, text in cells.items():
            if text and item.lower() not in _REDCAP_FIELDS and _column("patients", item, form_of(cells)) == "patient_id":
                found.setdefault(key, text)
    return found


def _best_table(cells: Mapping[str, str], form: str) -> str:
    """The table whose columns most of the filled items mean; the first of TABLES where several are equal."""
    filled = [item for item, text in cells.items() if text and item.lower() not in _REDCAP_FIELDS]
    return max(TABLES, key=lambda table: (len({_column(table, item, form) for item in filled} - {None}), -TABLES.index(table)))


def _merged(first: CsvRow, second: CsvRow, name: str, refusals: list[Refusal]) -> CsvRow:
    differing = [c for c, text in second.cells.items() if first.cells.get(c, text) != text]
    refusals += [Refusal(f"{name} row {second.number} column {c}", f"contradicts row {first.number} of the same patient; the first stands, correct one of them") for c in differing]
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
    groups = {id(cells): group for _, _, group, cells in entries}
    found = _lay_out(name, [(n, key, cells) for n, key, _, cells in entries], lambda cells: groups[id(cells)])
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


def _item_groups(root: ET.Element, items: _Items) -> Iterator[tuple[int, str, str, Cells]]:
    """Number, subject, group and items of every item group that was not removed."""
    number = 0
    for subject in _all(root, "SubjectData"):
        for group in _all(subject, "ItemGroupData"):
            number += 1
            if "Remove" not in {subject.get("TransactionType"), group.get("TransactionType")}:
                cells = dict(cell for item in group if (cell := _item(item, items)))
                yield number, subject.get("SubjectKey", ""), group.get("ItemGroupOID", ""), cells


def _item(element: ET.Element, items: _Items) -> tuple[str, str] | None:
    """Name and text of an ItemData or typed ItemData<Type>."""
    if not _tag(element).startswith("ItemData") or element.get("IsNull") == "Yes" or element.get("TransactionType") == "Remove":
        return None
    oid, text = element.get("ItemOID", ""), (element.get("Value") or element.text or "").strip()
    name = items.names.get(oid) or oid.rpartition(".")[2]
    return name, items.decodes.get(oid, {}).get(text, text)


def _unknown_items(name: str, entries: Sequence[tuple[int, str, str, Cells]]) -> list[Refusal]:
    first: dict[str, int] = {}
    for number, _, group, cells in entries:
        for place, item in enumerate(cells, start=1):
            if not any(_column(table, item, group) for table in TABLES):
                first.setdefault(item, number * 1000 + place)
    return [Refusal(f"{name} row {place // 1000} item {place % 1000}", "item is not known; see dagster_project/lake/vocabulary.toml. It is left out wherever it comes")
            for place in first.values()]
