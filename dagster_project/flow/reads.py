"""Contours of a site's vault on their scans' grids, rasterised and measured once a file."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.compute import reason_of, run_tasks
from dagster_project.domain.imaging.masks import kept_overlap
from dagster_project.domain.imaging.outlines import NO_FEATURES
from dagster_project.domain.imaging.repeat_scans import without_repeats
from dagster_project.domain.reading.lesion_matching import match_lesions
from dagster_project.domain.reading.locked_reads import IN_FUTURE, close_reads
from dagster_project.domain.reading.reads import derive_reads
from dagster_project.flow.outline_places import placed_outlines
from dagster_project.flow.result_cache import (
    REFUSED,
    mask_file,
    outlines_file,
    read_cached,
    scan_folder,
    write_cached,
)
from dagster_project.flow.step_result import (
    Say,
    StepResult,
    frame_of,
    is_simulated,
    refusal,
    report_progress,
)
from dagster_project.lake.files import read_parquet_of, write_parquet_whole
from dagster_project.lake.schema import polars_schema, with_fingerprint
from dagster_project.lake.tables import QUARANTINE, READS

if TYPE_CHECKING:
    from dagster_project.domain.imaging.series import Series
    from dagster_project.lake.home import Home
    from dagster_project.resources import Lakehouse
    from dagster_project.study import Study

LEDGER = "locked_reads.parquet"
"""In a patient's folder of the vault: every read as it was when it was first locked."""

OPEN_READS = "open_reads.parquet"
"""Beside it: reads as delivered that are not locked yet; their own reader's page shows them."""


@dataclass(frozen=True)
class ContourFile:
    """One file of contours, or the ROIs of it that lie on one scan."""

    reader: str
    path: Path
    digest: str
    kept: Path
    positions: tuple[int, ...] = ()

    @property
    def item(self) -> str:
        """The file's name in the quarantine: its digest, which tells nothing."""
        return f"reader {self.reader} contours sha256:{self.digest[:12]}"


@dataclass(frozen=True)
class OutlineTask:
    """Put a scan's new files of contours on its grid; the scan is read once for all of them."""

    site: str
    patient: str
    scan: str
    folder: Path
    files: tuple[ContourFile, ...]


def measure_outlines(task: OutlineTask) -> dict[str, str]:
    """Rasterise, measure and keep every outline of the files.

    Returns
    -------
    dict
        Digest of each file that nothing was kept of, and why; the next run tries it again.
    """
    from dagster_project.domain.imaging.series import read_series

    series, failed = read_series(task.folder), {}
    for file in task.files:
        try:
            write_cached(file.kept, _measured(file, task.folder, series))
        except Exception as error:
            failed[file.digest] = reason_of(error)
    return failed


def _measured(
    file: ContourFile, folder: Path, series: Series
) -> list[dict[str, Any]] | dict[str, str]:
    """Rows of a file's outlines, or why the file cannot be used.

    The reason is stored like a result, since only another file or scan would change it.
    """
    from dagster_project.domain.imaging.masks import (
        MaskError,
        measure_mask,
        read_outlines,
        save_mask,
    )

    try:
        outlines = read_outlines(file.path, series, positions=file.positions or None)
    except MaskError as error:
        return {REFUSED: str(error)}
    rows = []
    for outline in outlines:
        measured = measure_mask(outline.mask, series.image, series.affine)
        if measured["voxel_count"]:
            save_mask(mask_file(folder, measured["mask_digest"]), outline.mask)
        facts = {
            "label": outline.label,
            "mask_source": outline.source,
            "border_rule": outline.border_rule,
            "n_outside": outline.n_outside,
            "outline_flags": list(outline.flags),
            "outline_source": outline_source(file.digest, outline.label),
            "refused": outline.refused,
            "image_share": measured["voxel_count"] / outline.mask.size,
        }
        rows.append({**facts, **measured})
    return rows


def _measure(tasks: list[OutlineTask], say: Say) -> Iterator[tuple[str, ContourFile, str]]:
    """Run the tasks; patient, file and reason of each file that was refused."""
    outcomes = run_tasks(measure_outlines, tasks, weight=lambda t: len(t.files))
    for outcome in report_progress(outcomes, len(tasks), "scans' contours measured", say):
        reasons = outcome.result
        if reasons is None:
            reasons = {f.digest: str(outcome.reason) for f in outcome.task.files}
        for file in outcome.task.files:
            if file.digest in reasons:
                yield outcome.task.patient, file, reasons[file.digest]


def measure_new_reads(lakehouse: Lakehouse, site: str, say: Say) -> StepResult:
    """Put new contours on their scans' grids; join readers' outlines with their lesion lists."""
    scans, timepoints = lakehouse.read("scans", "timepoints", site=site)
    files, lost = _contour_files(lakehouse, site, scans)
    new = [(scan, file) for scan, file in files if read_cached(file.kept) is None]
    failed = list(_measure(_outline_tasks(lakehouse, site, new), say))
    known = [(scan, file, read_cached(file.kept)) for scan, file in files]
    unread = [
        (scan["patient"], file, found[REFUSED])
        for scan, file, found in known
        if isinstance(found, dict)
    ]
    outlines = [
        {
            "site": site,
            "patient": scan["patient"],
            "scan": scan["scan"],
            "reader": file.reader,
            **outline,
        }
        for scan, file, found in known
        if isinstance(found, list)
        for outline in found
    ]
    rows, misfits = derive_reads(
        without_repeats(outlines, timepoints, scans),
        lakehouse.case_report(site, "lesions"),
        lakehouse.case_report(site, "locks"),
        timepoints,
        scans,
        lakehouse.study.section("reads"),
    )
    unusable = (
        {one.source for one in lost}
        | {file.digest for _, file, _ in unread}
        | {o["outline_source"] for o in outlines if o["refused"]}
    )
    rows, late = _close(lakehouse, site, rows, timepoints, unusable)
    rows, renamed = _one_name_for_all_readers(lakehouse, rows)
    simulated = is_simulated(lakehouse, site)
    refusals = [
        refusal(site, READS.name, f"patient {patient} {file.item}", why, simulated=simulated)
        for patient, file, why in failed + unread
    ]
    refusals += [
        refusal(site, READS.name, one.item, one.reason, simulated=simulated) for one in lost
    ]
    lakehouse.refuse(
        site, READS.name, pl.concat([frame_of(refusals, QUARANTINE), misfits, late, renamed])
    )
    counts = {
        "computed": len(new) - len(failed),
        "reused": len(files) - len(new),
        "refused": len(refusals) + misfits.height + late.height,
    }
    return StepResult(with_fingerprint(rows), counts, _picture_of_a_read(lakehouse, rows))


def _one_name_for_all_readers(
    lakehouse: Lakehouse, rows: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads whose lesions bear one name with all readers, compared by their masks in the vault."""

    def overlap(a: Mapping[str, Any], b: Mapping[str, Any]) -> float | None:
        folder = scan_folder(lakehouse.home.vault, a)
        return kept_overlap(
            mask_file(folder, a["mask_digest"]), mask_file(folder, b["mask_digest"])
        )

    return match_lesions(rows, overlap, lakehouse.study.section("reads")["site_reader"])


def _close(
    lakehouse: Lakehouse,
    site: str,
    reads: pl.DataFrame,
    timepoints: pl.DataFrame,
    unusable: Collection[str] = (),
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads that may be seen, and what was withheld or refused.

    What is locked is noted beside each patient's scans.
    """
    visits = {
        (site, scan): row["visit"]
        for row in timepoints.sort("scan_date", "visit", nulls_last=True).iter_rows(named=True)
        for scan in (row["scan"], *row["alternative_scans"])
    }
    noted = noted_reads(lakehouse, site, LEDGER).select(reads.columns)
    closed = close_reads(
        reads, noted, visits, lakehouse.study.section("reads"), dt.datetime.now(dt.UTC), unusable
    )
    shown, ledger, refused = closed.frames()
    _note(lakehouse.home.vault / site, LEDGER, ledger, noted)
    before = noted_reads(lakehouse, site, OPEN_READS).select(reads.columns)
    _note(lakehouse.home.vault / site, OPEN_READS, closed.open_reads(), before)
    return shown, refused


def waits_for_a_lock(home: Home, site: str) -> bool:
    """Whether a read stays open until the time in its LOCKED has come, without another delivery."""
    file = home.vault / site / "refused" / f"{READS.name}.parquet"
    return file.is_file() and read_parquet_of(QUARANTINE, file).filter(reason=IN_FUTURE).height > 0


def noted_reads(lakehouse: Lakehouse, site: str, name: str) -> pl.DataFrame:
    """Reads in files of that name in the patients' folders, without those who are held out.

    A file outlives the schema it was written with: columns that it does not have yet are NULL.
    """
    held_out = lakehouse.held_out(site)
    found = sorted((lakehouse.home.vault / site).glob(f"*/{name}"))
    files = [file for file in found if file.parent.name not in held_out]
    empty_reads = pl.DataFrame(schema=polars_schema(READS)).drop("input_fingerprint")
    noted = [read_parquet_of(READS, file) for file in files]
    return pl.concat([empty_reads, *noted], how="diagonal").select(empty_reads.columns)


def _note(vault: Path, name: str, rows: pl.DataFrame, before: pl.DataFrame) -> None:
    """Write each patient's rows where they changed; no file where there are none any more."""
    known = before.partition_by("patient", as_dict=True)
    now = rows.partition_by("patient", as_dict=True)
    for patient, own in now.items():
        if patient not in known or not own.equals(known[patient]):
            write_parquet_whole(vault / str(patient[0]) / name, own)
    for patient in known.keys() - now.keys():
        if name == OPEN_READS:
            (vault / str(patient[0]) / name).unlink()


Scan = dict[str, Any]
"""A row of scans."""


@dataclass(frozen=True)
class Lost:
    """An outline, or a whole file, that lies on no scan of its patient."""

    item: str
    reason: str
    source: str


def outline_source(digest: str, label: str = "") -> str:
    """Name of a delivered outline: its file's digest, and its label there.

    The digest alone names the whole file.
    """
    return f"{digest} {label}".rstrip()


def _contour_files(
    lakehouse: Lakehouse, site: str, scans: pl.DataFrame
) -> tuple[list[tuple[Scan, ContourFile]], list[Lost]]:
    """A site's files of contours by the scans that their outlines lie on, and what lies on none."""
    by_patient = _scans_by_preference(lakehouse, site, scans)
    found: list[tuple[Scan, ContourFile]] = []
    lost: list[Lost] = []
    held_out = lakehouse.held_out(site)
    for path in sorted((lakehouse.home.vault / site).glob("*/contours/*/*")):
        patient = path.parts[-4]
        if patient in held_out:
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        placed = placed_outlines(lakehouse.home.vault, path, digest, by_patient.get(patient, []))
        for scan, positions in placed.on_scans:
            result = outlines_file(
                scan_folder(lakehouse.home.vault, scan), path, digest, scan, positions
            )
            found.append((scan, ContourFile(path.parent.name, path, digest, result, positions)))
        item = f"patient {patient} {ContourFile(path.parent.name, path, digest, path).item}"
        for position, label, reason in placed.lost:
            roi = f" ROI {position} {label}".rstrip() if position else ""
            lost.append(Lost(f"{item}{roi}", reason, outline_source(digest, label)))
    return found, lost


def _scans_by_preference(
    lakehouse: Lakehouse, site: str, scans: pl.DataFrame
) -> dict[str, list[Scan]]:
    """Each patient's scans in order of preference.

    First those that the protocol chose, then the others of a visit in its order, then the rest by
    name.
    """
    (timepoints,) = lakehouse.read("timepoints", site=site)
    ranks = {
        scan: k
        for row in timepoints.iter_rows(named=True)
        for k, scan in enumerate((row["scan"], *row["alternative_scans"]))
    }
    found: dict[str, list[Scan]] = {}
    for scan in sorted(
        scans.iter_rows(named=True),
        key=lambda row: (ranks.get(row["scan"], len(ranks)), row["scan"]),
    ):
        found.setdefault(scan["patient"], []).append(scan)
    return found


def outlines_on(
    lakehouse: Lakehouse, site: str, scans: pl.DataFrame, wanted: set[str]
) -> list[dict[str, Any]]:
    """Outlines that readers drew on some scans, with `scan` and `reader`.

    An earlier step measured them. Outlines that are no read of a visit are among them.
    """
    known = [
        (scan, file, read_cached(file.kept))
        for scan, file in _contour_files(lakehouse, site, scans)[0]
        if scan["scan"] in wanted
    ]
    return [
        {
            "site": site,
            "patient": scan["patient"],
            "scan": scan["scan"],
            "reader": file.reader,
            **outline,
        }
        for scan, file, found in known
        if isinstance(found, list)
        for outline in found
    ]


def _outline_tasks(
    lakehouse: Lakehouse, site: str, new: list[tuple[Scan, ContourFile]]
) -> list[OutlineTask]:
    by_scan: dict[str, list[ContourFile]] = {}
    rows = {scan["scan"]: scan for scan, _ in new}
    for scan, file in new:
        by_scan.setdefault(scan["scan"], []).append(file)
    return [
        OutlineTask(
            site,
            rows[name]["patient"],
            name,
            scan_folder(lakehouse.home.vault, rows[name]),
            tuple(files),
        )
        for name, files in by_scan.items()
    ]


def _picture_of_a_read(lakehouse: Lakehouse, rows: pl.DataFrame) -> bytes | None:
    """The largest outlined lesion of the site with every locked reader's contour."""
    from dagster_project.domain.imaging.masks import load_mask
    from dagster_project.domain.imaging.series import read_series
    from dagster_project.reports.figures.lesions import slice_figure

    drawn = drawn_reads(rows, lakehouse.study).sort("volume_mm3", descending=True, nulls_last=True)
    if not drawn.height:
        return None
    row = drawn.row(0, named=True)
    folder = scan_folder(lakehouse.home.vault, row)
    both = drawn.filter(scan=row["scan"], lesion=row["lesion"]).sort("reader")
    masks = {
        r["reader"]: load_mask(mask_file(folder, r["mask_digest"]))
        for r in both.iter_rows(named=True)
    }
    return slice_figure(read_series(folder).image, masks)


def drawn_reads(reads: pl.DataFrame, study: Study) -> pl.DataFrame:
    """Reads with an outline that may be looked at.

    It is closed by its reader's lock, or was found among the site's images.
    """
    closed = pl.col("locked_at").is_not_null() | (
        pl.col("reader") == study.section("reads")["site_reader"]
    )
    return reads.filter(pl.col("mask_digest").is_not_null() & closed)


def measured_reads(reads: pl.DataFrame, study: Study) -> pl.DataFrame:
    """Of `drawn_reads` those that features may be measured on: without a flag of `NO_FEATURES`."""
    flagged = pl.col("outline_flags").list.set_intersection(sorted(NO_FEATURES)).list.len() > 0
    return drawn_reads(reads, study).filter(~flagged.fill_null(value=False))
