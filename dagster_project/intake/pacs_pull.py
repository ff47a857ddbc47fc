"""Asks a site's PACS for the scans of its patients around their cycles, and for nothing that the vault has."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dagster_project.intake import case_values as cv
from dagster_project.intake.exchange_files import clinical_tables
from dagster_project.intake.pacs_settings import PacsError
from dagster_project.intake.pseudonyms import number_fault, written_number
from dagster_project.intake.vault import Reception

MODALITIES = ("CT", "RTSTRUCT", "SEG")
"""In this order: a contour needs its CT in the vault."""

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


def wanted_of_landing(site_folder: Path, *, before: int, after: int) -> list[Wanted]:
    """Everybody of patients.csv, with the days around the cycles of treatments.csv; who has no cycle yet is asked for whole.

    Raises
    ------
    PacsError
        Where there is no patients.csv.
    """
    path = site_folder / "clinical" / "patients.csv"
    tables = clinical_tables(path, "patients", "clinical/patients.csv")
    if not tables:
        raise PacsError("the landing has no clinical/patients.csv; deliver it, or name a list of numbers with --numbers")
    numbers = [written_number(row.cells["patient_id"]) for table in tables for row in table.rows if not number_fault(row.cells["patient_id"])]
    cycles = _cycles(site_folder / "clinical" / "treatments.csv")
    return [_around(number, cycles.get(number, []), before, after) for number in dict.fromkeys(numbers) if number and _is_one(number)]


def wanted_of_list(path: Path, dates: tuple[dt.date, dt.date] | None) -> list[Wanted]:
    """One hospital number a line."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return [Wanted(number, *(dates or (None, None))) for number in dict.fromkeys(lines) if number and _is_one(number)]


def _is_one(number: str) -> bool:
    if WILDCARDS & set(number):
        raise PacsError("a hospital number holds *, ? or \\ and would ask for other people; correct the list")
    return True


def _cycles(path: Path) -> dict[str, list[dt.date]]:
    cycles: dict[str, list[dt.date]] = {}
    for number, date in _dated(path):
        cycles.setdefault(number, []).append(date)
    return cycles


def _dated(path: Path) -> Iterator[tuple[str, dt.date]]:
    for row in (row for table in clinical_tables(path, "treatments", "clinical/treatments.csv") for row in table.rows):
        try:
            date = cv.parse_cell(row.cells.get("date", ""), cv.parse_date).value
        except cv.ValueFault:
            continue
        if date is not None:
            yield written_number(row.cells["patient_id"]), date


def _around(number: str, cycles: Sequence[dt.date], before: int, after: int) -> Wanted:
    if not cycles:
        return Wanted(number)
    return Wanted(number, min(cycles) - dt.timedelta(days=before), max(cycles) + dt.timedelta(days=after))


def text_of(dataset: Any, keyword: str) -> str:
    """An element of an answer, as text."""
    return str(dataset.get(keyword, "") or "")
