"""Which scan each outline of a contour file lies on.

It is found once per file and the scans of its patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_project.domain.imaging.masks import outline_parts
from dagster_project.domain.imaging.outlined_series import ImageSeries, find_series
from dagster_project.domain.imaging.outlines import MaskError
from dagster_project.flow.result_cache import (
    fingerprint,
    images_file,
    read_cached,
    scan_folder,
    write_cached,
)

Scan = dict[str, Any]
"""A row of scans."""

PLACED_BY = (
    "scan",
    "series_instance_uid",
    "frame_of_reference_uid",
    "scan_date",
    "input_fingerprint",
)
"""Columns of `scans` that decide where an outline lies."""


@dataclass(frozen=True)
class PlacedFile:
    """The scans that a file's outlines lie on, with ROI positions; and why others lie on none.

    Of what lies on none: position and label of the ROI, and the reason; position 0 is the whole
    file.
    """

    on_scans: list[tuple[Scan, tuple[int, ...]]]
    lost: list[tuple[int, str, str]]


def placed_outlines(vault: Path, path: Path, digest: str, scans: Sequence[Scan]) -> PlacedFile:
    """Where the outlines of a file lie; found anew when the file or the patient's scans are others.

    Parameters
    ----------
    path, digest
        The file in the vault and its SHA-256.
    scans
        The patient's rows of `scans`, the one to be preferred first.
    """
    inputs = [[str(scan[name]) for name in PLACED_BY] for scan in scans]
    file = path.parents[2] / "placed" / f"{fingerprint('placed', digest, path.name, inputs)}.json"
    found = read_cached(file)
    if found is None:
        found = _place(vault, path, scans)
        write_cached(file, found)
    rows = {scan["scan"]: scan for scan in scans}
    lost = [(position, label, reason) for position, label, reason in found["lost"]]
    return PlacedFile(
        [(rows[name], tuple(positions)) for name, positions in found["scans"].items()], lost
    )


def _place(vault: Path, path: Path, scans: Sequence[Scan]) -> dict[str, Any]:
    """By scan the positions of the ROIs on it, and what was lost."""
    try:
        parts = outline_parts(path)
    except MaskError as error:
        return {"scans": {}, "lost": [(0, "", str(error))]}
    names = {scan["series_instance_uid"]: scan["scan"] for scan in scans}
    candidates = _candidates(
        vault, scans, with_images=any(part.references.images for part in parts)
    )
    placed: dict[str, list[int]] = {}
    lost: list[tuple[int, str, str]] = []
    for part in parts:
        reason = part.refused
        try:
            if not reason:
                uid = find_series(part.references, candidates).uid
                placed.setdefault(names[uid], []).append(part.position)
        except MaskError as error:
            reason = str(error)
        if reason:
            lost += [(part.position, part.label, reason)]
    return {"scans": placed, "lost": _whole(lost, len(parts))}


def _whole(lost: list[tuple[int, str, str]], n_parts: int) -> list[tuple[int, str, str]]:
    """One refusal for the file where all of it is refused for one reason."""
    reasons = {reason for _, _, reason in lost}
    return [(0, "", reasons.pop())] if len(lost) == n_parts and len(reasons) == 1 else lost


def _candidates(vault: Path, scans: Sequence[Scan], *, with_images: bool) -> list[ImageSeries]:
    return [
        ImageSeries(
            scan["series_instance_uid"],
            scan["frame_of_reference_uid"],
            _images(scan_folder(vault, scan), scan["input_fingerprint"])
            if with_images
            else frozenset(),
            scan["scan_date"],
        )
        for scan in scans
    ]


def _images(folder: Path, digest: str) -> frozenset[str]:
    """SOPInstanceUIDs of a scan: as noted when it was described, else read from its headers."""
    file = images_file(folder, digest)
    noted = read_cached(file)
    if noted is None:
        noted = sorted(_read_uids(folder))
        write_cached(file, noted)
    return frozenset(noted)


def _read_uids(folder: Path) -> list[str]:
    import pydicom

    headers = (
        pydicom.dcmread(slice_, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
        for slice_ in folder.glob("*.dcm")
    )
    return [str(header.get("SOPInstanceUID", "")) for header in headers]
