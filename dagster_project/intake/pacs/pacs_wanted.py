"""The patients to query a PACS for.

Those of the case report, around their cycles, or those of a list of numbers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dagster_project.intake.case_report.case_report import (
    PATIENT_CELLS,
    parse_row,
    patient_id_fault,
)
from dagster_project.intake.case_report.csv_tables import CsvTable, Refusal
from dagster_project.intake.case_report.cycle_dates import accepted_cycles
from dagster_project.intake.case_report.exchange_files import clinical_tables
from dagster_project.intake.identity.pseudonyms import canonical_number, written_number
from dagster_project.intake.pacs.pacs_faults import PacsError

CONSENT = {"consent": PATIENT_CELLS["consent"]}
"""The one cell of a patient's row, beside the number, that a query looks at."""

WILDCARDS = frozenset("*?\\")
"""PS3.4 C.2.2.2.4: a number with one of these would ask for other people."""


@dataclass(frozen=True)
class Wanted:
    """A patient's number, and the dates of the studies that are asked for (none: all).

    `place` says where the number is written, for who reads what did not come; `others` are other
    spellings of it in the case report.
    """

    number: str
    start: dt.date | None = None
    end: dt.date | None = None
    place: str = field(default="", compare=False)
    others: tuple[str, ...] = field(default=(), compare=False)

    @property
    def date_range(self) -> str:
        """As a DICOM range matching key."""
        return f"{self.start:%Y%m%d}-{self.end:%Y%m%d}" if self.start and self.end else ""

    def spellings(self, digits: Sequence[int] = ()) -> list[str]:
        """The number as a PACS may have it.

        1. As it is written, in each spelling: matching is exact on the wire (PS3.4 C.2.2.2.1), `3`
           does not find `0003`.
        2. A number of digits alone also filled with zeros to each of `digits`, where the site's
           settings say that its PACS does so.

        >>> Wanted("3").spellings(), Wanted("3").spellings([4, 8]), Wanted("ZY3").spellings([4])
        (['3'], ['3', '0003', '00000003'], ['ZY3'])
        """
        filled = [self.number.lstrip("0").zfill(n) for n in digits if self.number.isdigit()]
        return list(dict.fromkeys([self.number, *self.others, *filled]))


@dataclass(frozen=True)
class Query:
    """Who is wanted, and the unused cells of the case report by place and reason."""

    wanted: list[Wanted]
    unused: tuple[Refusal, ...] = ()


def wanted_of_landing(site_folder: Path, cut_off: dt.date, *, before: int, after: int) -> Query:
    """Everybody of patients.csv, with the days around the accepted cycles of treatments.csv.

    1. A cell that names no patient number is not used.
    2. Who withdrew consent is not asked for.
    3. Dates of cycles that intake would refuse are not used (cycle_dates.py).
    4. Who has no accepted cycle is asked for on all days.

    Raises
    ------
    PacsError
        Where there is no patients.csv, or a number would ask for other people.
    """
    path = site_folder / "clinical" / "patients.csv"
    tables = clinical_tables(path, "patients", "clinical/patients.csv")
    if not tables:
        raise PacsError(
            "the delivery folder has no clinical/patients.csv; "
            "deliver it, or name a list of numbers with --numbers"
        )
    people, unused = _people(tables)
    cycles = accepted_cycles(site_folder, cut_off)
    wanted = [
        _around(person, cycles.dates.get(canonical_number(person.number), ()), before, after)
        for person in people
        if all(map(_is_one, person.spellings()))
    ]
    return Query(wanted, (*unused, *cycles.unused))


def _people(tables: Iterable[CsvTable]) -> tuple[list[Wanted], list[Refusal]]:
    """Each number once, in every spelling of the tables, and the cells that name no number.

    Patients who withdrew consent are left out.
    """
    people: dict[str, Wanted] = {}
    withdrawn: set[str] = set()
    unused: list[Refusal] = []
    for table, row in [(one, row) for one in tables for row in one.rows]:
        number = row.cells["patient_id"]
        fault = patient_id_fault(table, number)
        if fault:
            unused.append(Refusal(table.item(row, "patient_id"), fault))
            continue
        first = people.setdefault(
            canonical_number(number), Wanted(written_number(number), place=table.item(row))
        )
        people[canonical_number(number)] = replace(
            first, others=(*first.others, written_number(number))
        )
        if parse_row(table, row, CONSENT).values.get("consent") == "withdrawn":
            withdrawn.add(canonical_number(number))
    return [person for number, person in people.items() if number not in withdrawn], unused


def wanted_of_list(path: Path, dates: tuple[dt.date, dt.date] | None) -> list[Wanted]:
    """One hospital number a line.

    Raises
    ------
    PacsError
        Where the file is not UTF-8, or a number would ask for other people.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise PacsError("the list of numbers is no text in UTF-8; save it as one") from None
    lines = [line.strip() for line in text.splitlines()]
    places: dict[str, str] = {}
    for position, number in enumerate(lines, start=1):
        places.setdefault(number, f"list of numbers row {position}")
    start, end = dates or (None, None)
    return [
        Wanted(number, start, end, place)
        for number, place in places.items()
        if number and _is_one(number)
    ]


def _is_one(number: str) -> bool:
    if WILDCARDS & set(number):
        raise PacsError(
            "a hospital number holds *, ? or \\ and would ask for other people; correct the list"
        )
    return True


def _around(person: Wanted, cycles: Sequence[dt.date], before: int, after: int) -> Wanted:
    if not cycles:
        return person
    start, end = min(cycles) - dt.timedelta(days=before), max(cycles) + dt.timedelta(days=after)
    return replace(person, start=start, end=end)
