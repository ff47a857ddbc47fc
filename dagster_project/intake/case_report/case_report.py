"""The case report: what a site wrote of its patients, normalised, shifted and pseudonymised.

Faults are named by place, never by value.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from dagster_project.intake.case_report import case_values as cv
from dagster_project.intake.case_report.chronology import (
    AFTER_CUT_OFF,
    CYCLES_LEFT_OUT,
    NO_CYCLE_1,
    Entry,
    cycles_left_out,
    find_contradictions,
)
from dagster_project.intake.case_report.csv_tables import (
    IDENTIFYING,
    WORKBOOKS,
    CsvRow,
    CsvTable,
    Refusal,
)
from dagster_project.intake.case_report.exchange_files import clinical_tables
from dagster_project.intake.case_report.reconciliation import Held, reconcile
from dagster_project.intake.dicom.dicom_writer import keyed_uid
from dagster_project.intake.dicom.identifiers import Needles, make_needles
from dagster_project.intake.dicom.text_allowlist import clean_label
from dagster_project.intake.identity.keys import Keys
from dagster_project.intake.identity.person import (
    CELL_OF_ANOTHER,
    NUMBER_OF_ANOTHER,
    ROW_OF_ANOTHER,
    Fact,
    Statement,
    differing,
    state,
)
from dagster_project.intake.identity.pseudonyms import (
    EXACT_DIGITS,
    ROUNDED,
    Crosswalk,
    canonical_number,
    is_pseudonym,
    is_rounded,
    number_fault,
    shift_days,
)
from dagster_project.intake.identity.session import Session
from dagster_project.intake.opening import LARGEST_LOCK, NotOpenedError, read_table_file
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import (
    CLINICAL_STATUS,
    CONTRADICTORY,
    FOLLOW_UP,
    PATIENTS,
    RECONCILIATION,
    TREATMENTS,
    Table,
)
from dagster_project.lake.vocabulary import is_missing

OLDEST_AGE_YEARS = 90
"""Given for everybody above 89."""

DAYS_A_YEAR = 365.25

LARGEST_DIAMETER_MM = 500.0

LENGTHS = frozenset({"ld_mm", "sa_mm"})

NO_ROW = "is missing; the row is left out"
NO_DATE = "is missing; the row counts as one on a day that is not known"
NOT_THE_SAME = "contradicts {other}; the cell is left out until one is corrected"
ROW_NOT_THE_SAME = "contradicts {other}; the row is left out until one is corrected"
CONSENT_CONTRADICTS = (
    "contradicts another row of the same patient number: "
    "consent is given in one and withdrawn in the other. "
    "Until one is corrected nothing of the patient is taken in, published or trained on, "
    "and nothing is deleted; "
    "if it is withdrawn, correct the row that says given, or run lakehouse withdraw"
)
SAYS_NOTHING = "has neither ecog, new_symptoms nor clinically_stable; the row is left out"
NOT_THE_SAME_DAY = (
    "contradicts {other}, of the same patient and day; both cells are left out until one is "
    "corrected"
)
NEXT_CT_BEFORE = "lies before the day of the decision; the cell is left out"
AGES_DIFFER = (
    "age and birth_date are more than a year apart at cycle 1; "
    "the age is left out until one of the two is corrected"
)

Parser = Callable[..., Any]

PATIENT_CELLS: Mapping[str, Parser] = {
    "sex": cv.parse_sex,
    "birth_date": cv.parse_date,
    "age": cv.parse_age,
    "smoking": cv.word_of("smoking", "never, former or current"),
    "ecog": cv.parse_ecog,
    "stage": cv.parse_stage,
    "histology": cv.word_of("histology", "adenocarcinoma, squamous_cell_carcinoma, …"),
    "egfr": cv.word_of("egfr", "mutant or wild_type"),
    "alk": cv.word_of("alk", "rearranged or negative"),
    "pd_l1_tps": cv.in_range(0, 100, cv.parse_proportion),
    "line": cv.parse_line,
    "regimen": cv.parse_drugs,
    "prior_malignancy": cv.parse_boolean,
    "organ_dysfunction": cv.parse_boolean,
    "target_radiotherapy": cv.parse_boolean,
    "consent": cv.word_of("consent", "given or withdrawn"),
}
TREATMENT_CELLS: Mapping[str, Parser] = {
    "cycle": cv.parse_cycle,
    "date": cv.parse_date,
    "drugs": cv.parse_drugs,
}
FOLLOW_UP_CELLS: Mapping[str, Parser] = {
    "date": cv.parse_date,
    "event": cv.word_of(
        "event", "alive, progression_clinical, death, new_therapy, lost or off_treatment"
    ),
    "detail": cv.word_of("detail", "a word of the study's list; free text is left out"),
}
CLINICAL_STATUS_CELLS: Mapping[str, Parser] = {
    "date": cv.parse_date,
    "ecog": cv.parse_ecog,
    "new_symptoms": cv.parse_boolean,
    "clinically_stable": cv.parse_boolean,
}
STATES = ("ecog", "new_symptoms", "clinically_stable")
"""Columns of the clinical state of a day."""

LESION_CELLS: Mapping[str, Parser] = {
    "visit_date": cv.parse_date,
    "series_uid": cv.plain,
    "lesion": cv.parse_label,
    "role": cv.word_of("role", "target, non_target or new"),
    "organ": cv.word_of("organ", "an organ of the study's list"),
    "node": cv.parse_boolean,
    "present": cv.parse_boolean,
    "too_small": cv.parse_boolean,
    "ld_mm": cv.in_range(0, LARGEST_DIAMETER_MM, cv.parse_length),
    "sa_mm": cv.in_range(0, LARGEST_DIAMETER_MM, cv.parse_length),
    "nontarget_state": cv.word_of("nontarget_state", "CR, NON_CR_NON_PD, PD or NE"),
    "unequivocal": cv.parse_boolean,
    "artifact": cv.parse_boolean,
    "roi": cv.parse_label,
}
ACCEPTED = "accepted_reader"

DEFINING = frozenset({"role", "organ", "node"})
"""Columns without which a row of lesions.csv does not say which diameter counts, and where."""

ARBITRATION_CELLS: Mapping[str, Parser] = {
    "accepted_reader": cv.parse_reader,
    "arbiter": cv.parse_reader,
    "decided_at": cv.parse_time,
}

BOARD_DECISION_CELLS: Mapping[str, Parser] = {
    "visit": cv.parse_visit,
    "date": cv.parse_date,
    "decision": cv.word_of(
        "decision", "continue, continue and rescan early, stop, change or other"
    ),
    "role": cv.word_of("decided_by", "a role of the study's list such as oncologist, never a name"),
    "page": cv.parse_page_code,
    "clinically_stable": cv.parse_boolean,
    "next_ct_date": cv.parse_date,
}

DECISION_FOLDERS = ("arbitration", "board")
"""Folders of a delivery that hold decisions; their tables may name a patient by pseudonym."""

_OF_DECISIONS = tuple(f"{folder}/" for folder in DECISION_FOLDERS)

CELLS_OF_FACT: Mapping[Fact, tuple[str, ...]] = {
    "birth_date": ("birth_date", "age"),
    "sex": ("sex",),
    "age": ("age", "birth_date"),
    "name": (),
}
"""Cells of patients.csv that state what an image states too."""

_TEXT, _DATE, _NUMBER, _BOOLEAN, _WHOLE = (
    pl.String(),
    pl.Date(),
    pl.Float64(),
    pl.Boolean(),
    pl.Int32(),
)
_TIME = pl.Datetime("us", "UTC")

LESIONS_SCHEMA: Mapping[str, pl.DataType] = {
    "site": _TEXT,
    "patient": _TEXT,
    "reader": _TEXT,
    "series_instance_uid": _TEXT,
    "visit_date": _DATE,
    "lesion": _TEXT,
    "role": _TEXT,
    "organ": _TEXT,
    "node": _BOOLEAN,
    "present": _BOOLEAN,
    "too_small": _BOOLEAN,
    "ld_mm": _NUMBER,
    "sa_mm": _NUMBER,
    "nontarget_state": _TEXT,
    "unequivocal": _BOOLEAN,
    "artifact": _BOOLEAN,
    "roi": _TEXT,
    "row_number": _WHOLE,
    "simulated": _BOOLEAN,
}
LOCKS_SCHEMA: Mapping[str, pl.DataType] = {"site": _TEXT, "reader": _TEXT, "locked_at": _TIME}
ARBITRATIONS_SCHEMA: Mapping[str, pl.DataType] = {
    "site": _TEXT,
    "patient": _TEXT,
    "accepted_reader": _TEXT,
    "arbiter": _TEXT,
    "decided_at": _TIME,
    "row_number": _WHOLE,
    "simulated": _BOOLEAN,
}
BOARD_DECISIONS_SCHEMA: Mapping[str, pl.DataType] = {
    "site": _TEXT,
    "patient": _TEXT,
    "visit": _TEXT,
    "decision_date": _DATE,
    "day": _WHOLE,
    "decision": _TEXT,
    "decided_by": _TEXT,
    "clinically_stable": _BOOLEAN,
    "next_ct_day": _WHOLE,
    "page_code": _TEXT,
    "row_number": _WHOLE,
    "simulated": _BOOLEAN,
}


@dataclass(frozen=True)
class PatientRow:
    """A patient of patients.csv: the row's number and its values."""

    number: int
    values: Mapping[str, Any]


@dataclass
class People:
    """Everybody of patients.csv, by pseudonym.

    `numbers` are in their canonical spelling, and empty for a pseudonym.
    """

    rows: dict[str, PatientRow] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict, repr=False)
    places: dict[str, str] = field(default_factory=dict)
    needles: dict[str, Needles] = field(default_factory=dict)
    disputed: dict[str, set[str]] = field(default_factory=dict)
    """Columns that were refused of a patient: no later row fills them."""
    withdrawn: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)
    """Whose consent is given in one row and withdrawn in another."""
    refusals: list[Refusal] = field(default_factory=list)
    of_another: dict[str, PatientRow] = field(default_factory=dict)
    """Rows that name another person than the images of their number."""


@dataclass(frozen=True)
class Tables:
    """The case report's frames by name, and what was refused of it."""

    frames: Mapping[str, pl.DataFrame]
    refusals: tuple[Refusal, ...]


def read_people(site_folder: Path, site: str, crosswalk: Crosswalk) -> People:
    """Read patients.csv, giving each patient a pseudonym.

    1. A row without patient number is refused.
    2. A second row of a patient that says the same is skipped, and fills what the first leaves
       blank; one that says otherwise is refused, and what the two disagree on is NULL: the first
       row alone would be a guess. Where they name two people, the age is unknown too.
    3. Whose consent is withdrawn in one row and anything else in another is held out, in whatever
       order the rows come.
    4. A cell that is not understood is refused by row and column and is NULL; the rest of the row
       goes on.
    """
    return people_of(people_tables(site_folder), site, crosswalk)


def people_tables(site_folder: Path) -> list[CsvTable]:
    """The tables that say who the patients are."""
    path = site_folder / "clinical" / "patients.csv"
    return clinical_tables(path, "patients", "clinical/patients.csv")


def people_of(
    tables: Sequence[CsvTable],
    site: str,
    crosswalk: Crosswalk,
    numbers: frozenset[str] | None = None,
) -> People:
    """The patients of these tables, in one transaction of the crosswalk.

    With `numbers` (canonical) those patients alone; see `read_people`.
    """
    people, forgotten = People(), crosswalk.withdrawn(site)
    rows = [
        (table, row)
        for table in tables
        for row in table.rows
        if numbers is None or canonical_number(row.cells["patient_id"]) in numbers
    ]
    for table in tables:
        people.refusals.extend(table.refusals)
    stated = [row.cells["patient_id"] for table, row in rows if not _fault(table, row)]
    with crosswalk.transaction(site, stated):
        for table, row in rows:
            _read_person(people, table, row, site, crosswalk, forgotten)
    return people


def _fault(table: CsvTable, row: CsvRow) -> str:
    return patient_id_fault(table, row.cells["patient_id"])


def _read_person(
    people: People,
    table: CsvTable,
    row: CsvRow,
    site: str,
    crosswalk: Crosswalk,
    forgotten: frozenset[str],
) -> None:
    number = row.cells["patient_id"]
    fault = _fault(table, row)
    if fault:
        people.refusals.append(
            Refusal(table.item(row, "patient_id"), f"{fault}; the row is left out")
        )
        return
    patient = crosswalk.find_or_create(site, number)
    parsed = parse_row(table, row, PATIENT_CELLS)
    identity = {column: row.cells.get(column, "") for column in ("name", "id_card")}
    first = people.rows.get(patient)
    people.refusals.extend(parsed.refusals)
    needles = make_needles(
        [
            number,
            canonical_number(number),
            row.cells.get("birth_date", ""),
            *(row.cells.get(c, "") for c in sorted(IDENTIFYING)),
        ]
    )
    if first is not None:
        people.needles[patient] = people.needles[patient].joined(needles)
        _compare(
            people,
            patient,
            first,
            PatientRow(row.number, {**identity, **parsed.values}),
            table,
            row,
        )
        return
    _note_consent(people, patient, parsed.values.get("consent"))
    people.disputed[patient] = {
        column
        for column in PATIENT_CELLS
        if column in table.columns and column not in parsed.values
    }
    people.numbers[patient] = canonical_number(number)
    people.places[patient] = table.item(row)
    people.rows[patient] = PatientRow(row.number, {**identity, **parsed.values})
    people.needles[patient] = needles
    if patient not in {*people.withdrawn, *forgotten}:
        crosswalk.remember(
            patient,
            {"name": row.cells.get("name", ""), "birth_date": row.cells.get("birth_date", "")},
        )


def patient_id_fault(table: CsvTable, number: str) -> str:
    """Why a cell names no patient; empty where it names one.

    1. Empty, or a word that says that the number is missing.
    2. A pseudonym names its patient in a table of decisions, and no patient elsewhere.
    3. What a spreadsheet made of a number so that it could be another's: scientific notation, zeros
       after the 15th digit. A number of 16 digits may end in a zero of its own: it counts where
       another of the file shows that such digits are kept.
    """
    if is_missing(number):
        return "is missing"
    if is_pseudonym(number) and table.name.startswith(_OF_DECISIONS):
        return ""
    return number_fault(number) or (
        ROUNDED if is_rounded(number) and not _keeps_digits(table, number) else ""
    )


def _keeps_digits(table: CsvTable, number: str) -> bool:
    if len(canonical_number(number)) > EXACT_DIGITS + 1:
        return False
    others = (canonical_number(row.cells["patient_id"]) for row in table.rows)
    return any(
        len(other) > EXACT_DIGITS and other.isdigit() and not is_rounded(other) for other in others
    )


def _compare(
    people: People,
    patient: str,
    first: PatientRow,
    second: PatientRow,
    table: CsvTable,
    row: CsvRow,
) -> None:
    """Compare a second row of a patient with the first.

    1. What the two say differently is NULL, and the second is refused: nobody but the site knows
       which is right.
    2. Else what the first leaves blank is filled, but for what was refused before.
    """
    added = {column: value for column, value in second.values.items() if value not in {None, ""}}
    if _contradicts_consent(people, patient, first, added.get("consent")):
        people.refusals.append(Refusal(table.item(row, "consent"), CONSENT_CONTRADICTS))
        people.unclear.add(patient)
        people.withdrawn.discard(patient)
    known = {column: value for column, value in first.values.items() if value not in {None, ""}}
    differing = [column for column in known if column in added and known[column] != added[column]]
    if not differing:
        _fill(people, patient, first, {c: v for c, v in added.items() if c not in known})
        return
    reason = (
        f"contradicts row {first.number} of the same patient number ({', '.join(differing)}); "
        "the row and these cells are left out until one is corrected"
    )
    people.refusals.append(Refusal(table.item(row), reason))
    identity = {"name", "id_card", "birth_date"} & set(differing)
    unknown = {*differing, *({"birth_date", "age"} if identity else ())}
    people.disputed[patient] |= unknown
    people.rows[patient] = PatientRow(
        first.number,
        {column: None if column in unknown else value for column, value in first.values.items()},
    )


def _fill(people: People, patient: str, first: PatientRow, added: Mapping[str, Any]) -> None:
    filled = {column: v for column, v in added.items() if column not in people.disputed[patient]}
    people.rows[patient] = PatientRow(first.number, {**first.values, **filled})
    _note_consent(people, patient, filled.get("consent"))


def _note_consent(people: People, patient: str, consent: str | None) -> None:
    if consent == "withdrawn" and patient not in people.unclear:
        people.withdrawn.add(patient)


def _contradicts_consent(
    people: People, patient: str, first: PatientRow, consent: str | None
) -> bool:
    """Whether one row says withdrawn and another something else.

    A cell that is not understood counts as something else.
    """
    known = first.values.get("consent")
    if consent is None or patient in people.unclear:
        return False
    if "consent" in people.disputed[patient] and not known:
        return consent == "withdrawn"
    return known is not None and known != consent


@dataclass
class Parsed:
    """What the cells of a row say, by column, and the cells that were refused."""

    values: dict[str, Any]
    refusals: list[Refusal]


def parse_row(table: CsvTable, row: CsvRow, cells: Mapping[str, Parser]) -> Parsed:
    """Read the cells of a row; a cell that is not understood is refused by its place.

    The other cells are used.
    """
    result = Parsed({}, [])
    for column in cells:
        if column not in table.columns:
            continue
        try:
            parsed = cv.parse_cell(row.cells[column], _parser(table, column, cells[column]))
        except cv.ValueFault as fault:
            result.refusals.append(
                Refusal(table.item(row, column), f"{fault}; the cell is left out")
            )
            continue
        result.values[column] = parsed.value
        if parsed.remark:
            result.refusals.append(Refusal(table.item(row, column), parsed.remark))
    return result


def _parser(table: CsvTable, column: str, parse: Parser) -> Parser:
    """The parser of a column, with the unit of its header and its other cells' notation."""
    if column in LENGTHS:
        parse = partial(
            parse,
            unit=table.units.get(column, ""),
            doubtful=table.evidence("ld_mm", cv.look_like_centimetres),
        )
    if column == "pd_l1_tps":
        return partial(parse, shares=table.evidence(column, cv.are_shares))
    if column == "sex":
        return partial(parse, coded=not table.evidence(column, cv.other_codes))
    return parse


_Stated = tuple[CsvTable, CsvRow, dict[str, Any]]
"""A row of a table, and what its cells say."""


@dataclass
class _Report:
    """The case report of one site while it is read."""

    site_folder: Path
    session: Session
    crosswalk: Crosswalk
    people: People
    vault_patients: Mapping[str, int]
    simulated: bool
    refusals: list[Refusal] = field(default_factory=list)
    strangers: list[tuple[str, str]] = field(default_factory=list, repr=False)

    @property
    def site(self) -> str:
        return self.session.site

    def shifted(self, patient: str, date: dt.date | None) -> dt.date | None:
        return date + dt.timedelta(days=shift_days(self.session.keys, patient)) if date else None

    def label(self, text: str | None) -> str | None:
        return (
            clean_label(text, key=self.session.keys.uid, target=self.session.target)
            if text
            else None
        )

    def refuse(self, item: str, reason: str) -> None:
        self.refusals.append(Refusal(item, reason))

    def patient_of(self, table: CsvTable, row: CsvRow) -> str | None:
        """The patient of a row, who is known from patients.csv or the images.

        None with a refusal where there is none; None too where consent is withdrawn or
        contradictory.
        """
        number = row.cells["patient_id"]
        fault = patient_id_fault(table, number)
        if fault:
            self.refuse(table.item(row, "patient_id"), f"{fault}; the row is left out")
            return None
        patient = number if is_pseudonym(number) else self.crosswalk.find(self.site, number)
        if patient in self.session.held_out:
            return None
        if patient in self.people.of_another and table.name.startswith("clinical/"):
            self.refuse(table.item(row, "patient_id"), NUMBER_OF_ANOTHER)
            return None
        if patient is None or (
            patient not in self.people.rows and patient not in self.vault_patients
        ):
            self.strangers.append(
                (table.item(row), "" if is_pseudonym(number) else canonical_number(number))
            )
            self.refuse(
                table.item(row, "patient_id"),
                "this patient is neither in patients.csv nor among the images; the row is left out",
            )
            return None
        return patient

    def rows(
        self,
        path: Path,
        table: str,
        name: str,
        cells: Mapping[str, Parser],
        required: tuple[str, ...],
        wanted: str = "",
    ) -> Iterable[tuple[CsvTable, CsvRow, str, dict[str, Any]]]:
        """Rows of a file with a known patient and every required cell.

        The others are refused. A `wanted` cell that is empty is named.
        """
        for content in clinical_tables(path, table, name):
            self.refusals.extend(content.refusals)
            yield from self._rows_of(content, cells, required, wanted)

    def _rows_of(
        self, content: CsvTable, cells: Mapping[str, Parser], required: tuple[str, ...], wanted: str
    ) -> Iterable[tuple[CsvTable, CsvRow, str, dict[str, Any]]]:
        for row in content.rows:
            patient = self.patient_of(content, row)
            if patient is None:
                continue
            parsed = parse_row(content, row, cells)
            self.refusals.extend(parsed.refusals)
            empty = {column for column in cells if parsed.values.get(column) is None}
            missing = [column for column in required if column in empty]
            named = {refusal.item for refusal in parsed.refusals} | content.named
            reasons = {
                **dict.fromkeys(missing, NO_ROW),
                **({wanted: NO_DATE} if not missing and wanted in empty else {}),
            }
            for column, reason in reasons.items():
                if content.item(row, column) not in named:
                    self.refuse(content.item(row, column), reason)
            if not missing:
                yield content, row, patient, {column: parsed.values.get(column) for column in cells}

    def agreed(
        self, same: Sequence[_Stated], defining: Collection[str] = ()
    ) -> dict[str, Any] | None:
        """What the rows of one key say together; nobody but the site knows which of two is right.

        A cell that is blank in one row is filled from another. Cells that differ are blank and
        named, each with a row that says otherwise. None where a `defining` column differs, without
        which the row says nothing: then the rows are named instead.
        """
        stated: dict[str, set[Any]] = defaultdict(set)
        for _, _, values in same:
            for column, value in values.items():
                stated[column] |= {value} - {None}
        differing = [column for column, found in stated.items() if len(found) > 1]
        if not set(defining).isdisjoint(differing):
            self._refuse_unlike(same, differing, "", ROW_NOT_THE_SAME)
            return None
        for column in differing:
            self._refuse_unlike(same, [column], column, NOT_THE_SAME)
        return {c: None if c in differing else next(iter(f), None) for c, f in stated.items()}

    def _refuse_unlike(
        self, same: Sequence[_Stated], differing: Sequence[str], column: str, reason: str
    ) -> None:
        """Name each row, or its cell, with the first row that says otherwise."""
        of_interest = itemgetter(*differing)
        said = [of_interest(values) for _, _, values in same]
        for (table, row, _), own in zip(same, said, strict=True):
            other, its_row, _ = same[next(n for n, one in enumerate(said) if one != own)]
            self.refuse(table.item(row, column), reason.format(other=other.item(its_row)))


def build_tables(
    site_folder: Path,
    session: Session,
    crosswalk: Crosswalk,
    people: People,
    vault_patients: Mapping[str, int],
    *,
    simulated: bool,
    image_numbers: Mapping[str, str] = MappingProxyType({}),
    image_persons: Mapping[str, Sequence[Statement]] = MappingProxyType({}),
) -> Tables:
    """Every table of the case report, de-identified.

    `vault_patients` are the objects that the vault holds, counted by patient.

    1. Dates that cannot be true (chronology.py) are refused by cell. The cycle or event stays, on a
       day that is not known, so that nothing takes the one before or after it for it.
    2. Dates are shifted by the patient's days; `day` counts from the date of cycle 1, where that is
       known.
    3. Age at cycle 1 from the birth date, else the age that was given; above 89 it is 90.
    4. A patient with images alone has a row of NULLs; one who withdrew keeps the row that says so,
       and nothing else.
    5. A row that names another person than the images of its number (`image_persons`) is left out
       with the rest of the case report of that number; a single contradicting cell is named.
    6. Whom rows and images do not name alike is listed (reconciliation.py); `image_numbers` are
       what images without a row bear.
    """
    report = _Report(site_folder, session, crosswalk, people, vault_patients, simulated)
    _compare_with_images(report, image_persons)
    cycles, events = (
        _written(report, "treatments", TREATMENT_CELLS, "cycle"),
        _written(report, "follow_up", FOLLOW_UP_CELLS, "event"),
    )
    states = _states(report)
    _judge_dates(report, cycles, [*events, *states])
    treatments = _joined(report, cycles, "drugs", lambda w: (w.patient, w.what))
    followed = _joined(report, events, "detail", lambda w: (w.patient, w.what, w.date))
    first_cycle = {r["patient"]: r["date"] for r in treatments if r["cycle"] == 1 and r["date"]}
    frames = {
        "patients": _frame(_patients(report, first_cycle), _table_schema(PATIENTS)),
        "treatments": _frame(
            [_dated(report, r, "treatment_date", first_cycle) for r in treatments],
            _table_schema(TREATMENTS),
        ),
        "follow_up": _frame(
            [_dated(report, r, "event_date", first_cycle) for r in _numbered(_telling(followed))],
            _table_schema(FOLLOW_UP),
        ),
        "clinical_status": _frame(
            [_dated(report, r, "status_date", first_cycle) for r in _of_each_day(report, states)],
            _table_schema(CLINICAL_STATUS),
        ),
        "lesions": _frame(_lesions(report), LESIONS_SCHEMA),
        "locks": _frame(_locks(report), LOCKS_SCHEMA),
        "arbitrations": _frame(_arbitrations(report), ARBITRATIONS_SCHEMA),
        "board_decisions": _frame(_board_decisions(report, first_cycle), BOARD_DECISIONS_SCHEMA),
    }
    frames["reconciliation"] = _frame(
        _reconciliation(report, image_numbers), _table_schema(RECONCILIATION)
    )
    return Tables(frames, (*people.refusals, *report.refusals))


def _compare_with_images(report: _Report, persons: Mapping[str, Sequence[Statement]]) -> None:
    """Compare each row of patients.csv with what the images of its number state."""
    for patient, row in list(report.people.rows.items()):
        stated = _stated_by_row(report.session.keys, patient, row.values)
        found = [differing(stated, image) for image in persons.get(patient, ())]
        facts = sorted({fact for wrong, _ in found for fact in wrong})
        place = report.people.places[patient]
        if any(another for _, another in found):
            report.refuse(place, ROW_OF_ANOTHER.format(facts=", ".join(facts)))
            report.people.of_another[patient] = report.people.rows.pop(patient)
        else:
            _name_cells(report, patient, facts)


def _name_cells(report: _Report, patient: str, facts: Sequence[Fact]) -> None:
    """Name the cells that contradict the images; the sheet is the source, so they are used."""
    row, place = report.people.rows[patient], report.people.places[patient]
    columns = {column for fact in facts for column in CELLS_OF_FACT[fact]}
    for column in sorted(columns):
        if row.values.get(column) is not None:
            report.refuse(f"{place} column {column}", CELL_OF_ANOTHER)


def _stated_by_row(keys: Keys, patient: str, values: Mapping[str, Any]) -> Statement:
    born, age = values.get("birth_date"), values.get("age")
    return state(
        keys,
        patient,
        name=values.get("name") or "",
        birth_date=born.isoformat() if born else "",
        sex=values.get("sex") or "",
        age="" if age is None else f"{age:03d}Y",
    )


def _reconciliation(report: _Report, image_numbers: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    people = report.people
    held = Held(
        report.site,
        people.numbers,
        people.places,
        report.vault_patients,
        image_numbers,
        report.strangers,
        report.session.held_out,
    )
    return [{**row, "simulated": report.simulated} for row in reconcile(held)]


def _table_schema(table: Table) -> Mapping[str, pl.DataType]:
    return {
        name: kind for name, kind in polars_schema(table).items() if name != "input_fingerprint"
    }


def _frame(rows: Iterable[Mapping[str, Any]], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    frame = pl.DataFrame(
        [{name: row.get(name) for name in schema} for row in rows], schema=dict(schema)
    )
    return frame.sort(
        [
            name
            for name in (
                "site",
                "patient",
                "reader",
                "status_date",
                "cycle",
                "number",
                "row_number",
                "finding",
                "item",
                "other_patient",
            )
            if name in schema
        ]
    )


@dataclass
class _Written:
    """A row of treatments or follow-up as the site wrote it; its date goes where it is refused."""

    patient: str
    place: str
    what: int | str
    date: dt.date | None
    values: dict[str, Any]

    @property
    def entry(self) -> Entry:
        return Entry(self.place, self.what, self.date or dt.date.max)


def _written(report: _Report, table: str, cells: Mapping[str, Parser], what: str) -> list[_Written]:
    """The rows of a file that say what happened; one without a date is named, and stays."""
    path, name = report.site_folder / "clinical" / f"{table}.csv", f"clinical/{table}.csv"
    rows = report.rows(path, table, name, cells, (what,), wanted="date")
    return [
        _Written(patient, content.item(row), values[what], values["date"], values)
        for content, row, patient, values in rows
    ]


def _states(report: _Report) -> list[_Written]:
    """The rows of visits.csv that say something; each proves that the patient was alive.

    A row without a date, or that says nothing, is refused.
    """
    path = report.site_folder / "clinical" / "visits.csv"
    rows = report.rows(
        path, "clinical_status", "clinical/visits.csv", CLINICAL_STATUS_CELLS, ("date",)
    )
    found = []
    for content, row, patient, values in rows:
        if all(values[column] is None for column in STATES):
            report.refuse(content.item(row), SAYS_NOTHING)
        else:
            place = content.item(row)
            found.append(_Written(patient, place, "alive", values["date"], values))
    return found


def _of_each_day(report: _Report, states: Sequence[_Written]) -> list[dict[str, Any]]:
    """One row per patient and day; what two rows of it say differently is left out, and named.

    A row whose date was refused is left out with it.
    """
    by_day: dict[tuple[str, dt.date], list[_Written]] = defaultdict(list)
    for one in states:
        if one.date is not None:
            by_day[one.patient, one.date].append(one)
    return [
        {"patient": patient, "date": date, **{c: _agreed(report, own, c) for c in STATES}}
        for (patient, date), own in by_day.items()
    ]


def _agreed(report: _Report, rows: Sequence[_Written], column: str) -> Any:
    """The value of a column in the rows of one day; None where they differ."""
    stated = [row for row in rows if row.values[column] is not None]
    differing = [row for row in stated if row.values[column] != stated[0].values[column]]
    if not differing:
        return stated[0].values[column] if stated else None
    for row, other in [(stated[0], differing[0]), *((row, stated[0]) for row in differing)]:
        report.refuse(f"{row.place} column {column}", NOT_THE_SAME_DAY.format(other=other.place))
    return None


def _judge_dates(report: _Report, cycles: Sequence[_Written], events: Sequence[_Written]) -> None:
    """Refuse the dates that cannot be true, by patient and cell.

    A patient without cycle 1, and cycles left out, are named.
    """
    of_cycles, of_events = _by_patient(cycles), _by_patient(events)
    for patient in dict.fromkeys([*of_cycles, *of_events]):
        own = of_cycles[patient], of_events[patient]
        dated, happened = ([w.entry for w in rows if w.date] for rows in own)
        found = find_contradictions(dated, happened, report.session.cut_off)
        for entry, reason in found.items():
            report.refuse(entry.cell, reason)
        for written in (*own[0], *own[1]):
            written.date = None if written.entry in found else written.date
        if own[0] and all(w.what != 1 for w in own[0]):
            report.refuse(min(own[0], key=lambda w: int(w.what)).place, NO_CYCLE_1)
        _report_cycles_left_out(report, own[0])


def _report_cycles_left_out(report: _Report, cycles: Sequence[_Written]) -> None:
    missing = cycles_left_out(int(w.what) for w in cycles)
    for written in cycles:
        if written.what in missing:
            report.refuse(written.place, CYCLES_LEFT_OUT.format(missing=missing[int(written.what)]))


def _by_patient(written: Iterable[_Written]) -> dict[str, list[_Written]]:
    found: dict[str, list[_Written]] = defaultdict(list)
    for one in written:
        found[one.patient].append(one)
    return found


def _joined(
    report: _Report, written: Iterable[_Written], column: str, key: Callable[[_Written], tuple]
) -> list[dict[str, Any]]:
    """One row of each key; what two rows of it say differently is left out, and named."""
    found: dict[tuple, tuple[_Written, dict[str, Any]]] = {}
    for one in written:
        first, row = found.setdefault(
            key(one), (one, {**one.values, "patient": one.patient, "date": one.date})
        )
        row["date"] = row["date"] or one.date
        if first.values[column] is not None and one.values[column] not in {
            first.values[column],
            None,
        }:
            report.refuse(f"{one.place} column {column}", NOT_THE_SAME.format(other=first.place))
            row[column] = None
        elif first.values[column] is None:
            row[column] = one.values[column]
    return [row for _, row in found.values()]


def _telling(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Events without those that say nothing.

    These are an alive on a day that is not known, and an undated death beside a dated one.
    """
    rows = list(events)
    died = {r["patient"] for r in rows if r["event"] == "death" and r["date"]}
    return [
        r
        for r in rows
        if r["date"]
        or not (r["event"] == "alive" or (r["event"] == "death" and r["patient"] in died))
    ]


def _numbered(events: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """Each patient's events by date, with their number; those without a date come last."""
    count: Counter[str] = Counter()
    for row in sorted(events, key=lambda r: (r["patient"], r["date"] or dt.date.max, r["event"])):
        count[row["patient"]] += 1
        yield {**row, "number": count[row["patient"]]}


def _dated(
    report: _Report, row: Mapping[str, Any], column: str, first_cycle: Mapping[str, dt.date]
) -> dict[str, Any]:
    patient, date = row["patient"], row["date"]
    first = first_cycle.get(patient)
    day = (date - first).days if date and first else None
    return {
        **row,
        "site": report.site,
        column: report.shifted(patient, date),
        "day": day,
        "simulated": report.simulated,
    }


def _patients(report: _Report, first_cycle: Mapping[str, dt.date]) -> Iterable[dict[str, Any]]:
    known = report.people.rows
    for patient in sorted({*known, *report.vault_patients, *report.session.held_out}):
        row: dict[str, Any] = {
            "site": report.site,
            "patient": patient,
            "in_case_report": patient in known,
            "simulated": report.simulated,
        }
        if patient in report.session.withdrawn:
            yield {**row, "consent": "withdrawn"}
        elif patient in report.session.unclear:
            yield {**row, "consent": CONTRADICTORY}
        else:
            values = known[patient].values if patient in known else {}
            yield {
                **values,
                **row,
                "age_years": _age(report, patient, values, first_cycle.get(patient)),
            }


def _age(
    report: _Report, patient: str, values: Mapping[str, Any], first_cycle: dt.date | None
) -> int | None:
    """Age at cycle 1 in whole years.

    It is the age that was given where birth date or cycle 1 is missing, and None where the two
    disagree.
    """
    born, given = values.get("birth_date"), values.get("age")
    place = f"{report.people.places[patient]} column " if patient in report.people.places else ""
    if born is not None and born > report.session.cut_off:
        report.refuse(place + "birth_date", AFTER_CUT_OFF)
        born = None
    if born is None or first_cycle is None:
        return None if given is None else min(given, OLDEST_AGE_YEARS)
    age = (
        first_cycle.year
        - born.year
        - ((first_cycle.month, first_cycle.day) < (born.month, born.day))
    )
    if not 0 <= age <= 120:
        report.refuse(
            place + "birth_date", "gives no plausible age at cycle 1; the age is left out"
        )
        return None
    if given is not None and abs(given - age) > 1:
        report.refuse(place + "birth_date", AGES_DIFFER)
        report.refuse(place + "age", AGES_DIFFER)
        return None
    return min(age, OLDEST_AGE_YEARS)


def reader_folders(site_folder: Path) -> list[Path]:
    """The folders of the readers, in order."""
    reads = site_folder / "reads"
    return sorted(p for p in reads.iterdir() if p.is_dir()) if reads.is_dir() else []


def is_reader_name(name: str) -> bool:
    """True for a short name that is not the one kept for contours found under dicom/."""
    try:
        return cv.parse_reader(name) == name and name != "SITE"
    except cv.ValueFault:
        return False


def _lesions(report: _Report) -> list[dict[str, Any]]:
    rows = []
    for folder in filter(lambda f: is_reader_name(f.name), reader_folders(report.site_folder)):
        rows += _lesions_of_reader(report, folder)
    return rows


def _lesions_of_reader(report: _Report, folder: Path) -> list[dict[str, Any]]:
    found: dict[tuple, list[_Stated]] = defaultdict(list)
    name = f"reads/{folder.name}/lesions.csv"
    for table, row, patient, values in report.rows(
        folder / "lesions.csv", "lesions", name, LESION_CELLS, ("lesion", "role")
    ):
        if _belongs(report, table, row, patient, values):
            key = (patient, values["series_uid"], values["visit_date"])
            found[*key, report.label(values["lesion"])].append((table, row, values))
    rows = []
    for (patient, *_), same in found.items():
        agreed = report.agreed(same, DEFINING)
        if agreed is not None:
            rows.append(
                {
                    **_lesion_row(report, patient, {**agreed, "lesion": same[0][2]["lesion"]}),
                    "site": report.site,
                    "reader": folder.name,
                    "row_number": same[0][1].number,
                    "simulated": report.simulated,
                }
            )
    return rows


def _belongs(
    report: _Report, table: CsvTable, row: CsvRow, patient: str, values: Mapping[str, Any]
) -> bool:
    """Whether a row of lesions.csv names a visit of its patient; else it is refused."""
    visit_date, series = values["visit_date"], values["series_uid"]
    uid = keyed_uid(series, report.session.keys.uid) if series else ""
    if visit_date is not None and visit_date > report.session.cut_off:
        report.refuse(table.item(row, "visit_date"), AFTER_CUT_OFF)
    elif visit_date is None and not series:
        report.refuse(table.item(row), "has neither visit_date nor series_uid; give one of them")
    elif report.session.series_patients.get(uid, patient) != patient:
        report.refuse(
            table.item(row, "series_uid"), "belongs to another patient; the row is left out"
        )
    else:
        return True
    return False


def _lesion_row(report: _Report, patient: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A row of lesions, with defaults for what is not stated.

    A lesion that is listed is present, not too small, and a node where its organ is lymph_node.
    """
    series = values["series_uid"]
    return {
        **values,
        "patient": patient,
        "visit_date": report.shifted(patient, values["visit_date"]),
        "series_instance_uid": keyed_uid(series, report.session.keys.uid) if series else None,
        "lesion": report.label(values["lesion"]),
        "roi": report.label(values["roi"]),
        "present": values["present"] is not False,
        "too_small": values["too_small"] is True,
        "node": values["organ"] == "lymph_node" if values["node"] is None else values["node"],
    }


def _locks(report: _Report) -> Iterable[dict[str, Any]]:
    for folder in reader_folders(report.site_folder):
        lock = folder / "LOCKED"
        if not is_reader_name(folder.name) or not os.path.lexists(lock):
            continue
        try:
            stated = read_table_file(lock, most=LARGEST_LOCK).decode("utf-8-sig").strip()
            locked_at = cv.parse_cell(stated, cv.parse_time).value
        except NotOpenedError as fault:
            report.refuse(f"reads/{folder.name}/LOCKED", fault.reason)
            continue
        except (cv.ValueFault, UnicodeDecodeError):
            locked_at = None
        if locked_at:
            yield {"site": report.site, "reader": folder.name, "locked_at": locked_at}
        else:
            report.refuse(
                f"reads/{folder.name}/LOCKED",
                "does not hold a time; write ISO 8601, such as 2026-01-12T08:30:00+08:00. "
                "The read stays open",
            )


def decision_files(site_folder: Path, folder: str) -> list[Path]:
    """The tables of decisions in a folder of `DECISION_FOLDERS`, as CSV paths, in order.

    Each may be a workbook of that name.
    """
    place = site_folder / folder
    found = (
        [p for p in place.iterdir() if p.suffix in {".csv", *WORKBOOKS}] if place.is_dir() else []
    )
    return sorted({p.with_suffix(".csv") for p in found if not p.name.startswith(("~$", "."))})


def _decision_tables(site_folder: Path, folder: str) -> Iterable[tuple[Path, str]]:
    """The tables of decisions, each with the name that it has in a refusal."""
    for number, path in enumerate(decision_files(site_folder, folder), start=1):
        known = path.name == "decisions.csv"
        yield path, f"{folder}/decisions.csv" if known else f"{folder}/ file {number}"


def _arbitrations(report: _Report) -> Iterable[dict[str, Any]]:
    found: dict[str, list[_Stated]] = defaultdict(list)
    for path, name in _decision_tables(report.site_folder, "arbitration"):
        for table, row, patient, values in report.rows(
            path, "arbitrations", name, ARBITRATION_CELLS, (ACCEPTED, "arbiter", "decided_at")
        ):
            found[patient].append((table, row, values))
    for patient, same in found.items():
        if report.agreed([(t, r, {ACCEPTED: v[ACCEPTED]}) for t, r, v in same], {ACCEPTED}):
            yield {
                **same[0][2],
                "patient": patient,
                "site": report.site,
                "row_number": same[0][1].number,
                "simulated": report.simulated,
            }


def _board_decisions(
    report: _Report, first_cycle: Mapping[str, dt.date]
) -> Iterable[dict[str, Any]]:
    """Every row that can be read; which of them count is judged where the pages are known."""
    required = ("visit", "date", "decision", "role", "page")
    for path, name in _decision_tables(report.site_folder, "board"):
        for table, row, patient, values in report.rows(
            path, "board_decisions", name, BOARD_DECISION_CELLS, required
        ):
            if values["date"] > report.session.cut_off:
                report.refuse(table.item(row, "date"), AFTER_CUT_OFF)
                continue
            next_ct = values["next_ct_date"]
            if next_ct is not None and next_ct < values["date"]:
                report.refuse(table.item(row, "next_ct_date"), NEXT_CT_BEFORE)
                next_ct = None
            dated = _dated(report, {**values, "patient": patient}, "decision_date", first_cycle)
            first = first_cycle.get(patient)
            yield {
                **dated,
                "decided_by": values["role"],
                "page_code": values["page"],
                "next_ct_day": (next_ct - first).days if next_ct and first else None,
                "row_number": row.number,
            }
