"""Queries a site's PACS for the scans of its patients around their cycles; what the vault has is not queried again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dagster_project.intake.case_report import PATIENT_CELLS, parse_row, patient_id_fault
from dagster_project.intake.csv_tables import CsvTable, Refusal
from dagster_project.intake.cycle_dates import accepted_cycles
from dagster_project.intake.exchange_files import clinical_tables
from dagster_project.intake.pacs_settings import PacsError
from dagster_project.intake.pseudonyms import canonical_number, written_number
from dagster_project.intake.vault import Reception

MODALITIES = ("CT", "RTSTRUCT", "SEG")
"""In this order: a contour needs its CT in the vault."""

CONSENT = {"consent": PATIENT_CELLS["consent"]}
"""The one cell of a patient's row, beside the number, that a query looks at."""

WILDCARDS = frozenset("*?\\")
"""PS3.4 C.2.2.2.4: a number with one of these would ask for other people."""


@dataclass(frozen=True)
class Wanted:
    """A patient's number, and the dates of the studies that are asked for (none: all)."""

    number: str
    start: dt.date | None = None
    end: dt.date | None = None

    @property
    def date_range(self) -> str:
        """As a DICOM range matching key."""
        return f"{self.start:%Y%m%d}-{self.end:%Y%m%d}" if self.start and self.end else ""


@dataclass(frozen=True)
class Found:
    """A series that the PACS has."""

    study: str
    series: str
    modality: str


@dataclass
class Pulled:
    """What a pull did."""

    patients: int = 0
    series: int = 0
    known: int = 0
    asked: int = 0
    missing: int = 0


class Archive(Protocol):
    """A PACS that can be asked."""

    def series(self, wanted: Wanted) -> list[Found]:
        """The series of a patient within the dates."""

    def instances(self, found: Found) -> list[str]:
        """SOPInstanceUIDs of a series."""

    def fetch(self, found: Found, instances: Sequence[str]) -> None:
        """Bring these instances into the vault."""


def pull(archive: Archive, reception: Reception, wanted: Iterable[Wanted]) -> Pulled:
    """Ask for what is missing, patient by patient.

    1. Series of the modalities taken in, within the dates; CT first.
    2. Of each series the instances that the vault neither holds nor refused for good.
    3. What did not come is counted; the next pull asks for it again.
    """
    done = Pulled()
    for person in wanted:
        done.patients += 1
        found = [one for one in archive.series(person) if one.modality in MODALITIES]
        for one in sorted(found, key=lambda f: (MODALITIES.index(f.modality), f.study, f.series)):
            _pull_series(archive, reception, one, done)
    reception.close()
    return done


def _pull_series(archive: Archive, reception: Reception, found: Found, done: Pulled) -> None:
    there = archive.instances(found)
    missing = reception.missing(there)
    done.series += 1
    done.known += len(there) - len(missing)
    if missing:
        done.asked += len(missing)
        archive.fetch(found, missing)
        done.missing += len(reception.missing(missing))


@dataclass(frozen=True)
class Query:
    """Who is wanted, and the cells of the case report that had no part in it, by place and reason."""

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
        raise PacsError("the landing has no clinical/patients.csv; deliver it, or name a list of numbers with --numbers")
    numbers, unused = _numbers(tables)
    cycles = accepted_cycles(site_folder, cut_off)
    wanted = [
        _around(number, cycles.dates.get(canonical_number(number), ()), before, after)
        for number in numbers
        if _is_one(number)
    ]
    return Query(wanted, (*unused, *cycles.unused))


def _numbers(tables: Iterable[CsvTable]) -> tuple[list[str], list[Refusal]]:
    """Numbers as the hospital writes them, each once, without those who withdrew; and cells that name none."""
    numbers: dict[str, str] = {}
    withdrawn: set[str] = set()
    unused: list[Refusal] = []
    for table in tables:
        for row in table.rows:
            number = row.cells["patient_id"]
            fault = patient_id_fault(table, number)
            if fault:
                unused.append(Refusal(table.item(row, "patient_id"), fault))
                continue
            numbers.setdefault(canonical_number(number), written_number(number))
            if parse_row(table, row, CONSENT).values.get("consent") == "withdrawn":
                withdrawn.add(canonical_number(number))
    return [written for number, written in numbers.items() if number not in withdrawn], unused


def wanted_of_list(path: Path, dates: tuple[dt.date, dt.date] | None) -> list[Wanted]:
    """One hospital number a line."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return [Wanted(number, *(dates or (None, None))) for number in dict.fromkeys(lines) if number and _is_one(number)]


def _is_one(number: str) -> bool:
    if WILDCARDS & set(number):
        raise PacsError("a hospital number holds *, ? or \\ and would ask for other people; correct the list")
    return True


def _around(number: str, cycles: Sequence[dt.date], before: int, after: int) -> Wanted:
    if not cycles:
        return Wanted(number)
    return Wanted(number, min(cycles) - dt.timedelta(days=before), max(cycles) + dt.timedelta(days=after))


def text_of(dataset: Any, keyword: str) -> str:
    """An element of an answer, as text."""
    return str(dataset.get(keyword, "") or "")
