"""Series of a site's vault, described once: what has no row yet goes to the workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.compute import run_tasks
from dagster_project.domain.reading.reads import reader_artifact_flags
from dagster_project.flow.result_cache import (
    REFUSED,
    contents_of,
    fingerprint,
    images_file,
    read_cached,
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
from dagster_project.intake.vault.vault import noted_digests
from dagster_project.lake.schema import conform
from dagster_project.lake.tables import SCANS

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse


@dataclass(frozen=True)
class ScanTask:
    """Describe one series."""

    site: str
    patient: str
    scan: str
    folder: Path
    limits: Mapping[str, Any]
    kept: Path


def describe_scan(task: ScanTask) -> dict[str, Any]:
    """Geometry, acquisition and artifact figures of a series.

    Where it cannot be stacked the reason is stored, since only other slices would change it.
    """
    from dagster_project.domain.imaging.series import SeriesError, describe_series, read_series

    try:
        series = read_series(task.folder)
        write_cached(images_file(task.folder, task.kept.stem), sorted(series.sop_instance_uids))
        return describe_series(series, task.limits)
    except SeriesError as error:
        write_cached(task.kept, {REFUSED: str(error)})
        raise


def _task(site: str, scan: str, folder: Path, digest: str, limits: Mapping[str, Any]) -> ScanTask:
    """The work on one series; the reason of a refusal is kept under the digest of its files."""
    refused = folder / "refused" / f"{digest}.json"
    return ScanTask(site, folder.parent.name, scan, folder, dict(limits), refused)


def describe_new_scans(lakehouse: Lakehouse, site: str, say: Say) -> StepResult:
    """Describe the series of a site's vault whose files or limits changed; the other rows stay."""
    from dagster_project.domain.imaging.series import scan_remarks

    limits = lakehouse.study.section("scans")
    stored = {
        row["scan"]: row for row in lakehouse.lake.read(SCANS.name, site=site).iter_rows(named=True)
    }
    noted = noted_digests(lakehouse.home.vault / site)
    wanted = {
        folder.name: (folder, fingerprint(contents_of(folder, noted), dict(limits)))
        for folder in _scan_folders(lakehouse, site)
    }
    simulated = is_simulated(lakehouse, site)
    known = {
        scan: {**stored[scan], "simulated": simulated}
        for scan, (_, digest) in wanted.items()
        if scan in stored and stored[scan]["input_fingerprint"] == digest
    }
    tasks = [
        _task(site, scan, folder, digest, limits)
        for scan, (folder, digest) in wanted.items()
        if scan not in known
    ]
    new = [t for t in tasks if read_cached(t.kept) is None]
    reasons = {t.scan: read_cached(t.kept)[REFUSED] for t in tasks if t not in new}
    rows = list(known.values())
    for task, found, reason in (
        (o.task, o.result, o.reason)
        for o in report_progress(run_tasks(describe_scan, new), len(new), "scans described", say)
    ):
        if found is None:
            reasons[task.scan] = str(reason)
        else:
            own = {"patient": task.patient, "scan": task.scan, "simulated": simulated}
            digest = wanted[task.scan][1]
            rows.append({"site": site, **own, "input_fingerprint": digest, **found})
    refused = [
        refusal(site, SCANS.name, f"scan {scan}", reason, simulated=simulated)
        for scan, reason in reasons.items()
    ]
    remarks = [
        refusal(site, SCANS.name, f"scan {row['scan']}", remark, simulated=simulated)
        for row in rows
        for remark in scan_remarks(row)
    ]
    lakehouse.refuse(site, SCANS.name, pl.DataFrame(refused + remarks))
    frame = _with_days(_with_flags(frame_of(rows, SCANS), lakehouse, site), lakehouse, site)
    return StepResult(
        frame,
        {
            "computed": len(rows) - len(known),
            "reused": len(known),
            "removed": len(stored.keys() - wanted.keys()),
            "refused": len(refused),
        },
    )


def _scan_folders(lakehouse: Lakehouse, site: str) -> list[Path]:
    vault, held_out = lakehouse.home.vault / site, lakehouse.held_out(site)
    found = {file.parent for file in vault.glob("*/S*/*.dcm")} if vault.is_dir() else set()
    return sorted(folder for folder in found if folder.parent.name not in held_out)


def _with_flags(scans: pl.DataFrame, lakehouse: Lakehouse, site: str) -> pl.DataFrame:
    """What readers said of artifacts, beside the automatic flags."""
    lesions = lakehouse.case_report(site, "lesions")
    if not lesions.height:
        return scans.with_columns(reader_artifact_flag=pl.lit(None, pl.Boolean))
    return (
        scans.drop("reader_artifact_flag")
        .join(reader_artifact_flags(lesions, scans), on=["site", "scan"], how="left")
        .select(SCANS.names)
    )


def _with_days(scans: pl.DataFrame, lakehouse: Lakehouse, site: str) -> pl.DataFrame:
    treatments = lakehouse.lake.read("treatments", site=site)
    starts = treatments.group_by("patient").agg(
        (pl.col("treatment_date") - pl.duration(days=pl.col("day"))).min().alias("start")
    )
    dated = scans.drop("day").join(starts, on="patient", how="left")
    return conform(
        dated.with_columns(day=(pl.col("scan_date") - pl.col("start")).dt.total_days()).drop(
            "start"
        ),
        SCANS,
    )
