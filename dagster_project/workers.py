"""What runs inside a worker: one scan, one scan's contours, one lesion, one pair of visits; each a picklable task and a function."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.compute import reason_of
from dagster_project.lake.schema import conform
from dagster_project.lake.tables import RADIOMIC_FEATURES
from dagster_project.study import digest_of

if TYPE_CHECKING:
    from dagster_project.domain.series import Series

CODE_VERSION = "1"
"""Raise it when a change of code changes what a scan or an outline gives: everything measured is then computed anew."""


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
    """Geometry, acquisition and artifact figures of a series; where it cannot be stacked the reason is kept, since only other slices would change it."""
    from dagster_project.domain.series import SeriesError, describe_series, read_series

    try:
        return describe_series(read_series(task.folder), task.limits)
    except SeriesError as error:
        keep(task.kept, {REFUSED: str(error)})
        raise


REFUSED = "refused"
"""Key under which a result says why a file cannot be used."""


@dataclass(frozen=True)
class ContourFile:
    """One file of contours, drawn by one reader on one scan."""

    reader: str
    path: Path
    digest: str
    kept: Path

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


def mask_file(scan_folder: Path, mask_digest: str) -> Path:
    """Where a mask on a scan's grid is kept: by its own digest, so that a row of reads leads to it."""
    return scan_folder / "masks" / f"{mask_digest[:32]}.npz"


def measure_outlines(task: OutlineTask) -> dict[str, str]:
    """Rasterise, measure and keep every outline of the files.

    Returns
    -------
    dict
        Digest of each file that nothing was kept of, and why; the next run tries it again.
    """
    from dagster_project.domain.series import read_series

    series, failed = read_series(task.folder), {}
    for file in task.files:
        try:
            keep(file.kept, _measured(file, task.folder, series))
        except Exception as error:
            failed[file.digest] = reason_of(error)
    return failed


def _measured(file: ContourFile, folder: Path, series: Series) -> list[dict[str, Any]] | dict[str, str]:
    """Rows of a file's outlines; or why it cannot be used, kept like a result, since only another file or scan would change it."""
    from dagster_project.domain.masks import MaskError, measure_mask, read_outlines, save_mask

    try:
        outlines = read_outlines(file.path, series)
    except MaskError as error:
        return {REFUSED: str(error)}
    rows = []
    for outline in outlines:
        measured = measure_mask(outline.mask, series.image, series.affine)
        if measured["voxel_count"]:
            save_mask(mask_file(folder, measured["mask_digest"]), outline.mask)
        told = {"label": outline.label, "mask_source": outline.source, "border_rule": outline.border_rule, "n_outside": outline.n_outside}
        rows.append({**told, **measured})
    return rows


def keep(file: Path, result: Any) -> None:
    """Keep a result beside what it was computed from; it appears whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".tmp")
    partial.write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    partial.replace(file)


def kept(file: Path) -> Any:
    """A result kept by an earlier run, or None."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


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


def extract_features(task: FeatureTask) -> pl.DataFrame:
    """Rows of radiomic_features for one lesion on one scan."""
    from dagster_project.domain.masks import load_mask
    from dagster_project.domain.series import read_series
    from dagster_project.radiomics.extraction import extract_lesion

    image = read_series(task.folder).image
    masks = {reader: load_mask(file) for reader, file in task.masks.items()}
    others = [load_mask(file) for file in task.others]
    union = None
    for other in others:
        union = other if union is None else union | other
    rows = extract_lesion(image, masks, union, task.settings)
    return conform(pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.lit(v).alias(k) for k, v in task.key.items()), RADIOMIC_FEATURES)


@dataclass(frozen=True)
class PairTask:
    """Compare one lesion between two visits."""

    key: Mapping[str, Any]
    folder_a: Path
    mask_a: Path | None
    folder_b: Path
    mask_b: Path | None
    settings: Mapping[str, Any]
    volume_mm3: float
    kept: Path


def compare_visits(task: PairTask) -> dict[str, Any]:
    """Components and null of the Dynamic Heterogeneity Index for one lesion between two visits."""
    from dagster_project.domain.masks import load_mask
    from dagster_project.domain.series import read_series
    from dagster_project.radiomics.dhi import compare_lesion

    masks = [load_mask(file) if file else None for file in (task.mask_a, task.mask_b)]
    found = compare_lesion(
        read_series(task.folder_a).image, masks[0], read_series(task.folder_b).image, masks[1], contour_mm=None, settings=task.settings)
    keep(task.kept, {**task.key, **found})
    return found


def fingerprint(*parts: object) -> str:
    """Digest of everything that a row is computed from."""
    return digest_of([CODE_VERSION, *parts])
