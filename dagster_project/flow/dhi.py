"""Compares each lesion's accepted masks between visits, once per pair; then fits the limits.

The limits are fitted over all pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.compute import run_tasks
from dagster_project.domain.imaging.comparable_scans import why_not_comparable
from dagster_project.domain.imaging.outline_flags import without_features
from dagster_project.flow.result_cache import (
    fingerprint,
    mask_file,
    read_cached,
    scan_folder,
    scan_image,
    write_cached,
)
from dagster_project.flow.step_result import Say, StepResult, refusal, report_progress
from dagster_project.lake.schema import empty
from dagster_project.lake.tables import DHI
from dagster_project.radiomics.dhi_limits_fit import COMPONENTS

if TYPE_CHECKING:
    from dagster_project.radiomics.dhi_limits import Comparisons
    from dagster_project.resources import Lakehouse


ACQUIRED = ("pixel_digest", "kernel", "manufacturer", "slice_thickness_mm", "slice_spacing_mm")
"""Columns of scans that say what is compared, and whether it may be."""

PEELING = ("peel_depth_mm", "peel_hu", "smoothing_mm")
"""Settings of [dhi] by which a lesion is peeled and smoothed.

Habitats and controls peel as DHI does; a change in the rest of the section must not make them be
measured anew.
"""


@dataclass(frozen=True)
class PairTask:
    """Compare one lesion between two visits."""

    key: Mapping[str, Any]
    folder_a: Path
    pixels_a: str
    mask_a: Path | None
    folder_b: Path
    pixels_b: str
    mask_b: Path | None
    settings: Mapping[str, Any]
    volume_mm3: float
    kept: Path
    flagged: str | None = None


def compare_visits(task: PairTask) -> dict[str, Any]:
    """Components and null of the Dynamic Heterogeneity Index for one lesion between two visits."""
    from dagster_project.domain.imaging.masks import load_mask
    from dagster_project.radiomics.dhi import compare_lesion, not_compared

    if task.flagged:
        found = not_compared(task.flagged)
        write_cached(task.kept, {**task.key, **found})
        return found
    masks = [load_mask(file) if file else None for file in (task.mask_a, task.mask_b)]
    images = [
        scan_image(*at) for at in ((task.folder_a, task.pixels_a), (task.folder_b, task.pixels_b))
    ]
    found = compare_lesion(
        images[0], masks[0], images[1], masks[1], contour_mm=None, settings=task.settings
    )
    write_cached(task.kept, {**task.key, **found})
    return found


def compare_new_pairs(lakehouse: Lakehouse, say: Say) -> StepResult:
    """Compare each lesion's accepted masks between visits, once per pair; then fit the limits.

    The limits are fitted over all pairs.
    """
    from dagster_project.radiomics.dhi import derive_dhi

    settings = lakehouse.study.section("dhi")
    tasks = pair_tasks(lakehouse)
    new = [t for t in tasks if read_cached(t.kept) is None]
    outcomes = run_tasks(
        compare_visits,
        new,
        weight=lambda t: t.volume_mm3,
        together=lambda t: (t.folder_a, t.folder_b),
    )
    refused = [
        (o.task, str(o.reason))
        for o in report_progress(outcomes, len(new), "pairs compared", say)
        if o.reason
    ]
    results = (read_cached(task.kept) for task in tasks)
    rows = [dict(result) for result in results if result is not None]
    for site in lakehouse.home.sites():
        lakehouse.refuse(
            site,
            DHI.name,
            pl.DataFrame([_refused_pair(t, why) for t, why in refused if t.key["site"] == site]),
        )
    frame = (
        derive_dhi(pl.DataFrame(rows, infer_schema_length=None), settings)
        if rows
        else empty(DHI).drop("input_fingerprint")
    )
    counts = {
        "computed": len(new) - len(refused),
        "reused": len(tasks) - len(new),
        "refused": len(refused),
    }
    return StepResult(
        frame.with_columns(
            input_fingerprint=pl.lit(fingerprint(sorted(t.kept.stem for t in tasks)))
        ),
        counts,
    )


def _refused_pair(task: PairTask, reason: str) -> dict[str, Any]:
    k = task.key
    return refusal(
        str(k["site"]),
        DHI.name,
        f"patient {k['patient']} lesion {k['lesion']} {k['from_visit']}-{k['to_visit']}",
        reason,
        simulated=bool(k["simulated"]),
    )


def load_comparisons_as_of(
    lakehouse: Lakehouse,
    snapshot: int,
    pairs: Sequence[tuple[str, str]],
    *,
    load: Callable[[Path], Any] = read_cached,
) -> Comparisons:
    """The stored comparisons between some pairs of visits, before any limits.

    The lesions are those that the lake had at a snapshot.

    `load` reads one file of the vault.
    """
    from dagster_project.radiomics.dhi_limits import raw_dhi

    tasks = [
        t
        for t in pair_tasks(lakehouse, snapshot)
        if (t.key["from_visit"], t.key["to_visit"]) in pairs
    ]
    results = (load(task.kept) for task in tasks)
    rows = [result for result in results if result is not None]
    return raw_dhi(rows, lakehouse.study.section("dhi"))


def pair_tasks(lakehouse: Lakehouse, as_of: int | None = None) -> list[PairTask]:
    """Each lesion between each two of its visits, with the file that its comparison is kept in."""
    lesions, scans = lakehouse.read("lesions", "scans", as_of=as_of)
    seen = lesions.filter(pl.col("visit").is_in(["T0", "T1", "T2"])).join(
        scans.select("site", "patient", "scan", *ACQUIRED), on=["site", "patient", "scan"]
    )
    pairs = seen.join(seen, on=["site", "patient", "lesion"], suffix="_to").filter(
        pl.col("visit") < pl.col("visit_to")
    )
    return [_pair_task(lakehouse, row) for row in pairs.iter_rows(named=True)]


def _pair_task(lakehouse: Lakehouse, row: dict[str, Any]) -> PairTask:
    settings = lakehouse.study.section("dhi")
    earlier, later = (
        scan_folder(lakehouse.home.vault, row),
        scan_folder(lakehouse.home.vault, row | {"scan": row["scan_to"]}),
    )
    key = {
        "site": row["site"],
        "patient": row["patient"],
        "lesion": row["lesion"],
        "from_visit": row["visit"],
        "to_visit": row["visit_to"],
        "simulated": row["simulated"],
    }
    outlines = (without_features(row.get(name)) for name in ("outline_flags", "outline_flags_to"))
    flagged = next(filter(None, outlines), None) or why_not_comparable(
        row, {n: row[f"{n}_to"] for n in ACQUIRED}, settings["slice_maximum_mm"]
    )
    digest = fingerprint(
        key,
        row["pixel_digest"],
        row["pixel_digest_to"],
        row["mask_digest"],
        row["mask_digest_to"],
        dict(settings),
        COMPONENTS,
        *([flagged] if flagged else []),
    )
    kept_file = lakehouse.home.vault / row["site"] / row["patient"] / "pairs" / f"{digest}.json"
    digests = ((earlier, row["mask_digest"]), (later, row["mask_digest_to"]))
    masks = [mask_file(folder, mask) if mask else None for folder, mask in digests]
    return PairTask(
        key,
        earlier,
        row["pixel_digest"],
        masks[0],
        later,
        row["pixel_digest_to"],
        masks[1],
        dict(settings),
        float(row["volume_mm3"] or 0),
        kept_file,
        flagged,
    )
