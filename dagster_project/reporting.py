"""From the lake to pages: reads what the pages need, draws the lesions from the vault, writes, publishes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from dagster_project.incremental import drawn_reads
from dagster_project.lake.tables import TABLES
from dagster_project.resources import Lakehouse
from dagster_project.workers import mask_file

if TYPE_CHECKING:
    from dagster_project.reports.patient_reports import LesionPicture

TOO_LONG = ("radiomic_features", "delta_features")
"""Tables that no page lists."""


def page_tables(lakehouse: Lakehouse) -> dict[str, pl.DataFrame]:
    """All tables that pages speak of, of one snapshot."""
    names = [t.name for t in TABLES if t.name not in TOO_LONG]
    return dict(zip(names, lakehouse.read(*names, as_of=lakehouse.lake.snapshot()), strict=True))


def write_pages(lakehouse: Lakehouse) -> list[Path]:
    """Write the study report, the index and a page a patient."""
    from dagster_project.reports.writing import write_reports

    tables = page_tables(lakehouse)
    moment = dt.datetime.now(dt.UTC)
    return write_reports(lakehouse.home.reports, tables, lakehouse.study, lakehouse.lake.snapshot(), moment, slices=LesionPictures(lakehouse, tables["reads"]))


class LesionPictures(Mapping[str, "list[LesionPicture]"]):
    """Pictures of a patient's outlined lesions, drawn when they are asked for."""

    def __init__(self, lakehouse: Lakehouse, reads: pl.DataFrame) -> None:
        self._lakehouse = lakehouse
        self._drawn = drawn_reads(reads, lakehouse.study).sort("visit", "lesion", "reader")

    def __iter__(self) -> Iterator[str]:
        return iter(self._drawn["patient"].unique(maintain_order=True))

    def __len__(self) -> int:
        return self._drawn["patient"].n_unique()

    def __getitem__(self, patient: str) -> list[LesionPicture]:
        rows = self._drawn.filter(patient=patient)
        pictures = []
        for (scan,), same_scan in rows.group_by(["scan"], maintain_order=True):
            pictures += self._of_scan(str(scan), same_scan)
        return pictures

    def _of_scan(self, scan: str, rows: pl.DataFrame) -> list[LesionPicture]:
        from dagster_project.domain.masks import load_mask
        from dagster_project.domain.series import read_series
        from dagster_project.reports.figures import slice_figure
        from dagster_project.reports.patient_reports import LesionPicture

        first = rows.row(0, named=True)
        folder = self._lakehouse.home.vault / first["site"] / first["patient"] / scan
        image, pictures = read_series(folder).image, []
        for (visit, lesion), readers in rows.group_by(["visit", "lesion"], maintain_order=True):
            masks = {r["reader"]: load_mask(mask_file(folder, r["mask_digest"])) for r in readers.iter_rows(named=True)}
            pictures.append(LesionPicture(str(visit), str(lesion), slice_figure(image, masks, caption=f"{first['patient']} {visit} {lesion}")))
        return pictures
