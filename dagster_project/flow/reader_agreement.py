"""Masks that two readers drew of one lesion, compared as they are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.domain.imaging.masks import kept_overlap
from dagster_project.flow.result_cache import mask_file, scan_folder


def dice_of_kept_masks(
    vault: Path, scans: pl.DataFrame
) -> Callable[[dict[str, Any], dict[str, Any]], float | None]:
    """A function that compares the stored masks of two rows of reads of one scan.

    It gives Dice, or surface Dice at 1 mm below 1 cm³.
    """
    names = ("slice_spacing_mm", "pixel_spacing_row_mm", "pixel_spacing_column_mm")
    spacing = {row[0]: row[1:] for row in scans.select("scan", *names).iter_rows()}

    def compare(a: dict[str, Any], b: dict[str, Any]) -> float | None:
        folder = scan_folder(vault, a)
        size = spacing.get(a["scan"])
        return kept_overlap(
            mask_file(folder, a["mask_digest"]),
            mask_file(folder, b["mask_digest"]),
            size if size and all(size) else None,
        )

    return compare
