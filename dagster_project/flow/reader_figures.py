"""Distances between the surfaces of two readers' masks.

They are compared once per pair, and stored beside the masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.flow.result_cache import (
    fingerprint,
    mask_file,
    read_cached,
    scan_folder,
    write_cached,
)

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse

Digests = tuple[str, str]


def derive_figures(lakehouse: Lakehouse) -> pl.DataFrame:
    """Rows of reader_figures, of what is in the lake now."""
    from dagster_project.domain.reading.agreement import derive_pairs
    from dagster_project.domain.reading.reader_figures import derive_reader_figures

    reads, scans, responses, cases = lakehouse.read("reads", "scans", "responses", "arbitrations")
    rules = lakehouse.study.section("agreement")
    pairs = derive_pairs(reads, site_reader=lakehouse.study.section("reads")["site_reader"])
    distances = distances_of_pairs(
        lakehouse.home.vault, pairs, scans, rules["surface_tolerance_mm"]
    )
    return derive_reader_figures(pairs, distances, responses, cases, rules)


def distances_of_pairs(
    vault: Path, pairs: pl.DataFrame, scans: pl.DataFrame, tolerance_mm: float
) -> Mapping[Digests, dict[str, float]]:
    """Surface Dice, HD95 and mean surface distance of mask pairs on a scan of known spacing."""
    names = ("slice_spacing_mm", "pixel_spacing_row_mm", "pixel_spacing_column_mm")
    spacing = {row[0]: row[1:] for row in scans.select("scan", *names).iter_rows()}
    outlined = pairs.filter(
        pl.col("scan").is_not_null()
        & pl.col("mask_digest_a").is_not_null()
        & pl.col("mask_digest_b").is_not_null()
    )
    return {
        (row["mask_digest_a"], row["mask_digest_b"]): _distances(
            scan_folder(vault, row), row, spacing[row["scan"]], tolerance_mm
        )
        for row in outlined.iter_rows(named=True)
        if all(spacing.get(row["scan"]) or (None,))
    }


def _distances(
    folder: Path, pair: dict[str, Any], spacing_zyx: tuple[float, ...], tolerance_mm: float
) -> dict[str, float]:
    a, b = pair["mask_digest_a"], pair["mask_digest_b"]
    file = folder / "pairs" / f"{fingerprint(a, b, spacing_zyx, tolerance_mm)}.json"
    if (known := read_cached(file)) is not None:
        return known
    from dagster_project.domain.imaging.masks import kept_surface_distances

    found = kept_surface_distances(
        mask_file(folder, a), mask_file(folder, b), spacing_zyx, tolerance_mm
    )
    figures = {
        "surface_dice": found.surface_dice,
        "hd95_mm": found.hd95_mm,
        "mean_surface_distance_mm": found.mean_mm,
    }
    write_cached(file, figures)
    return figures
