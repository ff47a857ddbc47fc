"""From the lake to the arbiter's pages.

Each slice and each pair of lungs is processed once and stored beside the scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dagster_project.domain.reading.arbitration import mask_readers
from dagster_project.domain.reading.blinded_names import with_blinded_lesions
from dagster_project.flow.lung_motions import next_scan
from dagster_project.flow.pages import moment_of, page_tables
from dagster_project.flow.result_cache import fingerprint, mask_file, scan_folder, slices_of
from dagster_project.lake.files import write_whole
from dagster_project.reports.arbitration import CasePicture

if TYPE_CHECKING:
    from dagster_project.domain.imaging.series import Series
    from dagster_project.resources import Lakehouse

Row = dict[str, Any]

WITH_LESIONS = ("reads", "reader_agreement", "reader_figures", "lesion_locations")
"""Tables of a case page that name lesions."""


def write_pages(lakehouse: Lakehouse) -> list[Path]:
    """Write the worklist and a page per case."""
    from dagster_project.reports.writing import write_arbitration_pages

    tables = page_tables(lakehouse)
    tables |= with_blinded_lesions({name: tables[name] for name in WITH_LESIONS})
    vault, reads, days = (
        lakehouse.home.vault,
        tables["reads"],
        tables["timepoints"].select("site", "patient", "visit", "day"),
    )

    def seen(case: Mapping[str, Any]) -> tuple[list[CasePicture], list[Row]]:
        own = reads.filter(site=case["site"], patient=case["patient"]).filter(
            pl.col("reader").is_in([case["reader_a"], case["reader_b"]])
        )
        dated = own.join(days, on=["site", "patient", "visit"], how="left").sort(
            "day", "visit", "lesion", "reader", nulls_last=True
        )
        return list(_pictures(vault, case, dated)), list(_proposals(vault, dated))

    return write_arbitration_pages(lakehouse.home.reports, tables, *moment_of(lakehouse), seen=seen)


@lru_cache(maxsize=2)
def _series(folder: Path) -> Series:
    from dagster_project.domain.imaging.series import read_series

    return read_series(folder)


def _pictures(vault: Path, case: Mapping[str, Any], reads: pl.DataFrame) -> Iterator[CasePicture]:
    letters = mask_readers(case["site"], case["patient"], (case["reader_a"], case["reader_b"]))
    outlined = reads.filter(pl.col("mask_digest").is_not_null())
    for (_scan, visit, lesion), rows in outlined.group_by(
        ["scan", "visit", "lesion"], maintain_order=True
    ):
        of = {row["reader"]: row for row in rows.iter_rows(named=True)}
        folder = scan_folder(vault, rows.row(0, named=True))
        for place in sorted(
            {row["diameter_slice"] for row in of.values() if row["diameter_slice"] is not None}
        ):
            caption = f"{case['patient']} {visit} {lesion} z {place}"
            yield CasePicture(
                str(visit),
                str(lesion),
                place,
                _picture(
                    folder,
                    {letter: of.get(reader) for letter, reader in letters.items()},
                    place,
                    caption,
                ),
            )
    _series.cache_clear()


def _picture(folder: Path, of: Mapping[str, Row | None], place: int, caption: str) -> bytes:
    drawn = {
        letter: (row["mask_digest"], row["diameter_ends_mm"]) if row else None
        for letter, row in of.items()
    }
    file = (
        folder / "pictures" / f"{fingerprint('pair', drawn, place, caption, slices_of(folder))}.png"
    )
    if not file.is_file():
        write_whole(file, _draw(folder, of, place, caption))
    return file.read_bytes()


def _draw(folder: Path, of: Mapping[str, Row | None], place: int, caption: str) -> bytes:
    from dagster_project.domain.imaging.grids import points_of, to_index
    from dagster_project.domain.imaging.masks import load_mask
    from dagster_project.reports.figures.lesions import pair_figure

    series = _series(folder)
    shape = tuple(reversed(series.image.GetSize()))
    masks = {
        letter: load_mask(mask_file(folder, row["mask_digest"])) if row else np.zeros(shape, bool)
        for letter, row in of.items()
    }
    ends = {
        letter: to_index(series.affine, points_of(row["diameter_ends_mm"]))
        for letter, row in of.items()
        if row and row["diameter_ends_mm"]
    }
    return pair_figure(series.image, masks, place, ends=ends, caption=caption)


def _proposals(vault: Path, reads: pl.DataFrame) -> Iterator[Row]:
    """What each reader's outlines suggest from one visit to the next."""
    from dagster_project.domain.imaging.identity import propose_identities, spots_of

    visits = [rows for _, rows in reads.group_by(["visit"], maintain_order=True)]
    for before, after in pairwise(visits):
        earlier, later = (rows.row(0, named=True) for rows in (before, after))
        there = next_scan(scan_folder(vault, earlier), scan_folder(vault, later))
        if isinstance(there, str):
            continue
        for reader in reads["reader"].unique().sort():
            known, now = (
                spots_of(rows.filter(reader=reader).to_dicts()) for rows in (before, after)
            )
            for proposal in propose_identities(known, now, there.motion.matrix):
                yield {
                    **asdict(proposal),
                    "reader": reader,
                    "from_visit": before["visit"][0],
                    "to_visit": after["visit"][0],
                }
