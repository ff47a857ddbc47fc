"""What is odd about a measured outline, and which of its figures are not the lesion's."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dagster_project.domain.imaging.outlines import NO_DIAMETER, NO_FEATURES, NO_VOLUME

Row = Mapping[str, Any]

VOLUME = ("volume_mm3",)
DIAMETERS = ("longest_diameter_mm", "short_axis_mm", "diameter_slice", "diameter_ends_mm")
"""Figures that a flag may make untrue."""

NO_FEATURES_REASON = "the outline is flagged ({codes}); see the quarantine of reads"


def judge_outline(row: Row, rules: Mapping[str, Any]) -> dict[str, Any]:
    """A measured outline with all its flags, and without the figures that they make untrue.

    1. `density_of_air`: the mean density lies at or below `air_mean_hu`.
    2. `implausibly_large`: volume, longest diameter or share of the image above what a lesion can
       be.
    3. `slices_empty` falls for a lesion of which the study team knows that it is in pieces
       (`in_pieces`).
    4. Volume is NULL under a flag of `NO_VOLUME`; the diameters stay, since they were measured in
       one slice on which the lesion was drawn, but under a flag of `NO_DIAMETER`.

    Parameters
    ----------
    row
        An outline as read and measured on its scan.
    rules
        Section `reads` of study.toml.
    """
    flags = [*(row["outline_flags"] or ()), *_by_measures(row, rules)]
    if f"{row['site']}:{row['reader']}:{row['patient']}:{row['label']}" in rules["in_pieces"]:
        flags = [code for code in flags if code != "slices_empty"]
    untrue = (
        *(VOLUME if NO_VOLUME.intersection(flags) else ()),
        *(DIAMETERS if NO_DIAMETER.intersection(flags) else ()),
    )
    return {**row, "outline_flags": flags, **dict.fromkeys(untrue)}


def _by_measures(row: Row, rules: Mapping[str, Any]) -> list[str]:
    largest = {
        "volume_mm3": rules["implausible_volume_mm3"],
        "longest_diameter_mm": rules["implausible_diameter_mm"],
        "image_share": rules["implausible_image_share"],
    }
    air = (row.get("mean_hu") is not None) and row["mean_hu"] <= rules["air_mean_hu"]
    large = any((row.get(name) or 0.0) > limit for name, limit in largest.items())
    return [*(["density_of_air"] if air else ()), *(["implausibly_large"] if large else ())]


def flag_same_voxels(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reads with `same_voxels` where one reader delivered one outline for two lesions of a scan."""
    names = ("site", "patient", "scan", "reader", "mask_digest")
    seen = Counter(tuple(row[n] for n in names) for row in rows if row.get("mask_digest"))
    twice = [
        bool(row.get("mask_digest")) and seen[tuple(row[n] for n in names)] > 1 for row in rows
    ]
    return [
        {**row, "outline_flags": [*(row["outline_flags"] or ()), "same_voxels"]} if again else row
        for row, again in zip(rows, twice, strict=True)
    ]


def flag_unlike_density(rows: Sequence[dict[str, Any]], limit_hu: float) -> list[dict[str, Any]]:
    """Reads with `unlike_density` where the mean is far from that of the lesion elsewhere.

    It differs by more than a limit from every other read of that lesion by that reader.

    An outline that slipped half into the lung beside a tumour keeps a plausible size; its density
    does not.

    Parameters
    ----------
    rows
        Reads; those without `mean_hu` are left alone.
    limit_hu
        In HU; `[reads] unlike_density_hu` of study.toml.
    """
    names = ("site", "patient", "reader", "lesion")
    means: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in rows:
        if row.get("mean_hu") is not None:
            means[tuple(row[n] for n in names)].append(row["mean_hu"])
    return [
        {**row, "outline_flags": [*(row["outline_flags"] or ()), "unlike_density"]}
        if _is_unlike(row.get("mean_hu"), means[tuple(row[n] for n in names)], limit_hu)
        else row
        for row in rows
    ]


def _is_unlike(mean_hu: float | None, all_means: Sequence[float], limit_hu: float) -> bool:
    if mean_hu is None or len(all_means) < 2:
        return False
    return sorted(abs(mean_hu - other) for other in all_means)[1] > limit_hu


def without_features(flags: Collection[str] | None) -> str | None:
    """Why nothing beyond diameters may be measured under an outline; None where all may.

    >>> without_features(["open_contours"])
    >>> without_features(["slices_empty"])
    'the outline is flagged (slices_empty); see the quarantine of reads'
    """
    codes = sorted(NO_FEATURES.intersection(flags or ()))
    return NO_FEATURES_REASON.format(codes=", ".join(codes)) if codes else None
