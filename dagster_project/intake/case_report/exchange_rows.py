"""Rows of study databases, laid out as the CSV files of the delivery specification."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from dagster_project.intake.case_report.case_values import whole
from dagster_project.intake.case_report.csv_tables import IDENTIFYING, CsvRow, CsvTable, Refusal
from dagster_project.intake.identity.pseudonyms import canonical_number
from dagster_project.lake.vocabulary import (
    header_meaning,
    header_unit,
    load_vocabulary,
    sheet_table,
    word_key,
)

TABLES = ("patients", "treatments", "follow_up", "clinical_status")
"""Tables that an item may belong to."""

CODED = frozenset({"sex", "stage"})
"""Columns in which a digit, which means something in a CSV file, is the code of an answer."""

DOUBTFUL = CODED | {
    "smoking",
    "ecog",
    "histology",
    "egfr",
    "alk",
    "pd_l1_tps",
    "line",
    "prior_malignancy",
    "organ_dysfunction",
    "target_radiotherapy",
    "consent",
    "event",
    "detail",
    "new_symptoms",
    "clinically_stable",
}
"""Columns in which a digit may be the code of an answer, where nothing says that it is a figure."""

HIGHEST_CODE = 20
"""No list of answers for one of the columns above is longer; a figure above it is no code."""

_PREFIXES = {
    "pt_": "patients",
    "dm_": "patients",
    "tx_": "treatments",
    "trt_": "treatments",
    "ex_": "treatments",
    "fu_": "follow_up",
    "cs_": "clinical_status",
    "clinical_status_": "clinical_status",
}
"""What a field's name may begin with, and the table that it says."""

SHARED = frozenset({"patient_id", "date", "ecog"})
"""Columns of the clinical state that other tables have too.

Theirs is the field, but where its name or its form says otherwise.
"""

_CYCLE = (
    r"\bcycle[\s_]*(\d{1,2})(?!\d)|^c(\d{1,2})(?:d\d+)?(?=[\s_(]|$)"
    r"|第\s*(\d{1,2})\s*(?:周期|疗程)|周期\s*(\d{1,2})(?!\d)"
)
_EVENT_CYCLE = re.compile(_CYCLE)
_ANY_CYCLE = re.compile(r"(?<![a-z])(cycle|周期|疗程)s?(?![a-z])")
_DAY = re.compile(r"\d[\s_,]*(?:day|d)[\s_]*(\d{1,2})(?!\d)|第\s*(\d{1,2})\s*天")
_DIGITS = re.compile(r"\d{1,2}")

_NEGATIVE = re.compile(r"-(\d{1,2}|9{3,4}|8{3,4}|7{3,4}|6{3,4})(\.0+)?")
_MISSING_WORDS = frozenset({
    "NI", "INV", "UNK", "NASK", "ASKU", "NAV", "MSK", "NA", "NAVU", "NP", "QS", "QI", "TRC", "UNC",
    "DER", "PINF", "NINF", "No information", "Not asked", "Asked but unknown", "Masked",
    "Temporarily unavailable", "Not applicable", "Not available", "Unencoded",
})  # fmt: skip
"""Codes for a missing value that REDCap proposes (HL7 null flavours), and their labels.

OTH is none of them: another histology is a histology.
"""

CODE = "is the code of an answer; export REDCap with labels. The cell is left out"
TWICE = "is given twice in the row, differently; the cell is left out"
EITHER = (
    "may be of a treatment or of a follow-up; name the field tx_… or fu_…. The cell is left out"
)
OTHER_CYCLE = "is another cycle than the event's name says; the cell is left out"
NOTHING_KNOWN = (
    "has no field that is known; see dagster_project/lake/vocabulary.toml. The row is left out, "
    "and so are those of the same form"
)
MISSING_CODE = "holds a code for a missing value; it counts as empty, here and wherever it comes"
LATER_DAY = (
    "is a later day of a cycle that another row begins; the cycle is dated by its first day. "
    "This row is left out"
)
NAMES_DIFFER = (
    "is named as one thing and labelled as another; correct the name or the label. "
    "The column is left out"
)
CONTRADICTS = "contradicts row {row} of the same patient; the first is used, correct one of them"
OF_ALL_EVENTS = frozenset({"consent", "sex", "birth_date", "name", "id_card"})
"""What no later event may say otherwise: the events contradict each other as two rows do.

Of what may change (ECOG, say) the first event is the one before treatment.
"""
OTHER_NUMBER = (
    "is another patient number than row {row} of the same record has; the record is left out "
    "until one is corrected"
)
OTHER_SITES = (
    "holds the records of several sites (data access groups, locations), and none is named as this "
    "site's folder; export the records of this hospital alone"
)
OWN_SITE_ALONE = (
    "also holds records of other sites (data access groups, locations); they are left out"
)


class Cell(NamedTuple):
    """A filled field: its names, its text, why it is refused whatever it says, and its place."""

    names: tuple[str, ...]
    text: str
    fault: str = ""
    doubtful: bool = False
    """True where a digit may be the code of an answer."""
    row: int = 0
    file: str = ""
    forms: tuple[str, ...] = ()
    """The form that the field is of, where that is known for the field alone."""


class Entry(NamedTuple):
    """A row of an export: its place, the key of its subject, its forms and occasion, its cells."""

    file: str
    number: int
    key: str
    forms: tuple[str, ...]
    occasion: str
    cells: Sequence[Cell]

    def item(self, cell: Cell | None = None, column: str = "") -> str:
        """Its place: `clinical/redcap.csv row 7 column sex`."""
        file, number = (
            (cell.file or self.file, cell.row) if cell and cell.row else (self.file, self.number)
        )
        return f"{file} row {number}" + (f" column {column}" if column else "")


@dataclass
class _Person:
    file: str
    row: CsvRow


@dataclass
class Found:
    """Rows of the tables by file, and what was refused."""

    rows: dict[tuple[str, str], list[CsvRow]] = field(default_factory=lambda: defaultdict(list))
    refusals: list[Refusal] = field(default_factory=list)


def is_missing_code(text: str, own: Iterable[str] = ()) -> bool:
    """True for a code that means a missing value: the project's, REDCap's, or negative.

    No column of these tables has negative figures.

    >>> [is_missing_code(text, ["888"]) for text in ("-99", "NASK", "99", "888")]
    [True, True, False, True]
    """
    return text in own or text in _MISSING_WORDS or _NEGATIVE.fullmatch(text) is not None


def occasion(*named: tuple[Iterable[str], str]) -> str:
    """The name that says a cycle; where none has a number, that of the repeat of a "cycle".

    >>> occasion((["Baseline", "Cycle"], "3")), occasion((["cycle_2_arm_1"], "1"))
    ('#3', 'cycle_2_arm_1')
    """
    for names, _ in named:
        for name in names:
            if _EVENT_CYCLE.search(name.lower()):
                return name
    turns = (
        repeat
        for names, repeat in named
        if _DIGITS.fullmatch(repeat)
        and any(_ANY_CYCLE.search(name.lower().replace("_", " ")) for name in names)
    )
    return next((f"#{int(repeat)}" for repeat in turns), "")


def is_code(column: str, text: str, *, doubtful: bool) -> bool:
    """True for a digit that is, or may be, the code of an answer."""
    digits = whole(text)
    if not digits.isdecimal():
        return False
    low = len(digits) <= len(str(HIGHEST_CODE)) and int(digits) <= HIGHEST_CODE
    return column in CODED or (doubtful and column in DOUBTFUL and low)


@lru_cache(maxsize=8192)
def options(names: tuple[str, ...], forms: tuple[str, ...] = ()) -> Mapping[str, str]:
    """The tables that a field may be of, and its column there; empty where no name is known.

    1. One table where its prefix says so, or where it identifies the person.
    2. Of several names that are known, what they have in common; nothing where that is nothing.

    >>> options(("fu_date",)), options(("q12", "Sex"))
    ({'follow_up': 'date'}, {'patients': 'sex'})
    """
    known = [*filter(None, (_options(name, forms) for name in names))]
    return dict(set.intersection(*({*found.items()} for found in known))) if known else {}


def of_cell(cell: Cell, entry: Entry) -> Mapping[str, str]:
    """The tables that a cell may be of, and its column there."""
    return options(cell.names, (*cell.forms, *entry.forms))


def names_differ(names: tuple[str, ...], forms: tuple[str, ...] = ()) -> bool:
    """True for a field of which each of two names is known, and as another column.

    >>> names_differ(("date", "Date of birth")), names_differ(("tx_date", "Date"))
    (True, False)
    """
    known = any(_options(name, forms) for name in names)
    return known and not options(names, forms)


def _options(item: str, forms: tuple[str, ...]) -> dict[str, str]:
    named = ((table, _column(table, item, forms)) for table in TABLES)
    columns = {table: column for table, column in named if column}
    if columns.get("clinical_status") in SHARED and not _is_of_status(item, forms):
        del columns["clinical_status"]
    if set(columns.values()) & (IDENTIFYING | {"patient_id"}):
        return {"patients": columns["patients"]} if "patients" in columns else {}
    table = next(
        (
            table
            for prefix, table in _PREFIXES.items()
            if item.lower().startswith(prefix) and table in columns
        ),
        None,
    )
    return {table: columns[table]} if table else columns


def _is_of_status(item: str, forms: tuple[str, ...]) -> bool:
    """Whether the name of a field, or of its form, says that it is of the clinical state."""
    own = tuple(p for p, table in _PREFIXES.items() if table == "clinical_status")
    named = item.lower().replace(" ", "_").startswith(own)
    return named or any(sheet_table(form) == "clinical_status" for form in forms)


def _column(table: str, item: str, forms: tuple[str, ...]) -> str | None:
    """Column that an item means in a table; a prefix of its form, or a customary one, aside.

    None for one in a unit that is not taken.
    """
    plain = item.lower()
    prefixes = tuple(
        p
        for p in (*(f"{form.lower()}_" for form in forms), *_PREFIXES)
        if len(p) > 1 and plain.startswith(p)
    )
    texts = [text.replace("_", " ") for text in (plain, *(plain.removeprefix(p) for p in prefixes))]
    meanings = (header_meaning(table, text) or header_meaning("any", text) for text in texts)
    meaning = next(filter(None, meanings), None)
    return meaning.column if meaning and header_unit(meaning) is not None else None


def is_measure(cell_options: Mapping[str, str]) -> bool:
    """True for a field whose column is a figure with a unit."""
    return any(column in load_vocabulary().measures for column in cell_options.values())


def of_this_site(groups: Mapping[str, str], site: str) -> tuple[frozenset[str], str]:
    """The records that are this site's, of groups by record, and what is reported of the others.

    1. Records of one group, or of none, are all this site's.
    2. Of several groups those of the group that is named as the site's folder.
    3. Where none is, nobody can say which are this hospital's: none.
    """
    named = {group for group in groups.values() if group}
    if len(named) < 2:
        return frozenset(groups), ""
    own = frozenset(key for key, group in groups.items() if word_key(group) == word_key(site))
    return own, OWN_SITE_ALONE if own else OTHER_SITES


def lay_out(entries: Sequence[Entry]) -> Found:
    """The rows of the tables.

    1. The patient is a field of patient numbers in any row of the record, else the record's key;
       two such numbers in one record are refused.
    2. A row is taken apart by its filled fields: those of the patient, of a cycle, of a follow-up.
       What may be of two tables goes where the
       rest of the row is, else where the name of its form says.
    3. Without a field of its own the cycle is that of the occasion's name ("Cycle 3").
    4. The patient's fields of all rows of a record are one patient; where two say otherwise the
       first is used and the second is refused.
    5. A digit that is the code of an answer is refused.
    6. Of the days of one cycle ("Cycle 1 Day 8") the first that has a row is the cycle's.
    """
    found = Found()
    first_days = _first_days(entries)
    unknown: set[tuple[object, ...]] = set()
    numbers, refused = _patient_numbers(entries, found.refusals)
    people: dict[str, list[_Person]] = defaultdict(list)
    for entry in entries:
        if entry.key in refused:
            continue
        number = {"patient_id": numbers.get(entry.key, entry.key)}
        parts = _parts(entry, found.refusals, unknown)
        if parts["patients"].cells or not entry.forms:
            _add_person(people, entry, parts["patients"].row(number), found.refusals)
        for table in TABLES[1:]:
            if not parts[table].cells:
                continue
            if table == "treatments" and _day(entry) > first_days.get(_cycle_key(entry), 99):
                found.refusals.append(Refusal(entry.item(), LATER_DAY))
            else:
                found.rows[entry.file, table].append(parts[table].row(number))
    for person in chain.from_iterable(people.values()):
        found.rows[person.file, "patients"].append(person.row)
    return found


def _first_days(entries: Iterable[Entry]) -> dict[tuple[str, str], int]:
    """The first day of each cycle that is named with its day, by record and cycle."""
    found: dict[tuple[str, str], int] = {}
    for entry in entries:
        if _day(entry) and any("treatments" in of_cell(cell, entry) for cell in entry.cells):
            key = _cycle_key(entry)
            found[key] = min(found.get(key, 99), _day(entry))
    return found


def _cycle_key(entry: Entry) -> tuple[str, str]:
    match = _EVENT_CYCLE.search(entry.occasion.lower())
    return entry.key, next(filter(None, match.groups()), "") if match else ""


def _day(entry: Entry) -> int:
    """The day of its cycle that the name of an occasion says; 0 where it says none."""
    occasion = entry.occasion.lower()
    match = _DAY.search(occasion) if _EVENT_CYCLE.search(occasion) else None
    return int(next(filter(None, match.groups()))) if match else 0


def _patient_numbers(
    entries: Iterable[Entry], refusals: list[Refusal]
) -> tuple[dict[str, str], set[str]]:
    found: dict[str, tuple[str, int]] = {}
    refused: set[str] = set()
    for entry in entries:
        for cell in entry.cells:
            if not cell.text or cell.fault or of_cell(cell, entry).get("patients") != "patient_id":
                continue
            first, row = found.setdefault(entry.key, (cell.text, entry.number))
            if canonical_number(first) != canonical_number(cell.text) and entry.key not in refused:
                refused.add(entry.key)
                refusals.append(
                    Refusal(entry.item(cell, "patient_id"), OTHER_NUMBER.format(row=row))
                )
    return {key: text for key, (text, _) in found.items()}, refused


@dataclass
class _Part:
    """The cells of a row that are of one table."""

    number: int
    cells: dict[str, str] = field(default_factory=dict)

    def row(self, patient: Mapping[str, str]) -> CsvRow:
        return CsvRow(self.number, {**self.cells, **patient})


def _parts(
    entry: Entry, refusals: list[Refusal], unknown: set[tuple[object, ...]]
) -> dict[str, _Part]:
    """The filled cells of a row by table and column; what contradicts itself is refused."""
    filled = [cell for cell in entry.cells if cell.text or cell.fault]
    known = [of_cell(cell, entry) for cell in filled]
    parts = {table: _Part(entry.number) for table in TABLES}
    refused: dict[tuple[str, str], tuple[Cell | None, str]] = {}
    for option, cell in zip(known, filled, strict=True):
        chosen = _chosen(option, known, cell.forms, entry.forms)
        for table, column in chosen:
            _add_cell(parts[table], column, cell, entry, refused, table)
        if len(option) > 1 and not chosen:
            refused["follow_up", next(iter(option.values()))] = cell, EITHER
    _add_cycle(parts["treatments"].cells, entry.occasion, refused)
    refusals += [
        Refusal(entry.item(cell, column), reason) for (_, column), (cell, reason) in refused.items()
    ]
    for table, column in refused:
        parts[table].cells.pop(column, None)
    kind = entry.file, entry.forms, frozenset(cell.names for cell in filled)
    if filled and not any(known) and kind not in unknown:
        unknown.add(kind)
        refusals.append(Refusal(entry.item(filled[0]), NOTHING_KNOWN))
    return parts


def _add_cell(
    part: _Part,
    column: str,
    cell: Cell,
    entry: Entry,
    refused: dict[tuple[str, str], tuple[Cell | None, str]],
    table: str,
) -> None:
    if not part.cells:
        part.number = cell.row or entry.number
    if cell.fault:
        refused[table, column] = cell, cell.fault
    elif part.cells.setdefault(column, cell.text) != cell.text:
        refused[table, column] = cell, TWICE
    elif is_code(column, cell.text, doubtful=cell.doubtful):
        refused[table, column] = cell, CODE


def _chosen(
    option: Mapping[str, str],
    known: Sequence[Mapping[str, str]],
    own: tuple[str, ...],
    forms: tuple[str, ...],
) -> list[tuple[str, str]]:
    """The table of an item, of those that it may be of.

    1. Its only one.
    2. That of its own form, where the form's name says a table.
    3. That of the row's other items, where they are of one of these.
    4. That of the row's form.
    5. The one that could hold most of the row.
    """
    if len(option) < 2:
        return list(option.items())
    sure = {next(iter(other)) for other in known if len(other) == 1}
    near = [table for table in option if table in sure]
    table = _table_of(own, option) or (near[0] if len(near) == 1 else _table_of(forms, option))
    if table:
        return [(table, option[table])]
    holds = {t: len({other[t] for other in known if t in other}) for t in option}
    most = [table for table in option if holds[table] == max(holds.values())]
    return [(most[0], option[most[0]])] if len(most) == 1 and not near else []


def _table_of(forms: tuple[str, ...], option: Mapping[str, str]) -> str:
    named = (sheet_table(form) for form in forms)
    return next((table for table in named if table in option), None) or ""


def _add_cycle(
    treatment: dict[str, str], event: str, refused: dict[tuple[str, str], tuple[Cell | None, str]]
) -> None:
    """The cycle of the occasion, where a treatment has none; one that contradicts it is refused."""
    match = _EVENT_CYCLE.search(event.lower())
    if treatment and event.startswith("#"):
        treatment.setdefault("cycle", event[1:])
    if not treatment or match is None:
        return
    number = next(group for group in match.groups() if group)
    number_in_cell = re.search(r"\d+", treatment.setdefault("cycle", number))
    if number_in_cell and _without_zeros(number_in_cell[0]) != _without_zeros(number):
        refused["treatments", "cycle"] = None, OTHER_CYCLE


def _without_zeros(digits: str) -> str:
    """Digits of whatever script and length as one spelling of a number."""
    return "".join(str(unicodedata.decimal(d)) for d in digits).lstrip("0")


def _add_person(
    people: dict[str, list[_Person]], entry: Entry, row: CsvRow, refusals: list[Refusal]
) -> None:
    """One row per person, and one more of each event that says `OF_ALL_EVENTS` otherwise."""
    if not people[entry.key]:
        people[entry.key].append(_Person(entry.file, row))
        return
    first = people[entry.key][0].row
    differing = [c for c, text in row.cells.items() if first.cells.get(c, text) != text]
    refusals += [
        Refusal(f"{entry.file} row {row.number} column {c}", CONTRADICTS.format(row=first.number))
        for c in differing
        if c not in OF_ALL_EVENTS
    ]
    otherwise = {c: row.cells[c] for c in differing if c in OF_ALL_EVENTS}
    if otherwise:
        cells = {"patient_id": row.cells["patient_id"], **otherwise}
        people[entry.key].append(_Person(entry.file, CsvRow(row.number, cells)))
    people[entry.key][0].row = CsvRow(first.number, {**row.cells, **first.cells})


def tables(
    found: Found, files: Sequence[str], refusals: Sequence[Refusal]
) -> dict[str, list[CsvTable]]:
    """The tables of each file; what was refused of them all comes with the first one's patients."""
    made: dict[str, list[CsvTable]] = {table: [] for table in TABLES}
    named = frozenset(refusal.item for refusal in refusals)
    for file in files:
        for table in TABLES:
            rows = found.rows[file, table]
            columns = frozenset({"patient_id"}.union(*(r.cells for r in rows)))
            full = tuple(CsvRow(r.number, {**dict.fromkeys(columns, ""), **r.cells}) for r in rows)
            of_file = tuple(refusals) if table == "patients" and file == files[0] else ()
            made[table].append(CsvTable(file, columns, full, of_file, named=named))
    return made


def refused_whole(name: str, reason: str) -> dict[str, list[CsvTable]]:
    """No rows, and why."""
    return {
        table: [CsvTable(name, refusals=(Refusal(name, reason),) if table == "patients" else ())]
        for table in TABLES
    }
