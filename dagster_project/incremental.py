"""Imaging work skipped by content: each function finds what has no result yet, has it done by workers, and counts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.compute import Outcome, run_tasks
from dagster_project.domain.masks import MaskError, referenced_series_uids
from dagster_project.domain.reads import derive_reads, reader_artifact_flags
from dagster_project.lake.schema import conform, empty, with_fingerprint
from dagster_project.lake.store import Write
from dagster_project.lake.tables import DHI, QUARANTINE, RADIOMIC_FEATURES, READS, SCANS, Table
from dagster_project.resources import Lakehouse
from dagster_project.study import Study
from dagster_project.workers import (
    REFUSED,
    ContourFile,
    FeatureTask,
    OutlineTask,
    PairTask,
    ScanTask,
    compare_visits,
    describe_scan,
    extract_features,
    fingerprint,
    kept,
    mask_file,
    measure_outlines,
)

Say = Callable[[str], None]

NO_SERIES = "refers to no series that is here; send the CT series it was drawn on, then run again"

COMMIT_TASKS = 16
"""Lesions whose features are written in one transaction: what a killed run loses at most."""


@dataclass(frozen=True)
class Done:
    """Rows to write, what was computed, reused and refused, and a picture where one helps."""

    rows: pl.DataFrame
    counts: dict[str, int]
    picture: bytes | None = None
    write: Write | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def told_progress(outcomes: Iterable[Outcome[Any, Any]], total: int, what: str, say: Say) -> Iterator[Outcome[Any, Any]]:
    """Pass outcomes on and say about ten times how far the work is."""
    step = -(-total // 10)
    for number, outcome in enumerate(outcomes, start=1):
        if number % step == 0 or number == total:
            say(f"{what}: {number} of {total}")
        yield outcome


# -- scans ---------------------------------------------------------------------------------------------------------------


def describe_new_scans(lakehouse: Lakehouse, site: str, say: Say) -> Done:
    """Describe the series of a site's vault whose files or limits changed; keep the other rows as they are."""
    limits = lakehouse.study.section("scans")
    stored = {row["scan"]: row for row in lakehouse.lake.read(SCANS.name, site=site).iter_rows(named=True)}
    wanted = {folder.name: (folder, fingerprint(_listing(folder), dict(limits))) for folder in _scan_folders(lakehouse.home.vault / site)}
    simulated = is_simulated(lakehouse, site)
    known = {scan: {**stored[scan], "simulated": simulated} for scan, (_, digest) in wanted.items()
             if scan in stored and stored[scan]["input_fingerprint"] == digest}
    tasks = [ScanTask(site, folder.parent.name, scan, folder, dict(limits), folder / "refused" / f"{digest}.json")
             for scan, (folder, digest) in wanted.items() if scan not in known]
    new = [t for t in tasks if kept(t.kept) is None]
    reasons = {t.scan: kept(t.kept)[REFUSED] for t in tasks if t not in new}
    rows = list(known.values())
    for task, found, reason in ((o.task, o.result, o.reason) for o in told_progress(run_tasks(describe_scan, new), len(new), "scans described", say)):
        if found is None:
            reasons[task.scan] = str(reason)
        else:
            rows.append({"site": site, "patient": task.patient, "scan": task.scan, "simulated": simulated, "input_fingerprint": wanted[task.scan][1], **found})
    refused = [refusal(site, SCANS.name, f"scan {scan}", reason, simulated=simulated) for scan, reason in reasons.items()]
    lakehouse.refuse(site, SCANS.name, pl.DataFrame(refused))
    frame = _with_days(_with_flags(_frame(rows, SCANS), lakehouse, site), lakehouse, site)
    return Done(frame, {"computed": len(rows) - len(known), "reused": len(known), "removed": len(stored.keys() - wanted.keys()), "refused": len(refused)})


def _scan_folders(vault: Path) -> list[Path]:
    return sorted({file.parent for file in vault.glob("*/S*/*.dcm")}) if vault.is_dir() else []


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a vault folder's slices: vault files are written once under a keyed name and never changed in place."""
    return [(f.name, (stat := f.stat()).st_size, stat.st_mtime_ns) for f in sorted(folder.glob("*.dcm"))]


def _with_flags(scans: pl.DataFrame, lakehouse: Lakehouse, site: str) -> pl.DataFrame:
    """What readers said of artifacts, beside the automatic flags."""
    lesions = lakehouse.case_report(site, "lesions")
    if not lesions.height:
        return scans.with_columns(reader_artifact_flag=pl.lit(None, pl.Boolean))
    return scans.drop("reader_artifact_flag").join(reader_artifact_flags(lesions, scans), on=["site", "scan"], how="left").select(SCANS.names)


def _with_days(scans: pl.DataFrame, lakehouse: Lakehouse, site: str) -> pl.DataFrame:
    treatments = lakehouse.lake.read("treatments", site=site)
    starts = treatments.group_by("patient").agg((pl.col("treatment_date") - pl.duration(days=pl.col("day"))).min().alias("start"))
    dated = scans.drop("day").join(starts, on="patient", how="left")
    return conform(dated.with_columns(day=(pl.col("scan_date") - pl.col("start")).dt.total_days()).drop("start"), SCANS)


# -- reads ---------------------------------------------------------------------------------------------------------------


def measure_new_reads(lakehouse: Lakehouse, site: str, say: Say) -> Done:
    """Put contours that are new on their scans' grids, and join all readers' outlines with their lists of lesions."""
    scans, timepoints = lakehouse.read("scans", "timepoints", site=site)
    files, lost = _contour_files(lakehouse, site, scans)
    new = [(scan, file) for scan, file in files if kept(file.kept) is None]
    tasks, failed = _outline_tasks(lakehouse, site, new), []
    for outcome in told_progress(run_tasks(measure_outlines, tasks, weight=lambda t: len(t.files)), len(tasks), "scans' contours measured", say):
        reasons = outcome.result if outcome.result is not None else {f.digest: str(outcome.reason) for f in outcome.task.files}
        failed += [(outcome.task.patient, f, reasons[f.digest]) for f in outcome.task.files if f.digest in reasons]
    known = [(scan, file, kept(file.kept)) for scan, file in files]
    refused = lost + failed + [(scan["patient"], file, found[REFUSED]) for scan, file, found in known if isinstance(found, dict)]
    outlines = [{"site": site, "patient": scan["patient"], "scan": scan["scan"], "reader": file.reader, **outline}
                for scan, file, found in known if isinstance(found, list) for outline in found]
    rows, misfits = derive_reads(outlines, lakehouse.case_report(site, "lesions"), lakehouse.case_report(site, "locks"),
                                 timepoints, scans, lakehouse.study.section("reads"))
    simulated = is_simulated(lakehouse, site)
    refusals = [refusal(site, READS.name, f"patient {patient} {file.item}", why, simulated=simulated) for patient, file, why in refused]
    lakehouse.refuse(site, READS.name, pl.concat([_frame(refusals, QUARANTINE), misfits]))
    counts = {"computed": len(new) - len(failed), "reused": len(files) - len(new), "refused": len(refused) + misfits.height}
    return Done(with_fingerprint(rows), counts, _picture_of_a_read(lakehouse, rows))


Scan = dict[str, Any]
"""A row of scans."""


def _contour_files(lakehouse: Lakehouse, site: str, scans: pl.DataFrame) -> tuple[list[tuple[Scan, ContourFile]], list[tuple[str, ContourFile, str]]]:
    """A site's files of contours with their scans, and those that refer to no scan."""
    series = {row["series_instance_uid"]: row for row in scans.iter_rows(named=True)}
    found, lost = [], []
    for path in sorted((lakehouse.home.vault / site).glob("*/contours/*/*")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        scan = next((series[uid] for uid in _referenced(path) if uid in series), None)
        if scan is None:
            lost.append((path.parts[-4], ContourFile(path.parent.name, path, digest, path), NO_SERIES))
        else:
            result = scan_folder(lakehouse, scan) / "masks" / f"{fingerprint(digest, scan['pixel_digest'])}.json"
            found.append((scan, ContourFile(path.parent.name, path, digest, result)))
    return found, lost


def _referenced(file: Path) -> set[str]:
    try:
        return referenced_series_uids(file)
    except MaskError:
        return set()


def _outline_tasks(lakehouse: Lakehouse, site: str, new: list[tuple[Scan, ContourFile]]) -> list[OutlineTask]:
    by_scan: dict[str, list[ContourFile]] = {}
    rows = {scan["scan"]: scan for scan, _ in new}
    for scan, file in new:
        by_scan.setdefault(scan["scan"], []).append(file)
    return [OutlineTask(site, rows[name]["patient"], name, scan_folder(lakehouse, rows[name]), tuple(files)) for name, files in by_scan.items()]


def _picture_of_a_read(lakehouse: Lakehouse, rows: pl.DataFrame) -> bytes | None:
    """The largest outlined lesion of the site with every locked reader's contour."""
    from dagster_project.domain.masks import load_mask
    from dagster_project.domain.series import read_series
    from dagster_project.reports.figures import slice_figure

    drawn = drawn_reads(rows, lakehouse.study).sort("volume_mm3", descending=True)
    if not drawn.height:
        return None
    row = drawn.row(0, named=True)
    folder = scan_folder(lakehouse, row)
    both = drawn.filter(scan=row["scan"], lesion=row["lesion"]).sort("reader")
    masks = {r["reader"]: load_mask(mask_file(folder, r["mask_digest"])) for r in both.iter_rows(named=True)}
    return slice_figure(read_series(folder).image, masks)


# -- radiomic features ---------------------------------------------------------------------------------------------------


def extract_new_features(lakehouse: Lakehouse, site: str, say: Say) -> Done:
    """Extract features of lesions that have none yet, in transactions of a few lesions, and remove those without input."""
    wanted = {t.fingerprint: t for t in _feature_tasks(lakehouse, site)}
    present = {digest: (scan, lesion) for digest, scan, lesion in lakehouse.lake.query(
        f"SELECT DISTINCT input_fingerprint, scan, lesion FROM {RADIOMIC_FEATURES.name} WHERE site = ?", [site]).fetchall()}
    tasks = [t for digest, t in wanted.items() if digest not in present]
    stale = {d: where for d, where in present.items() if d not in wanted}
    waiting, refused = [], []
    for outcome in told_progress(run_tasks(extract_features, tasks, weight=lambda t: t.volume_mm3), len(tasks), "lesions measured", say):
        if outcome.result is None:
            refused.append(_refused_features(outcome.task, str(outcome.reason)))
        else:
            waiting.append(outcome)
        if len(waiting) >= COMMIT_TASKS:
            _exchange_features(lakehouse, site, stale, waiting)
            waiting = []
    write = _exchange_features(lakehouse, site, stale, waiting, rest=True)
    lakehouse.refuse(site, RADIOMIC_FEATURES.name, pl.DataFrame(refused))
    removed = len(present.keys() - wanted.keys())
    counts = {"computed": len(tasks) - len(refused), "reused": len(wanted) - len(tasks), "removed": removed, "refused": len(refused)}
    return Done(empty(RADIOMIC_FEATURES), counts, write=write)


def _exchange_features(
    lakehouse: Lakehouse, site: str, stale: dict[str, tuple[str, str]], outcomes: list[Outcome[FeatureTask, pl.DataFrame]], *, rest: bool = False,
) -> Write:
    """Put lesions' features in the place of the stale ones of the same lesions, in one transaction; at last remove the stale rest."""
    places = {(o.task.key["scan"], o.task.key["lesion"]) for o in outcomes}
    removed = [digest for digest, where in stale.items() if rest or where in places]
    for digest in removed:
        del stale[digest]
    added = pl.concat([empty(RADIOMIC_FEATURES), *(o.result for o in outcomes if o.result is not None)])
    return lakehouse.lake.exchange(RADIOMIC_FEATURES.name, site=site, removed=removed, added=added)


def _refused_features(task: FeatureTask, reason: str) -> dict[str, Any]:
    key = task.key
    return refusal(str(key["site"]), RADIOMIC_FEATURES.name, f"scan {key['scan']} lesion {key['lesion']}", reason, simulated=bool(key["simulated"]))


def _feature_tasks(lakehouse: Lakehouse, site: str) -> list[FeatureTask]:
    """One task a scan and lesion: all locked readers' masks of it, and the other lesions of the scan, which the rings spare."""
    from dagster_project.radiomics.extraction import engine_name

    settings = lakehouse.study.section("radiomics")
    fixed = {"settings_digest": lakehouse.study.section_digest("radiomics"), "engine": engine_name(settings)}
    reads = drawn_reads(lakehouse.lake.read(READS.name, site=site), lakehouse.study)
    pixels = dict(lakehouse.lake.read(SCANS.name, site=site).select("scan", "pixel_digest").iter_rows())
    tasks = []
    for (scan, lesion), rows in reads.sort("reader").group_by(["scan", "lesion"], maintain_order=True):
        first, folder = rows.row(0, named=True), scan_folder(lakehouse, rows.row(0, named=True))
        masks = {r["reader"]: str(r["mask_digest"]) for r in rows.iter_rows(named=True)}
        others = sorted(reads.filter((pl.col("scan") == scan) & (pl.col("lesion") != lesion))["mask_digest"].unique())
        what = {n: first[n] for n in ("site", "patient", "visit", "scan", "lesion", "simulated")} | fixed
        digest = fingerprint(what, pixels[scan], masks, others)  # with the names: a row bears its visit and lesion, which corrections change
        key = what | {"input_fingerprint": digest}
        tasks.append(FeatureTask(key, folder, {r: mask_file(folder, d) for r, d in masks.items()}, tuple(mask_file(folder, d) for d in others),
                                 dict(settings), digest, float(rows["volume_mm3"].max() or 0)))
    return tasks


# -- dynamic heterogeneity index -----------------------------------------------------------------------------------------


def compare_new_pairs(lakehouse: Lakehouse, say: Say) -> Done:
    """Compare the accepted masks of each lesion between visits, once a pair; then fit the limits over all pairs."""
    from dagster_project.radiomics.dhi import derive_dhi

    settings = lakehouse.study.section("dhi")
    tasks = _pair_tasks(lakehouse)
    new = [t for t in tasks if kept(t.kept) is None]
    refused = [(o.task, str(o.reason)) for o in told_progress(
        run_tasks(compare_visits, new, weight=lambda t: t.volume_mm3), len(new), "pairs compared", say) if o.reason]
    rows = [dict(r) for t in tasks if (r := kept(t.kept)) is not None]
    for site in lakehouse.home.sites():
        lakehouse.refuse(site, DHI.name, pl.DataFrame([_refused_pair(t, why) for t, why in refused if t.key["site"] == site]))
    frame = derive_dhi(pl.DataFrame(rows, infer_schema_length=None), settings) if rows else empty(DHI).drop("input_fingerprint")
    counts = {"computed": len(new) - len(refused), "reused": len(tasks) - len(new), "refused": len(refused)}
    return Done(frame.with_columns(input_fingerprint=pl.lit(fingerprint(sorted(t.kept.stem for t in tasks)))), counts)


def _refused_pair(task: PairTask, reason: str) -> dict[str, Any]:
    k = task.key
    return refusal(str(k["site"]), DHI.name, f"patient {k['patient']} lesion {k['lesion']} {k['from_visit']}-{k['to_visit']}", reason, simulated=bool(k["simulated"]))


def _pair_tasks(lakehouse: Lakehouse) -> list[PairTask]:
    lesions, scans = lakehouse.read("lesions", "scans")
    seen = lesions.filter(pl.col("visit").is_in(["T0", "T1", "T2"])).join(scans.select("scan", "pixel_digest"), on="scan")
    pairs = seen.join(seen, on=["site", "patient", "lesion"], suffix="_to").filter(pl.col("visit") < pl.col("visit_to"))
    return [_pair_task(lakehouse, row) for row in pairs.iter_rows(named=True)]


def _pair_task(lakehouse: Lakehouse, row: dict[str, Any]) -> PairTask:
    settings = lakehouse.study.section("dhi")
    earlier, later = scan_folder(lakehouse, row), scan_folder(lakehouse, row | {"scan": row["scan_to"]})
    key = {"site": row["site"], "patient": row["patient"], "lesion": row["lesion"], "from_visit": row["visit"], "to_visit": row["visit_to"],
           "simulated": row["simulated"]}
    digest = fingerprint(key, row["pixel_digest"], row["pixel_digest_to"], row["mask_digest"], row["mask_digest_to"], dict(settings))
    kept_file = lakehouse.home.vault / row["site"] / row["patient"] / "pairs" / f"{digest}.json"
    masks = [mask_file(f, d) if (d := row[name]) else None for f, name in ((earlier, "mask_digest"), (later, "mask_digest_to"))]
    return PairTask(key, earlier, masks[0], later, masks[1], dict(settings), float(row["volume_mm3"] or 0), kept_file)


def drawn_reads(reads: pl.DataFrame, study: Study) -> pl.DataFrame:
    """Reads with an outline that may be looked at: closed by their reader's lock, or found among the site's images."""
    closed = pl.col("locked_at").is_not_null() | (pl.col("reader") == study.section("reads")["site_reader"])
    return reads.filter(pl.col("mask_digest").is_not_null() & closed)


# -- shared --------------------------------------------------------------------------------------------------------------


def scan_folder(lakehouse: Lakehouse, row: dict[str, Any]) -> Path:
    """The vault folder of a row's scan."""
    return lakehouse.home.vault / row["site"] / row["patient"] / row["scan"]


def is_simulated(lakehouse: Lakehouse, site: str) -> bool:
    """Whether the site's landing is marked as simulated; kept in the vault, since the landing is read by intake alone."""
    return (lakehouse.home.vault / site / "SIMULATED").is_file()


def refusal(site: str, stage: str, item: str, reason: str, *, simulated: bool) -> dict[str, Any]:
    """A row of the quarantine."""
    return dict(zip(QUARANTINE.names, (site, stage, item, reason, simulated), strict=True))


def _frame(rows: list[dict[str, Any]], table: Table) -> pl.DataFrame:
    """Rows as a frame of a table; what a row does not have is NULL."""
    whole = [{name: row.get(name) for name in table.names} for row in rows]
    return conform(pl.DataFrame(whole, infer_schema_length=None), table) if rows else empty(table)
