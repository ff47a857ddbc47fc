"""What lies in a site's delivery folder: listed, never changed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from dagster_project.intake.case_report.case_report import (
    DECISION_FOLDERS,
    decision_files,
    is_reader_name,
    reader_folders,
)
from dagster_project.intake.case_report.csv_tables import WORKBOOKS, Refusal, table_files
from dagster_project.intake.case_report.exchange_files import exchange_files
from dagster_project.intake.opening import file_digest, is_inside

DIGITS = 12
"""Hexadecimal digits of SHA-256 by which a refused file is named."""

EXPECTED = frozenset({"clinical", "dicom", "reads", *DECISION_FOLDERS, "SIMULATED"})
CLINICAL_TABLES = (
    "clinical/patients.csv",
    "clinical/treatments.csv",
    "clinical/follow_up.csv",
    "clinical/visits.csv",
)
"""Each may be a workbook of that name."""

CASE_REPORT_FILES = (
    *CLINICAL_TABLES,
    *(name.removesuffix(".csv") + ending for name in CLINICAL_TABLES for ending in WORKBOOKS),
)
READER_FILES = frozenset({"lesions.csv", "LOCKED", *("lesions" + ending for ending in WORKBOOKS)})


OTHER_FORM = (
    "also lies here with another ending or in capitals, which is not read; "
    "save it as .csv or .xlsx and name it as the contract does"
)


class LandingFile(NamedTuple):
    """A file that is to be taken in.

    It has a name below the site's folder, the place it was delivered to, a size in bytes and a time
    of change in nanoseconds.
    """

    site_folder: Path
    relative: str
    place: str
    size: int
    modified: int

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.site_folder / self.relative

    def item(self, digest: str) -> str:
        """How it is named where it is refused: place and digest, never its own name."""
        return (
            f"{self.place}/ file sha256:{digest[:DIGITS]}"
            if digest
            else f"{self.place}/ file that cannot be read"
        )


def is_simulated(site_folder: Path) -> bool:
    """True where the delivery folder says that its data are simulated."""
    return (site_folder / "SIMULATED").exists()


def list_images(site_folder: Path) -> list[LandingFile]:
    """Every file under dicom/ and the readers' folders, in order.

    A reader's lesions.csv, its workbook and LOCKED are not images.
    """
    places = [("dicom", "dicom", frozenset[str]())] + [
        (f"reads/{f.name}", f"reads/{f.name}", READER_FILES)
        for f in reader_folders(site_folder)
        if is_reader_name(f.name)
    ]
    return [
        LandingFile(site_folder, relative, place, size, modified)
        for place, folder, besides in places
        for relative, size, modified in _walk(str(site_folder), folder, besides)
    ]


def _walk(root: str, folder: str, besides: frozenset[str]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of the files below a folder, in order.

    1. A folder is listed once, by its own name where it has one here, however many links lead to
       it: links between folders could double without end.
    2. A link that leads out of the site's folder, and a folder that cannot be listed (closed, or
       deeper than a path may be long), are listed as a file, and refused as one.
    """
    found: list[tuple[str, int, int]] = []
    seen: set[str] = set()
    folders, links = [folder], deque[str]()
    while folders or links:
        here = folders.pop() if folders else links.popleft()
        real = os.path.realpath(f"{root}/{here}")
        # os.path, since Path raises where a path is too long
        if real in seen or (here == folder and not os.path.isdir(real)):  # noqa: PTH112
            continue
        seen.add(real)
        entries = _entries(real) if is_inside(real, Path(root)) else None
        if entries is None:
            found.append((here, -1, 0))
            continue
        for entry in entries:
            name = f"{here}/{entry.name}"
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(name)
            elif here != folder or entry.name not in besides:
                found.append((name, *_facts(entry)))
    return sorted(found, key=lambda one: one[0].split("/"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A link in a circle is none; the system says so by an error."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _entries(folder: str) -> list[os.DirEntry[str]] | None:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda e: e.name)
    except OSError:
        return None


def _facts(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        facts = entry.stat()
    except OSError:
        return -1, 0
    return facts.st_size, facts.st_mtime_ns


def unexpected_entries(site_folder: Path) -> list[Refusal]:
    """Entries that the delivery specification does not know: counted, not named."""
    known_clinical = {Path(name).name for name in CASE_REPORT_FILES} | {
        path.name for path in _of_databases(site_folder)
    }
    strangers = [
        (
            "landing",
            "clinical/, dicom/, reads/<reader>/, arbitration/, board/ and SIMULATED",
            _count(site_folder, EXPECTED),
        ),
        (
            "clinical",
            "patients.csv, treatments.csv, follow_up.csv and visits.csv (or .xlsx), "
            "redcap.csv with its data dictionary, and odm.xml",
            _count(site_folder / "clinical", known_clinical),
        ),
        (
            "reads",
            "one folder per reader, named by a code (such as R1: one to three capital letters or "
            "the word reader, then one or two digits), not SITE",
            _bad_readers(site_folder),
        ),
    ]
    counted = [
        Refusal(
            place,
            f"{count} entries are not part of the delivery specification and were not read; "
            f"it expects {expected}",
        )
        for place, expected, count in strangers
        if count
    ]
    return [*counted, *_other_forms(site_folder)]


def _other_forms(site_folder: Path) -> Iterable[Refusal]:
    """Tables of the contract under another ending, or in capitals: named by the table."""
    tables = [
        *CLINICAL_TABLES,
        *(
            f"reads/{folder.name}/lesions.csv"
            for folder in reader_folders(site_folder)
            if is_reader_name(folder.name)
        ),
        *(f"{folder}/decisions.csv" for folder in DECISION_FOLDERS),
    ]
    for name in tables:
        table = site_folder / name
        read = {table.name, *(table.with_suffix(ending).name for ending in WORKBOOKS)}
        there = (
            [entry.name for entry in table.parent.iterdir() if entry.is_file()]
            if table.parent.is_dir()
            else []
        )
        if any(
            Path(entry).stem.lower() == table.stem
            and entry not in read
            and not entry.endswith(".txt")
            for entry in there
        ):
            yield Refusal(name, OTHER_FORM)


def _count(folder: Path, known: Iterable[str]) -> int:
    return sum(entry.name not in known for entry in folder.iterdir()) if folder.is_dir() else 0


def _bad_readers(site_folder: Path) -> int:
    reads = site_folder / "reads"
    return (
        sum(not (entry.is_dir() and is_reader_name(entry.name)) for entry in reads.iterdir())
        if reads.is_dir()
        else 0
    )


def people_files(site_folder: Path) -> list[Path]:
    """Every file that may say who the patients are, in order."""
    return [
        *(
            site_folder / name
            for name in CASE_REPORT_FILES
            if os.path.lexists(f"{site_folder}/{name}")
        ),
        *_of_databases(site_folder),
    ]


def _of_databases(site_folder: Path) -> list[Path]:
    return sorted(
        path for found in exchange_files(site_folder / "clinical").values() for path in found
    )


def case_report_files(site_folder: Path) -> list[Path]:
    """Every file that the case report is made of, in order."""
    files = people_files(site_folder)
    files += [
        folder / name for folder in reader_folders(site_folder) for name in sorted(READER_FILES)
    ]
    for folder in DECISION_FOLDERS:
        files += [
            file for table in decision_files(site_folder, folder) for file in table_files(table)
        ]
    return [path for path in files if os.path.lexists(path)]


def locate_refused(site_folder: Path, items: Iterable[str] | None = None) -> Mapping[str, Path]:
    """The files that digests in the quarantine mean: digest's first digits → path.

    They are for the site's own data manager.

    Shown on the site's screen only; never stored. `items` limits it to quarantine items that name a
    digest.
    """
    wanted = (
        None
        if items is None
        else {item.partition("sha256:")[2] for item in items if "sha256:" in item}
    )
    digests = (
        (file_digest(found.path, site_folder)[:DIGITS], found.path)
        for found in list_images(site_folder)
    )
    return {
        digest: path for digest, path in digests if digest and (wanted is None or digest in wanted)
    }
