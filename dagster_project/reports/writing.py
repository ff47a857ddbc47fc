"""Where the pages go: the study report, the index and one page per patient.

Each file is put in place whole.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from dagster_project.reports.arbitration import CasePicture, render_case, render_worklist
from dagster_project.reports.board import TABLES_READ as BOARD_TABLES
from dagster_project.reports.board import AsOf, Sheet, cut_sheet, list_sheets, render_board
from dagster_project.reports.board_waiting import list_waiting_sheets, render_waiting_board
from dagster_project.reports.evaluation import render_evaluation
from dagster_project.reports.pages import digest_on, program_digest, put
from dagster_project.reports.patient_index import render_patient_index
from dagster_project.reports.patient_reports import (
    TABLES_READ,
    HabitatMap,
    LesionPicture,
    may_show_reads,
    render_patient_report,
)
from dagster_project.reports.reader_pages import (
    ReaderWork,
    render_reader_scan,
    render_reader_worklist,
)
from dagster_project.reports.study_report import render_study_report
from dagster_project.reports.summaries.tables import Tables, completed, list_patients
from dagster_project.reports.viewer import ViewerCrop
from dagster_project.study import Study, digest_of

STUDY_REPORT, INDEX, PATIENTS, BOARDS = "study_report.html", "index.html", "patients", "board"
WORKLIST, CASES = "arbitration.html", "arbitration"
EVALUATION = "evaluation.html"
READERS, READER = "readers", "index.html"
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


class CropSource(Protocol):
    """A crop that is cut when its bytes are wanted."""

    @property
    def digest(self) -> str:
        """What the crop is known by."""

    def content(self) -> bytes:
        """The bytes of the crop."""


CropsOf = Callable[[Mapping[str, pl.DataFrame]], Mapping[tuple[str, str], CropSource]]
"""From a patient's rows to the crops by visit and lesion."""


def write_study_report(
    folder: Path,
    tables: Mapping[str, pl.DataFrame],
    study: Study,
    snapshot: int,
    generated_at: datetime,
) -> Path:
    """Write the study report; one that shows these rows of this snapshot stays as it is."""
    path = folder / STUDY_REPORT
    content = {name: _content_digest(frame) for name, frame in sorted(tables.items())}
    digest = digest_of([content, snapshot, study.digest, program_digest()])
    if digest_on(path) == digest:
        return path
    return put(path, render_study_report(tables, study, snapshot, generated_at, digest))


def _content_digest(frame: pl.DataFrame) -> str:
    content = io.BytesIO()
    frame.rechunk().write_ipc(content)
    return hashlib.sha256(content.getbuffer()).hexdigest()


def write_evaluation(
    folder: Path,
    tables: Mapping[str, pl.DataFrame],
    study: Study,
    snapshot: int,
    generated_at: datetime,
) -> Path:
    """Write the evaluation of the dynamic standard."""
    rows = completed(tables)["dynamic_evaluation"]
    page = render_evaluation(rows, study, snapshot=snapshot, generated_at=generated_at)
    return put(folder / EVALUATION, page)


def write_patient_reports(
    folder: Path,
    tables: Mapping[str, pl.DataFrame],
    study: Study,
    snapshot: int,
    generated_at: datetime,
    slices: Mapping[str, Sequence[LesionPicture]] | None = None,
    maps: Mapping[str, Sequence[HabitatMap]] | None = None,
    crops: CropsOf | None = None,
) -> list[Path]:
    """Write the index and one page per patient, and remove outdated pages.

    Outdated are the pages of patients who are no longer in the tables. A page whose digest is that
    of the rows and pictures at hand stays as it is.

    Parameters
    ----------
    slices
        Pseudonym → pictures of the patient's lesions; looked up one patient at a time, so it may
        make them on request. Not looked up where the readers' own reads may not be shown yet.
    maps
        Pseudonym → maps of the lesions' habitats, looked up in the same way.
    crops
        From a patient's rows to the crops for the viewer.

    Returns
    -------
    list of Path
        The index, and the patients' pages in order.
    """
    filled = completed(tables)
    names = _page_names(filled)
    _take_away(folder / PATIENTS, keep=set(names.values()))
    parts, site_reader = _Parts(filled), study.section("reads")["site_reader"]
    boards = {
        patient: [visit for _, visit in sheets]
        for patient, sheets in groupby(list_sheets(filled), key=lambda sheet: sheet[0])
    }
    written = [
        put(
            folder / INDEX,
            render_patient_index(tables, study, snapshot=snapshot, generated_at=generated_at),
        )
    ]
    for patient, name in names.items():
        own = parts.of(patient)
        shown = may_show_reads(own, site_reader)
        of_patient = crops(own) if crops and shown else {}
        path = folder / PATIENTS / name
        digest = _digest_of(patient, own, of_patient, study)
        written.append(path)
        if digest_on(path) == digest:
            continue
        page = render_patient_report(
            patient,
            own,
            study,
            snapshot=snapshot,
            generated_at=generated_at,
            pictures=slices.get(patient, ()) if slices is not None and shown else (),
            maps=maps.get(patient, ()) if maps is not None and shown else (),
            crops=[ViewerCrop(*key, crop.content()) for key, crop in of_patient.items()],
            boards=boards.get(patient, ()),
            digest=digest,
        )
        put(path, page, closed=bool(of_patient))
    return written


def _digest_of(
    patient: str,
    own: Mapping[str, pl.DataFrame],
    crops: Mapping[tuple[str, str], CropSource],
    study: Study,
) -> str:
    """Digest of all that a patient's page shows, its pictures by what they are drawn from."""
    rows = {name: frame.to_dicts() for name, frame in own.items()}
    seen = sorted([*key, crop.digest] for key, crop in crops.items())
    return digest_of([patient, rows, seen, study.digest, program_digest()])


def write_boards(
    folder: Path,
    tables: Mapping[str, pl.DataFrame],
    found: AsOf,
    study: Study,
    snapshot: int,
    generated_at: datetime,
    crops: CropsOf | None = None,
    record: Callable[[Sheet, str], None] | None = None,
) -> tuple[list[Path], int]:
    """Write one board page per patient and visit, and remove those of others.

    A page whose digest is that of the rows and pictures at hand stays as it is. That of a case
    which awaits its arbiter says so and shows no read.

    Parameters
    ----------
    record
        Takes each sheet with its page code before the page is written; a page without a code, of a
        case that awaits its arbiter, is left out.

    Returns
    -------
    tuple
        All pages in order, and how many were written.
    """
    filled = completed(tables)
    _page_names(filled)
    sheets = list_sheets(filled)
    waiting = list_waiting_sheets(filled)
    listed = [*sheets, *waiting]
    _take_away(folder / BOARDS, keep={f"{patient}_{visit}.html" for patient, visit in listed})
    parts, site_reader = _Parts(filled, BOARD_TABLES), study.section("reads")["site_reader"]
    pages, written = _write_waiting(
        folder / BOARDS, waiting, parts, found, study, snapshot, generated_at
    )
    for patient, own_sheets in groupby(sheets, key=lambda sheet: sheet[0]):
        own = parts.of(patient)
        of_patient = crops(own) if crops and may_show_reads(own, site_reader) else {}
        for _, visit in own_sheets:
            sheet = cut_sheet(patient, visit, own, found)
            seen = set(sheet.own["timepoints"]["visit"])
            shown = {key: crop for key, crop in of_patient.items() if key[0] in seen}
            sheet = replace(sheet, crops={key: crop.digest for key, crop in shown.items()})
            path = folder / BOARDS / f"{patient}_{visit}.html"
            digest = sheet.digest(study, program_digest())
            pages.append(path)
            if record is not None:
                record(sheet, sheet.page_code(study))
            if digest_on(path) != digest:
                page = _board(sheet, shown, digest, study, snapshot, generated_at)
                put(path, page, closed=bool(shown))
                written += 1
    return pages, written


def _write_waiting(
    folder: Path,
    sheets: Sequence[tuple[str, str]],
    parts: _Parts,
    found: AsOf,
    study: Study,
    snapshot: int,
    generated_at: datetime,
) -> tuple[list[Path], int]:
    pages, written = [], 0
    for patient, visit in sheets:
        own = parts.of(patient)
        sheet = cut_sheet(patient, visit, own, found)
        path, digest = folder / f"{patient}_{visit}.html", sheet.digest(study, program_digest())
        pages.append(path)
        if digest_on(path) == digest:
            continue
        page = render_waiting_board(
            sheet,
            study,
            own["arbitrations"]["triggers"].explode().drop_nulls().to_list(),
            digest=digest,
            snapshot=snapshot,
            generated_at=generated_at,
        )
        put(path, page)
        written += 1
    return pages, written


def _board(
    sheet: Sheet,
    crops: Mapping[tuple[str, str], CropSource],
    digest: str,
    study: Study,
    snapshot: int,
    generated_at: datetime,
) -> str:
    return render_board(
        sheet,
        study,
        digest=digest,
        snapshot=snapshot,
        generated_at=generated_at,
        crops={key: crop.content() for key, crop in crops.items()},
    )


def _page_names(tables: Tables) -> dict[str, str]:
    patients = list_patients(tables)
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
    cases = completed(tables)["arbitrations"].sort("site", "patient").to_dicts()
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


def write_reader_pages(
    folder: Path, works: Sequence[ReaderWork], study: Study, snapshot: int, generated_at: datetime
) -> list[Path]:
    """Write each reader's worklist and scans into a folder of their own, and remove other pages.

    All are closed to other accounts: a reader must not see what another one knows.
    """
    written: list[Path] = []
    for work in works:
        place = folder / READERS / work.site / work.reader
        worklist = render_reader_worklist(work, study, snapshot=snapshot, generated_at=generated_at)
        written.append(put(place / READER, worklist, closed=True))
        for scan in (one for one in work.scans if one.has_page):
            if not _FILE_NAME.fullmatch(scan.patient):
                raise UnusableName(work.site)
            path = place / scan.file_name
            digest = digest_of([repr(scan), work.simulated, study.digest, program_digest()])
            written.append(path)
            if digest_on(path) != digest:
                page = render_reader_scan(
                    work, scan, study, digest=digest, snapshot=snapshot, generated_at=generated_at
                )
                put(path, page, closed=True)
    for former in set((folder / READERS).rglob("*.html")) - set(written):
        former.unlink()
    return written


class _Parts:
    """Each patient's rows of the tables that a patient's pages read, split once for all pages."""

    def __init__(self, tables: Tables, names: Sequence[str] = TABLES_READ) -> None:
        filled = completed(tables)
        self._empty = {name: filled[name].clear() for name in names}
        self._parts = {name: filled[name].partition_by("patient", as_dict=True) for name in names}

    def of(self, patient: str) -> dict[str, pl.DataFrame]:
        """The tables with that patient's rows alone."""
        return {name: of.get((patient,), self._empty[name]) for name, of in self._parts.items()}


def _take_away(folder: Path, keep: set[str]) -> None:
    for page in folder.glob("*.html"):
        if page.name not in keep:
            page.unlink()
