"""Where the pages go: the study report, the index and one page per patient.

Each file is put in place whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.reports import summaries as s
from dagster_project.reports.arbitration import CasePicture, render_case, render_worklist
from dagster_project.reports.pages import put
from dagster_project.reports.patient_reports import (
    TABLES_READ,
    HabitatMap,
    LesionPicture,
    may_show_reads,
    render_patient_index,
    render_patient_report,
)
from dagster_project.reports.study_report import render_study_report
from dagster_project.study import Study

STUDY_REPORT, INDEX, PATIENTS = "study_report.html", "index.html", "patients"
WORKLIST, CASES = "arbitration.html", "arbitration"
"""Names below the folder of reports."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class UnusableName(ValueError):
    """A pseudonym cannot name a file."""

    def __init__(self, site: str) -> None:
        super().__init__(
            f"patients of site {site}: "
            "a pseudonym has characters other than letters, digits, - and _, "
            "so no page can be named after it; take the site in again"
        )


def write_study_report(
    folder: Path,
    tables: Mapping[str, pl.DataFrame],
    study: Study,
    snapshot: int,
    generated_at: datetime,
) -> Path:
    """Write the study report."""
    return put(folder / STUDY_REPORT, render_study_report(tables, study, snapshot, generated_at))


def write_patient_reports(
    folder: Path,
    tables: Mapping[str, pl.DataFrame],
    study: Study,
    snapshot: int,
    generated_at: datetime,
    slices: Mapping[str, Sequence[LesionPicture]] | None = None,
    maps: Mapping[str, Sequence[HabitatMap]] | None = None,
) -> list[Path]:
    """Write the index and one page per patient, and remove outdated pages.

    Outdated are the pages of patients who are no longer in the tables.

    Parameters
    ----------
    slices
        Pseudonym → pictures of the patient's lesions; looked up one patient at a time, so it may
        make them on request. Not looked up where the readers' own reads may not be shown yet.
    maps
        Pseudonym → maps of the lesions' habitats, looked up in the same way.

    Returns
    -------
    list of Path
        The index, and the patients' pages in order.
    """
    names = _page_names(s.completed(tables))
    _take_away(folder / PATIENTS, keep=set(names.values()))
    parts, site_reader = _Parts(tables), study.section("reads")["site_reader"]
    written = [
        put(
            folder / INDEX,
            render_patient_index(tables, study, snapshot=snapshot, generated_at=generated_at),
        )
    ]
    for patient, name in names.items():
        own = parts.of(patient)
        shown = may_show_reads(own, site_reader)
        pictures = slices.get(patient, ()) if slices is not None and shown else ()
        habitats = maps.get(patient, ()) if maps is not None and shown else ()
        page = render_patient_report(
            patient,
            own,
            study,
            snapshot=snapshot,
            generated_at=generated_at,
            pictures=pictures,
            maps=habitats,
        )
        written.append(put(folder / PATIENTS / name, page))
    return written


def _page_names(tables: s.Tables) -> dict[str, str]:
    patients = s.list_patients(tables)
    for site, patient in patients.iter_rows():
        if not _FILE_NAME.fullmatch(patient):
            raise UnusableName(site)
    return {patient: f"{patient}.html" for patient in patients["patient"]}


def write_arbitration_pages(
    folder: Path,
    tables: Mapping[str, pl.DataFrame],
    study: Study,
    snapshot: int,
    generated_at: datetime,
    seen: Callable[[Mapping[str, Any]], tuple[Sequence[CasePicture], Sequence[Mapping[str, Any]]]],
) -> list[Path]:
    """Write the worklist and one page per case, and remove the pages of former cases.

    Parameters
    ----------
    seen
        Row of a case → its pictures, and what its lesions' places suggest about their labels.
    """
    cases = s.completed(tables)["arbitrations"].sort("site", "patient").to_dicts()
    for case in cases:
        if not _FILE_NAME.fullmatch(case["patient"]):
            raise UnusableName(case["site"])
    _take_away(folder / CASES, keep={f"{case['patient']}.html" for case in cases})
    written = [
        put(
            folder / WORKLIST,
            render_worklist(tables, study, snapshot=snapshot, generated_at=generated_at),
        )
    ]
    for case in cases:
        pictures, proposals = seen(case)
        page = render_case(
            case,
            tables,
            study,
            snapshot=snapshot,
            generated_at=generated_at,
            pictures=pictures,
            proposals=proposals,
        )
        written.append(put(folder / CASES / f"{case['patient']}.html", page))
    return written


class _Parts:
    """Each patient's rows of the tables that a patient's page reads, split once for all pages."""

    def __init__(self, tables: s.Tables) -> None:
        filled = s.completed(tables)
        self._empty = {name: filled[name].clear() for name in TABLES_READ}
        self._parts = {
            name: filled[name].partition_by("patient", as_dict=True) for name in TABLES_READ
        }

    def of(self, patient: str) -> dict[str, pl.DataFrame]:
        """The tables with that patient's rows alone."""
        return {name: self._parts[name].get((patient,), self._empty[name]) for name in TABLES_READ}


def _take_away(folder: Path, keep: set[str]) -> None:
    for page in folder.glob("*.html"):
        if page.name not in keep:
            page.unlink()
