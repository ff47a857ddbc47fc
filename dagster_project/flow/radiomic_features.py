"""Features of a site's lesions, extracted once per lesion and scan.

Transactions hold a few lesions each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.compute import Outcome, run_tasks
from dagster_project.flow.reads import drawn_reads, measured_reads
from dagster_project.flow.result_cache import fingerprint, mask_file, scan_folder, scan_image
from dagster_project.flow.step_result import Say, StepResult, refusal, report_progress
from dagster_project.lake.schema import conform, empty
from dagster_project.lake.store import Write
from dagster_project.lake.tables import RADIOMIC_FEATURES, READS, SCANS

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse

COMMIT_TASKS = 16
"""Lesions whose features are written in one transaction: what a killed run loses at most."""


@dataclass(frozen=True)
class FeatureTask:
    """Extract the features of one lesion on one scan from all locked readers' masks."""

    key: Mapping[str, Any]
    folder: Path
    masks: Mapping[str, Path]
    others: tuple[Path, ...]
    settings: Mapping[str, Any]
    fingerprint: str
    volume_mm3: float
    pixel_digest: str


def extract_features(task: FeatureTask) -> pl.DataFrame:
    """Rows of radiomic_features for one lesion on one scan."""
    from dagster_project.domain.imaging.masks import load_mask, load_union
    from dagster_project.radiomics.extraction import extract_lesion

    masks = {reader: load_mask(file) for reader, file in task.masks.items()}
    rows = extract_lesion(
        scan_image(task.folder, task.pixel_digest), masks, load_union(task.others), task.settings
    )
    return conform(
        pl.DataFrame(rows, infer_schema_length=None).with_columns(
            pl.lit(v).alias(k) for k, v in task.key.items()
        ),
        RADIOMIC_FEATURES,
    )


def extract_new_features(lakehouse: Lakehouse, site: str, say: Say) -> StepResult:
    """Extract features of lesions that have none yet, and remove those without input.

    Transactions hold a few lesions each.
    """
    wanted = {t.fingerprint: t for t in _feature_tasks(lakehouse, site)}
    present = {
        digest: (scan, lesion)
        for digest, scan, lesion in lakehouse.lake.query(
            f"SELECT DISTINCT input_fingerprint, scan, lesion FROM {RADIOMIC_FEATURES.name} "
            "WHERE site = ?",
            [site],
        ).fetchall()
    }
    tasks = [t for digest, t in wanted.items() if digest not in present]
    stale = {d: where for d, where in present.items() if d not in wanted}
    waiting, refused = [], []
    outcomes = run_tasks(
        extract_features, tasks, weight=lambda t: t.volume_mm3, together=lambda t: t.key["scan"]
    )
    for outcome in report_progress(outcomes, len(tasks), "lesions measured", say):
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
    counts = {
        "computed": len(tasks) - len(refused),
        "reused": len(wanted) - len(tasks),
        "removed": removed,
        "refused": len(refused),
    }
    return StepResult(empty(RADIOMIC_FEATURES), counts, write=write)


def _exchange_features(
    lakehouse: Lakehouse,
    site: str,
    stale: dict[str, tuple[str, str]],
    outcomes: list[Outcome[FeatureTask, pl.DataFrame]],
    *,
    rest: bool = False,
) -> Write:
    """Replace lesions' stale features by their new ones, in one transaction.

    With `rest`, at last, all other stale rows are removed too.
    """
    places = {(o.task.key["scan"], o.task.key["lesion"]) for o in outcomes}
    removed = [digest for digest, where in stale.items() if rest or where in places]
    for digest in removed:
        del stale[digest]
    added = pl.concat(
        [empty(RADIOMIC_FEATURES), *(o.result for o in outcomes if o.result is not None)]
    )
    return lakehouse.lake.replace_by_fingerprint(
        RADIOMIC_FEATURES.name, site=site, removed=removed, added=added
    )


def _refused_features(task: FeatureTask, reason: str) -> dict[str, Any]:
    key = task.key
    return refusal(
        str(key["site"]),
        RADIOMIC_FEATURES.name,
        f"scan {key['scan']} lesion {key['lesion']}",
        reason,
        simulated=bool(key["simulated"]),
    )


def _feature_tasks(lakehouse: Lakehouse, site: str) -> list[FeatureTask]:
    """One task per scan and lesion, with all locked readers' masks of it.

    The task also has the other lesions of the scan, which the rings spare.

    Outlines that are flagged (`NO_FEATURES`) are not measured; rings spare them all the same.
    """
    from dagster_project.radiomics.extraction import engine_name

    settings = lakehouse.study.section("radiomics")
    fixed = {
        "settings_digest": lakehouse.study.section_digest("radiomics"),
        "engine": engine_name(settings),
    }
    reads = drawn_reads(lakehouse.lake.read(READS.name, site=site), lakehouse.study)
    pixels = dict(
        lakehouse.lake.read(SCANS.name, site=site).select("scan", "pixel_digest").iter_rows()
    )
    tasks = []
    usable = measured_reads(reads, lakehouse.study)
    for (scan, lesion), rows in usable.sort("reader").group_by(
        ["scan", "lesion"], maintain_order=True
    ):
        first, folder = (
            rows.row(0, named=True),
            scan_folder(lakehouse.home.vault, rows.row(0, named=True)),
        )
        masks = {r["reader"]: str(r["mask_digest"]) for r in rows.iter_rows(named=True)}
        others = sorted(
            reads.filter((pl.col("scan") == scan) & (pl.col("lesion") != lesion))[
                "mask_digest"
            ].unique()
        )
        what = {
            n: first[n] for n in ("site", "patient", "visit", "scan", "lesion", "simulated")
        } | fixed
        digest = fingerprint(
            what, pixels[scan], masks, others
        )  # with the names: a row bears its visit and lesion, which corrections change
        key = what | {"input_fingerprint": digest}
        tasks.append(
            FeatureTask(
                key,
                folder,
                {r: mask_file(folder, d) for r, d in masks.items()},
                tuple(mask_file(folder, d) for d in others),
                dict(settings),
                digest,
                max(rows["volume_mm3"].drop_nulls().to_list(), default=0.0),
                pixels[scan],
            )
        )
    return tasks
