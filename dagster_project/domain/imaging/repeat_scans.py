"""Which two scans of one day are a test and its retest, and not one scan reconstructed twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from dagster_project.domain.imaging.labels import labels_of_outlines

SAME_SETTINGS = ("kernel", "contrast", "kvp", "manufacturer_model_name")
"""What a repeat must share with the scan it repeats, as far as both state it."""

SAME_MM = 0.01
"""Slices this much alike are equally thick."""

Scan = Mapping[str, Any]


def find_repeats(timepoints: pl.DataFrame, scans: pl.DataFrame) -> list[tuple[Scan, Scan]]:
    """Pairs of the scan chosen for a visit and one that repeats it, as rows of `scans`.

    The protocol chose the first scan of a pair.

    1. A repeat is another series of a visit whose day is known, so of the same day, and axial and
       original where that is known.
    2. Its FrameOfReferenceUID is another, both being known: the patient lay down anew. Series that
       share it are one acquisition reconstructed twice, or follow each other without the patient
       having moved: no test of repeatability.
    3. Nominal thickness, kernel, contrast, tube voltage and model are the same as far as both state
       them: else they are compared too.

    It does not know how long the patient was off the table; the site's record does.
    """
    rows = {(row["site"], row["scan"]): row for row in scans.iter_rows(named=True)}
    found: list[tuple[Scan, Scan]] = []
    for visit in (
        timepoints.filter(pl.col("scan_date").is_not_null())
        .sort("site", "patient", "visit")
        .iter_rows(named=True)
    ):
        first = rows[visit["site"], visit["scan"]]
        others = (rows[visit["site"], scan] for scan in visit["alternative_scans"])
        found += [(first, other) for other in others if is_repeat(first, other)]
    return found


def is_repeat(first: Scan, other: Scan) -> bool:
    """Rules 1 to 3 of `find_repeats` for two series of one visit."""
    frames = first["frame_of_reference_uid"], other["frame_of_reference_uid"]
    return (
        other["axial_original"] is not False
        and None not in frames
        and frames[0] != frames[1]
        and _alike(first["slice_thickness_mm"], other["slice_thickness_mm"])
        and all(
            None in (first[name], other[name]) or first[name] == other[name]
            for name in SAME_SETTINGS
        )
    )


def _alike(a: float | None, b: float | None) -> bool:
    return a is None or b is None or abs(a - b) <= SAME_MM


def without_repeats(
    outlines: list[dict[str, Any]], timepoints: pl.DataFrame, scans: pl.DataFrame
) -> list[dict[str, Any]]:
    """Outlines that are reads, without those repeated on a repeat scan.

    Left out is an outline of a lesion on a repeat scan where the same reader outlined the lesion on
    the chosen scan too.
    """
    first_of = {
        (first["site"], other["scan"]): first["scan"]
        for first, other in find_repeats(timepoints, scans)
    }
    labels = labels_of_outlines(outlines)
    drawn = {labels.place(o, o["scan"], o["label"]) for o in outlines}
    return [
        o
        for o in outlines
        if labels.place(o, first_of.get((o["site"], o["scan"]), ""), o["label"]) not in drawn
    ]
