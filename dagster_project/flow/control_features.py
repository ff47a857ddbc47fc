"""Measures a sample of each site's lesions again on purpose, and every repeat scan.

Each lesion, outline and setting is measured once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.compute import Outcome, run_tasks
from dagster_project.domain.imaging.labels import labels_of_outlines
from dagster_project.domain.imaging.outline_flags import judge_outline, without_features
from dagster_project.domain.imaging.repeat_scans import find_repeats
from dagster_project.flow.dhi import PEELING
from dagster_project.flow.reads import drawn_reads, measured_reads, outlines_on
from dagster_project.flow.result_cache import fingerprint, mask_file, scan_folder, scan_image
from dagster_project.flow.step_result import Say, StepResult, refusal, report_progress
from dagster_project.lake.schema import conform, empty
from dagster_project.lake.tables import CONTROL_FEATURES, READS, SCANS, TIMEPOINTS

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse
    from models.evaluation.negative_controls import JudgedControl

SECTIONS = ("radiomics", "perturbation", "muscle", "dhi")
"""Sections of the protocol that a sampled lesion is measured by."""

SAMPLED_VISIT = "T0"
"""The visit before treatment.

What the controls keep of a lesion, its size and densities, is not yet its response.
"""

JUDGED = """
SELECT c.site, c.patient, c.control_type, c.feature, c.value, c.region_volume_mm3, o.responder
FROM control_features c JOIN outcomes o USING (site, patient)
WHERE list_contains(?, c.control_type)"""
"""The negative controls' features beside their patients' responses."""


@dataclass(frozen=True)
class ControlTask:
    """Measure one lesion again.

    Where `repeat` is 0 the lesion is perturbed, shuffled and moved; else it is measured as outlined
    on a repeat scan.
    """

    key: Mapping[str, Any]
    folder: Path
    pixel_digest: str
    mask: Path
    other_reader: Path | None
    others: tuple[Path, ...]
    settings: Mapping[str, Mapping[str, Any]]
    volume_mm3: float
    repeat: int = 0


def measure_again(task: ControlTask) -> pl.DataFrame:
    """Rows of control_features for one lesion."""
    rows = _repeat_rows(task) if task.repeat else _sampled_rows(task)
    return conform(
        pl.DataFrame(rows, infer_schema_length=None).with_columns(
            pl.lit(v).alias(k) for k, v in task.key.items()
        ),
        CONTROL_FEATURES,
    )


def _repeat_rows(task: ControlTask) -> list[dict[str, Any]]:
    from dagster_project.domain.imaging.masks import load_mask
    from dagster_project.radiomics.extraction import measure_tumor, prepare_tumor

    radiomics = task.settings["radiomics"]
    crop = prepare_tumor(
        scan_image(task.folder, task.pixel_digest), load_mask(task.mask), radiomics
    )
    return [
        {"control_type": "repeat", "replicate": task.repeat, **row}
        for row in measure_tumor(*crop, radiomics)
    ]


def _sampled_rows(task: ControlTask) -> list[dict[str, Any]]:
    from dagster_project.domain.imaging.masks import load_mask, load_union
    from dagster_project.radiomics.controls import measure_controls
    from dagster_project.radiomics.perturbation import measure_copies
    from dagster_project.radiomics.preparation import outline_distance_mm

    image, mask = scan_image(task.folder, task.pixel_digest), load_mask(task.mask)
    radiomics, perturbation, muscle, peeling = (task.settings[name] for name in SECTIONS)
    apart = (
        outline_distance_mm(image, mask, load_mask(task.other_reader))
        if task.other_reader
        else None
    )
    found = measure_controls(
        image, mask, load_union(task.others), settings=muscle, radiomics=radiomics
    )
    copies = measure_copies(
        image, mask, contour_mm=apart, settings=perturbation, radiomics=radiomics, peeling=peeling
    )
    return [
        *({"control_type": control, "replicate": 0, **row} for control, row in found),
        *({"control_type": "perturbed", "replicate": k, **row} for k, row in copies),
    ]


def measure_new_controls(lakehouse: Lakehouse, site: str, say: Say) -> StepResult:
    """Measure what is new; remove what is no longer in the sample or has no input."""
    wanted = {
        t.key["input_fingerprint"]: t
        for t in [*_sampled_tasks(lakehouse, site), *_repeat_tasks(lakehouse, site)]
    }
    present = {
        row[0]
        for row in lakehouse.lake.query(
            f"SELECT DISTINCT input_fingerprint FROM {CONTROL_FEATURES.name} WHERE site = ?", [site]
        ).fetchall()
    }
    tasks = [t for digest, t in wanted.items() if digest not in present]
    outcomes = run_tasks(
        measure_again, tasks, weight=lambda t: t.volume_mm3, together=lambda t: t.key["scan"]
    )
    done: list[Outcome[ControlTask, pl.DataFrame]] = list(
        report_progress(outcomes, len(tasks), "lesions measured again", say)
    )
    added = [o.result for o in done if o.result is not None]
    refused = [_refused(o.task, o.reason) for o in done if o.reason]
    removed = sorted(present - wanted.keys())
    write = lakehouse.lake.replace_by_fingerprint(
        CONTROL_FEATURES.name,
        site=site,
        removed=removed,
        added=pl.concat([empty(CONTROL_FEATURES), *added]),
    )
    lakehouse.refuse(site, CONTROL_FEATURES.name, pl.DataFrame(refused))
    counts = {
        "computed": len(added),
        "reused": len(wanted) - len(tasks),
        "removed": len(removed),
        "refused": len(refused),
    }
    return StepResult(empty(CONTROL_FEATURES), counts, write=write)


def _refused(task: ControlTask, reason: str) -> dict[str, Any]:
    key = task.key
    return refusal(
        str(key["site"]),
        CONTROL_FEATURES.name,
        f"scan {key['scan']} lesion {key['lesion']}",
        reason,
        simulated=bool(key["simulated"]),
    )


def sample_reads(reads: pl.DataFrame, patients: int) -> pl.DataFrame:
    """The first reader's read of the largest lesion at T0, for a sample of patients.

    The sample is the first `patients` patients in the order of a digest of their pseudonym.

    Neither an outcome nor the order of arrival has a part in it; a patient who comes later takes
    the place of one at most.
    """
    first = (
        reads.filter(visit=SAMPLED_VISIT)
        .sort("reader", "lesion")
        .sort("volume_mm3", descending=True, maintain_order=True, nulls_last=True)
    )
    largest = first.group_by("patient", maintain_order=True).agg(
        pl.col("scan").first(), pl.col("lesion").first()
    )
    chosen = sorted(largest.iter_rows(named=True), key=lambda row: fingerprint(row["patient"]))[
        :patients
    ]
    keys = pl.DataFrame(chosen, schema=largest.schema)
    return (
        reads.join(keys, on=["patient", "scan", "lesion"])
        .sort("patient", "reader")
        .unique("patient", keep="first", maintain_order=True)
    )


def _sampled_tasks(lakehouse: Lakehouse, site: str) -> list[ControlTask]:
    settings = {name: dict(lakehouse.study.section(name)) for name in SECTIONS}
    settings["dhi"] = {name: settings["dhi"][name] for name in PEELING}
    scans = lakehouse.lake.read(SCANS.name, site=site).select("patient", "scan", "pixel_digest")
    reads = drawn_reads(lakehouse.lake.read(READS.name, site=site), lakehouse.study).join(
        scans, on=["patient", "scan"]
    )
    usable = measured_reads(reads, lakehouse.study)
    sample = sample_reads(usable, lakehouse.study.section("controls")["patients_per_site"])
    return [
        _sampled_task(lakehouse, row, reads, usable, settings)
        for row in sample.iter_rows(named=True)
    ]


def _sampled_task(
    lakehouse: Lakehouse,
    row: dict[str, Any],
    reads: pl.DataFrame,
    usable: pl.DataFrame,
    settings: dict[str, dict[str, Any]],
) -> ControlTask:
    folder = scan_folder(lakehouse.home.vault, row)
    same, measured = (
        frame.filter(patient=row["patient"], scan=row["scan"]) for frame in (reads, usable)
    )
    second = (
        measured.filter((pl.col("lesion") == row["lesion"]) & (pl.col("reader") != row["reader"]))
        .sort("reader")["mask_digest"]
        .to_list()[:1]
    )
    others = sorted(same.filter(pl.col("lesion") != row["lesion"])["mask_digest"].unique())
    task = _task(lakehouse, row, settings)
    inputs = (task.key["input_fingerprint"], second, others)
    return replace(
        task,
        key={**task.key, "input_fingerprint": fingerprint(*inputs)},
        others=tuple(mask_file(folder, d) for d in others),
        other_reader=mask_file(folder, second[0]) if second else None,
    )


def _repeat_tasks(lakehouse: Lakehouse, site: str) -> list[ControlTask]:
    """One task a read and repeat scan on which the same reader outlined the same lesion."""
    scans, timepoints = (
        lakehouse.lake.read(SCANS.name, site=site),
        lakehouse.lake.read(TIMEPOINTS.name, site=site),
    )
    repeats: dict[str, list[str]] = {}
    for first, other in find_repeats(timepoints, scans):
        repeats.setdefault(first["scan"], []).append(other["scan"])
    if not repeats:
        return []
    drawn = outlines_on(
        lakehouse, site, scans, {scan for others in repeats.values() for scan in others}
    )
    labels = labels_of_outlines(drawn)
    rules = lakehouse.study.section("reads")
    usable = [
        o
        for o in drawn
        if o["voxel_count"] and not without_features(judge_outline(o, rules)["outline_flags"])
    ]
    outlined = {labels.place(o, o["scan"], o["label"]): o["mask_digest"] for o in usable}
    reads = measured_reads(lakehouse.lake.read(READS.name, site=site), lakehouse.study).filter(
        pl.col("scan").is_in(list(repeats))
    )
    settings, pixels = (
        {"radiomics": dict(lakehouse.study.section("radiomics"))},
        dict(scans.select("scan", "pixel_digest").iter_rows()),
    )
    again = (
        (row, number, scan, labels.place(row, scan, row["reader_label"]))
        for row in reads.iter_rows(named=True)
        for number, scan in enumerate(repeats[row["scan"]], start=1)
    )
    return [
        _task(
            lakehouse,
            row | {"scan": scan, "pixel_digest": pixels[scan], "mask_digest": outlined[place]},
            settings,
            number,
        )
        for row, number, scan, place in again
        if place in outlined
    ]


def _task(
    lakehouse: Lakehouse, row: dict[str, Any], settings: dict[str, dict[str, Any]], repeat: int = 0
) -> ControlTask:
    from dagster_project.radiomics.extraction import engine_name

    what = {
        name: row[name]
        for name in ("site", "patient", "visit", "scan", "lesion", "reader", "simulated")
    }
    digest = fingerprint(
        what,
        row["pixel_digest"],
        row["mask_digest"],
        settings,
        engine_name(settings["radiomics"]),
        repeat,
    )
    folder = scan_folder(lakehouse.home.vault, row)
    return ControlTask(
        {**what, "input_fingerprint": digest},
        folder,
        row["pixel_digest"],
        mask_file(folder, row["mask_digest"]),
        None,
        (),
        settings,
        float(row["volume_mm3"] or 0),
        repeat,
    )


def judge_controls(lakehouse: Lakehouse) -> list[JudgedControl]:
    """The AUC of each negative control against response, by what is in the lake."""
    from models.evaluation.negative_controls import KEPT_BY, judge_control

    rows = lakehouse.lake.query(JUDGED, [list(KEPT_BY)]).pl()
    rules = lakehouse.study.section("controls")
    how = {name: rules[name] for name in ("minimum_per_class", "folds", "seed")}
    return [judge_control(rows.filter(control_type=control), control, **how) for control in KEPT_BY]
