"""A site's landing folder.

Its patients' files, the sheets of its case report, and the owner of each file and row.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from benchmarks.deliveries.phantom import READERS, Delivery, Row, Structures, Visit

DIGITS = 12
"""Digits of SHA-256 by which the product names a refused file."""

LOCK = "2026-01-12T08:30:00+08:00\n"


@dataclass
class Sheet:
    """A table of the case report as it will be written.

    `raw` takes precedence over the cells where a distortion is one of bytes.
    """

    name: str
    header: list[str]
    rows: list[list[str]]
    owners: list[int]
    delimiter: str = ","
    encoding: str = "utf-8"
    above: int = 0
    raw: bytes | None = None

    def column(self, name: str) -> int:
        """Place of a column."""
        return self.header.index(name)

    def text(self) -> str:
        """The sheet as a CSV file."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=self.delimiter, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows(self.rows)
        return out.getvalue()

    def content(self) -> bytes:
        """The bytes of the file."""
        return self.text().encode(self.encoding) if self.raw is None else self.raw


@dataclass
class Site:
    """What one hospital delivers."""

    code: str
    deliveries: list[Delivery]
    sheets: dict[str, Sheet] = field(default_factory=dict)
    locks: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(READERS, LOCK))
    file_owners: dict[str, tuple[int, str]] = field(default_factory=dict)

    def row_owner(self, name: str, row: int) -> int | None:
        """Whose a row of a sheet is, by its number in a spreadsheet (the header is row 1)."""
        sheet = self.sheets.get(name)
        place = row - 2 - (sheet.above if sheet else 0)
        return sheet.owners[place] if sheet and 0 <= place < len(sheet.owners) else None


PATIENT_COLUMNS = (
    "patient_id",
    "sex",
    "age",
    "smoking",
    "ecog",
    "stage",
    "histology",
    "egfr",
    "alk",
    "pd_l1_tps",
    "line",
    "regimen",
    "prior_malignancy",
    "organ_dysfunction",
    "target_radiotherapy",
    "consent",
)
LESION_COLUMNS = (
    "patient_id",
    "visit_date",
    "series_uid",
    "lesion",
    "role",
    "organ",
    "node",
    "present",
    "too_small",
    "ld_mm",
    "sa_mm",
    "roi",
)


def fill_sheets(site: Site) -> None:
    """Make the sheets of a site from its patients' rows."""
    patients, treatments, follow_up = [], [], []
    for one in site.deliveries:
        patients += [(one.serial, row) for row in (one.person, one.twin) if row]
        treatments += [(one.serial, r) for r in one.cycles]
        follow_up += [(one.serial, r) for r in one.events]
    made = [
        _sheet("clinical/patients.csv", PATIENT_COLUMNS, patients),
        _sheet("clinical/treatments.csv", ("patient_id", "cycle", "date", "drugs"), treatments),
        _sheet("clinical/follow_up.csv", ("patient_id", "date", "event", "detail"), follow_up),
    ]
    for reader in READERS:
        rows = [(one.serial, r) for one in site.deliveries for r in one.reads.get(reader, [])]
        if rows:
            made.append(_sheet(f"reads/{reader}/lesions.csv", LESION_COLUMNS, rows))
    site.sheets = {sheet.name: sheet for sheet in made}


def _sheet(name: str, columns: Iterable[str], rows: list[tuple[int, Row]]) -> Sheet:
    filled = {c for _, row in rows for c in row if row[c]}
    header = [c for c in columns if c in filled]
    header += sorted(filled - set(header))
    return Sheet(
        name,
        header,
        [[row.get(c, "") for c in header] for _, row in rows],
        [serial for serial, _ in rows],
    )


def write_site(landing: Path, site: Site) -> None:
    """Write the folder, and note whose each file is."""
    folder = landing / site.code
    for one in site.deliveries:
        for visit in one.visits:
            _write_visit(folder, site, one, visit)
    for sheet in site.sheets.values():
        path = folder / sheet.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sheet.content())
    for reader, lock in site.locks.items():
        if lock and (folder / "reads" / reader).is_dir():
            (folder / "reads" / reader / "LOCKED").write_text(lock, encoding="utf-8")


def _write_visit(folder: Path, site: Site, one: Delivery, visit: Visit) -> None:
    files = [
        Structures("dicom", f"ct_{one.serial}_{visit.name}_{k:03d}.dcm", s)
        for k, s in enumerate(visit.slices)
    ]
    for file in (*files, *visit.structures, *visit.extra):
        data = dicom_bytes(file.content) if isinstance(file.content, Dataset) else file.content
        site.file_owners[hashlib.sha256(data).hexdigest()[:DIGITS]] = (one.serial, visit.name)
        path = folder / file.folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def dicom_bytes(dataset: Dataset) -> bytes:
    """A DICOM file."""
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()
