"""Write a patient's scans, outlines and results as DICOM and FHIR into an empty folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_project.domain.imaging.grids import points_of, to_index
from dagster_project.domain.imaging.masks import load_mask
from dagster_project.flow.exported_patient import ExportedVisit, ExportRefused, Rows, find_visits
from dagster_project.flow.result_cache import mask_file
from dagster_project.intake.identity.pseudonyms import write_audit
from dagster_project.interchange.composite import NotExportable, headers_of
from dagster_project.interchange.fhir_bundles import BundledVisit, build_bundle
from dagster_project.interchange.identifiers import DATES_SHIFTED, NOT_SIGNED
from dagster_project.interchange.measurement_reports import (
    DrawnDiameter,
    ReportedLesion,
    build_report,
)
from dagster_project.interchange.segmentation_objects import (
    OutlinedLesion,
    Subject,
    build_segmentation,
)
from dagster_project.lake.files import write_whole

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dagster_project.domain.imaging.series import Series
    from dagster_project.resources import Lakehouse

CONTENTS = "contents.json"
"""File of an export that lists the others with their digests; it is written last."""

BUNDLE = "fhir.json"
README = "README.txt"

NOT_EMPTY = (
    "the folder {folder} is not empty; name one that is empty or not there. "
    "文件夹 {folder} 不是空的，请指定空文件夹或新文件夹"
)
IN_HOME = (
    "the folder lies within the study's home, where nothing of a patient may be left when the "
    "patient leaves; name one outside. 文件夹位于研究主目录内，请指定主目录以外的文件夹"
)
WITHHELD: Mapping[str, str] = {
    "images": (
        "images alone: not all readers have locked their reads of this visit. "
        "仅导出图像：该访视的阅片尚未全部锁定"
    ),
    "outlines": (
        "outlines by letter, without response: the case waits for its arbiter, or an earlier visit "
        "for a lock. 仅导出按字母标记的轮廓，不含疗效：病例待仲裁，或较早访视的阅片尚未全部锁定"
    ),
}
CHANGED = (
    "the images have changed since the outline was measured; `lakehouse run`, then export again. "
    "测量轮廓后图像已变化，请先运行 `lakehouse run` 再导出"
)


DECIMALS = 2
"""Of the ends of a diameter in pixels: in the lake they are patient coordinates in 1/1000 mm."""


@dataclass
class Export:
    """What an export has written.

    `notes` says by visit what was left out, and why.
    """

    folder: Path
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def write(self, name: str, content: bytes, **facts: str) -> None:
        """Write one file, closed to others."""
        file = self.folder / name
        _make_closed(file.parent)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)
        self.files[name] = {"sha256": hashlib.sha256(content).hexdigest(), **facts}

    def write_object(self, name: str, dataset: Dataset) -> None:
        """Write a new DICOM object."""
        content = io.BytesIO()
        dataset.save_as(content, enforce_file_format=True)
        self.write(name, content.getvalue(), **_named(dataset))


def _make_closed(folder: Path) -> None:
    """Make a folder that is closed to others, and those above it that are not there."""
    if not folder.is_dir():
        _make_closed(folder.parent)
        folder.mkdir(mode=0o700)


def _named(dataset: Dataset) -> dict[str, str]:
    return {
        "sop_class_uid": str(dataset.SOPClassUID),
        "sop_instance_uid": str(dataset.SOPInstanceUID),
    }


def export_patient(
    lakehouse: Lakehouse, patient: str, folder: Path, visits: Sequence[str] = (), *, version: str
) -> Export:
    """Write a patient's visits, or those that are named, into an empty folder.

    1. Of every visit the de-identified CT as it lies in the vault.
    2. Where all readers have locked the visit, one SEG per reader by letter.
    3. Where no case is open, a SEG of the accepted outlines and an SR; the patient's FHIR bundle
       holds the same.
    4. A list of all files with their digests, last: a folder without it was not finished. The
       audit has a line.

    Parameters
    ----------
    version
        Of this program, as the objects state it.

    Raises
    ------
    ExportRefused
        Before anything is written.
    """
    _refuse_folder(lakehouse, folder)
    found = find_visits(lakehouse, patient, visits)
    made = Export(folder)
    for visit in found:
        subject = Subject(patient, visit.visit, visit.date, version)
        _write_visit(made, visit, subject)
    bundle = build_bundle(patient, [_bundled(visit) for visit in found])
    made.write(BUNDLE, _json(bundle))
    made.write(README, _readme(made).encode())
    write_whole(folder / CONTENTS, _json({"patient": patient, "files": made.files}))
    names = ", ".join(visit.visit for visit in found)
    write_audit(lakehouse.home.audit, "export", patient, f"visits {names}")
    return made


def _refuse_folder(lakehouse: Lakehouse, folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportRefused(NOT_EMPTY.format(folder=folder))
    if folder.resolve().is_relative_to(lakehouse.home.root.resolve()):
        raise ExportRefused(IN_HOME)


def _json(content: Any) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def _bundled(visit: ExportedVisit) -> BundledVisit:
    return BundledVisit(visit.visit, visit.date, visit.study_uid, visit.facts, visit.lesions)


# -- one visit -------------------------------------------------------------------------------------


def _write_visit(made: Export, visit: ExportedVisit, subject: Subject) -> None:
    if visit.release != "results":
        made.notes.append((visit.visit, WITHHELD[visit.release]))
    scans = []
    for number, (folder, digest) in enumerate(visit.scans, 1):
        suffix = f"_{number}" if number > 1 else ""
        _copy_images(made, folder, f"{visit.visit}/CT{suffix}")
        scans.append(OpenedScan(folder, digest, suffix))
    if visit.release == "images":
        return
    if any(scan.has_changed for scan in scans):
        made.notes.append((visit.visit, CHANGED))
        return
    lesions = _write_segmentations(made, visit, subject, scans)
    if visit.release == "results" and visit.lesions:
        headers = [header for scan in scans for header in scan.headers.values()]
        report = build_report(headers, lesions, visit.facts, subject)
        made.write_object(f"{visit.visit}/SR.dcm", report)


def _write_segmentations(
    made: Export, visit: ExportedVisit, subject: Subject, scans: Sequence[OpenedScan]
) -> list[ReportedLesion]:
    """Write the SEGs of all scans; the accepted lesions in the order of their rows."""
    found: dict[str, ReportedLesion] = {}
    for scan in scans:
        try:
            segments = _write_outlines(made, visit, subject, scan)
        except NotExportable as error:
            made.notes.append((visit.visit, str(error)))
            segments = {}
        found |= {one.row["lesion"]: one for one in _reported(visit, scan, segments)}
    return [found[row["lesion"]] for row in visit.lesions]


def _copy_images(made: Export, folder: Path, name: str) -> None:
    import pydicom

    for number, file in enumerate(sorted(folder.glob("*.dcm")), 1):
        content = file.read_bytes()
        header = pydicom.dcmread(io.BytesIO(content), specific_tags=["SOPInstanceUID"])
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID
        made.write(f"{name}/{number:04d}.dcm", content, **_named(header))


@dataclass(frozen=True)
class OpenedScan:
    """A scan of the vault as the lake measured on it, and the headers of its slices.

    `digest` is that of the pixels when the outlines were measured.
    """

    folder: Path
    digest: str
    suffix: str = ""

    @cached_property
    def series(self) -> Series:
        """The stack."""
        from dagster_project.domain.imaging.series import read_series

        return read_series(self.folder)

    @property
    def has_changed(self) -> bool:
        """Whether slices came, or went, since the outlines were measured."""
        from dagster_project.domain.imaging.series import pixel_digest

        return pixel_digest(self.series) != self.digest

    @cached_property
    def headers(self) -> dict[int, Dataset]:
        """Header of the slice at each index of the stack; a slice that is missing has none."""
        import pydicom

        files = self.folder.glob("*.dcm")
        read = (pydicom.dcmread(file, stop_before_pixels=True) for file in files)
        return headers_of(self.series, read)

    def outlined(self, rows: Rows) -> list[OutlinedLesion]:
        """Outlines of this scan, in the order of their rows."""
        return [
            OutlinedLesion(
                r["lesion"],
                r["organ"],
                load_mask(mask_file(self.folder, r["mask_digest"])),
                r["mask_digest"],
            )
            for r in rows
            if r["mask_digest"] is not None and r["scan"] == self.folder.name
        ]

    def diameter(self, row: Mapping[str, Any]) -> DrawnDiameter | None:
        """The line of a read's diameter on its slice.

        None where the outline's diameter is not the one that counts, or its slice is missing.
        """
        header = self.headers.get(row["diameter_slice"])
        counts = row["measurement_source"] == "mask" and row["longest_diameter_mm"] is not None
        if header is None or row["diameter_ends_mm"] is None or not counts:
            return None
        ends = to_index(self.series.affine, points_of(row["diameter_ends_mm"]))
        return DrawnDiameter(header, np.round(ends[:, :2], DECIMALS))


Segments = Mapping[str, tuple["Dataset", int]]
"""Accepted SEG and number of the segment of each lesion."""


def _write_outlines(
    made: Export, visit: ExportedVisit, subject: Subject, scan: OpenedScan
) -> Segments:
    """Write the SEGs of a scan."""
    for letter, rows in visit.outlines.items():
        if outlined := scan.outlined(rows):
            one = build_segmentation(scan.headers, scan.series, outlined, subject, letter)
            made.write_object(f"{visit.visit}/SEG_reader_{letter}{scan.suffix}.dcm", one)
    accepted = scan.outlined(visit.lesions)
    if not accepted:
        return {}
    one = build_segmentation(scan.headers, scan.series, accepted, subject, "accepted")
    made.write_object(f"{visit.visit}/SEG_accepted{scan.suffix}.dcm", one)
    return {lesion.lesion: (one, number) for number, lesion in enumerate(accepted, 1)}


def _reported(
    visit: ExportedVisit, scan: OpenedScan, segments: Segments
) -> Iterator[ReportedLesion]:
    """The accepted lesions that lie on a scan."""
    drawn = {r["lesion"]: scan.diameter(r) for r in visit.reads if r["scan"] == scan.folder.name}
    for row in visit.lesions:
        if row["scan"] == scan.folder.name:
            segmentation, number = segments.get(row["lesion"], (None, 0))
            yield ReportedLesion(row, segmentation, number, drawn.get(row["lesion"]))


def _readme(made: Export) -> str:
    lines = [
        "CT: de-identified images. SEG: outlines. SR: measurements and response (TID 1500).",
        "CT：去标识图像。SEG：轮廓。SR：测量与疗效（TID 1500）。",
        f"{BUNDLE}: FHIR R4.",
        DATES_SHIFTED,
        NOT_SIGNED,
        *(f"{visit}: {note}" for visit, note in made.notes),
    ]
    return "\n".join(lines) + "\n"
