"""The CT around each lesion for the pages, cut once and stored beside the scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.flow.reads import drawn_reads
from dagster_project.flow.result_cache import fingerprint, mask_file, scan_folder, slices_of
from dagster_project.lake.files import write_whole
from dagster_project.reports.board import letters_of
from dagster_project.reports.crops import FORMAT, cut_crop, encode_crop

if TYPE_CHECKING:
    from dagster_project.domain.imaging.series import Series
    from dagster_project.resources import Lakehouse

Key = tuple[str, str]
"""Visit and lesion."""


@dataclass(frozen=True)
class CropFile:
    """Where a crop is stored, and what it is cut from.

    `masks` are digests by letter; `ends` the accepted diameter as the table has it.
    """

    file: Path
    folder: Path
    masks: Mapping[str, str]
    accepted: str
    ends: str | None

    @property
    def digest(self) -> str:
        """What the crop is known by: its file is named after all that it is cut from."""
        return self.file.stem

    def content(self) -> bytes:
        """The bytes of the crop, cut if that was not done before."""
        if not self.file.is_file():
            write_whole(self.file, self._cut())
        return self.file.read_bytes()

    def _cut(self) -> bytes:
        from dagster_project.domain.imaging.grids import points_of, to_index
        from dagster_project.domain.imaging.masks import load_mask

        series = _series(self.folder)
        ends = to_index(series.affine, points_of(self.ends)) if self.ends else None
        masks = {
            letter: load_mask(mask_file(self.folder, digest))
            for letter, digest in self.masks.items()
        }
        accepted = load_mask(mask_file(self.folder, self.accepted))
        return encode_crop(cut_crop(series.image, masks, accepted, ends))


@lru_cache(maxsize=1)
def _series(folder: Path) -> Series:
    from dagster_project.domain.imaging.series import read_series

    return read_series(folder)


def find_crops(lakehouse: Lakehouse, own: Mapping[str, pl.DataFrame]) -> dict[Key, CropFile]:
    """The crops of a patient by visit and lesion, of outlines that may be looked at.

    Parameters
    ----------
    own
        `reads` and `lesions` with that patient's rows.
    """
    letters = letters_of(own, lakehouse.study.section("reads")["site_reader"])
    drawn = drawn_reads(own["reads"], lakehouse.study).sort("visit", "lesion", "reader")
    accepted = {(r["visit"], r["lesion"]): r for r in own["lesions"].to_dicts()}
    found: dict[Key, CropFile] = {}
    for (visit, lesion), rows in drawn.group_by(["visit", "lesion"], maintain_order=True):
        taken = accepted.get((str(visit), str(lesion)))
        if taken and taken["mask_digest"]:
            key = (str(visit), str(lesion))
            found[key] = _crop_file(lakehouse.home.vault, rows.to_dicts(), taken, letters)
    return found


def _crop_file(
    vault: Path, reads: list[dict[str, Any]], taken: dict[str, Any], letters: Mapping[str, str]
) -> CropFile:
    folder = scan_folder(vault, taken)
    masks = {letters[r["reader"]]: r["mask_digest"] for r in reads if r["scan"] == taken["scan"]}
    ends = next((r["diameter_ends_mm"] for r in reads if r["reader"] == taken["reader"]), None)
    ordered = dict(sorted(masks.items()))
    name = fingerprint("crop", FORMAT, ordered, taken["mask_digest"], ends, slices_of(folder))
    file = folder / "pictures" / f"{name}.crop"
    return CropFile(file, folder, ordered, taken["mask_digest"], ends)
