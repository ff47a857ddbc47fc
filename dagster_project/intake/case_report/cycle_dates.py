"""Dates of cycles by hospital number, as intake accepts them.

They are for a query to a PACS, before any pseudonym.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dagster_project.intake.case_report.case_report import (
    FOLLOW_UP_CELLS,
    TREATMENT_CELLS,
    Parser,
    parse_row,
    patient_id_fault,
)
from dagster_project.intake.case_report.chronology import Entry, find_contradictions
from dagster_project.intake.case_report.csv_tables import Refusal
from dagster_project.intake.case_report.exchange_files import clinical_tables
from dagster_project.intake.identity.pseudonyms import canonical_number


@dataclass(frozen=True)
class CycleDates:
    """Accepted dates of cycles by canonical number, and the cells that were not used, by place."""

    dates: Mapping[str, tuple[dt.date, ...]]
    unused: tuple[Refusal, ...]


def accepted_cycles(site_folder: Path, cut_off: dt.date) -> CycleDates:
    """Read the dates of cycles that intake of the same case report would accept.

    1. A row without a patient number, a cycle or a date counts for nothing; a cell that is not
       understood is among the unused.
    2. Dates that contradict each other, those of follow-up or the cut-off are not used
       (chronology.py).

    Parameters
    ----------
    site_folder
        Landing folder of a site; `clinical/treatments.csv` and `follow_up.csv` are read where they
        exist.
    cut_off
        The last day that data may have.
    """
    unused: list[Refusal] = []
    cycles = _entries(site_folder, "treatments", TREATMENT_CELLS, "cycle", unused)
    events = _entries(site_folder, "follow_up", FOLLOW_UP_CELLS, "event", [])
    dates = {}
    for number, own in cycles.items():
        refused = find_contradictions(own, events.get(number, []), cut_off)
        unused += [Refusal(e.cell, reason) for e, reason in refused.items() if e in own]
        dates[number] = tuple(e.date for e in own if e not in refused)
    return CycleDates(dates, tuple(unused))


def _entries(
    site_folder: Path, table: str, cells: Mapping[str, Parser], what: str, unused: list[Refusal]
) -> Mapping[str, list[Entry]]:
    """Dated rows of a table by canonical number; what could not be read goes to `unused`."""
    found: dict[str, list[Entry]] = defaultdict(list)
    name = f"clinical/{table}.csv"
    for content in clinical_tables(site_folder / name, table, name):
        for row in content.rows:
            number = row.cells["patient_id"]
            if patient_id_fault(content, number):
                continue
            parsed = parse_row(content, row, cells)
            unused += _of(parsed.refusals, content.item(row, what), content.item(row, "date"))
            values = parsed.values
            if values.get(what) is not None and values.get("date") is not None:
                entry = Entry(content.item(row), values[what], values["date"])
                found[canonical_number(number)].append(entry)
    return found


def _of(refusals: Iterable[Refusal], *cells: str) -> list[Refusal]:
    return [refusal for refusal in refusals if refusal.item in cells]
