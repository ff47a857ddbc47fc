"""From the lake to pages: reads what they need, draws each lesion once from the vault, writes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.flow.publication import bring_up_to_date
from dagster_project.flow.reads import drawn_reads
from dagster_project.flow.result_cache import fingerprint, mask_file, scan_folder, slices_of
from dagster_project.lake.clock import CLOCK
from dagster_project.lake.files import write_whole
from dagster_project.lake.tables import TABLES
from dagster_project.resources import Lakehouse
from dagster_project.study import Study, digest_of

if TYPE_CHECKING:
    from dagster_project.reports.patient_reports import HabitatMap, LesionPicture

TOO_LONG = ("radiomic_features", "control_features", "delta_features")
"""Tables that no page lists."""


_READ: dict[str, dict[str, pl.DataFrame]] = {}
"""What was read last, by the files it lies in: the pages of one run show the same rows."""


def page_tables(lakehouse: Lakehouse) -> dict[str, pl.DataFrame]:
    """All tables that pages show, of one snapshot.

    The mark of the gate and the counts of disclosure are as they are now.
    """
    lake = lakehouse.lake
    bring_up_to_date(lake, lakehouse.study)
    names = [t.name for t in TABLES if t.name not in TOO_LONG]
    with lake.one_snapshot():
        state = digest_of([str(lakehouse.home.root), [lake.state(name) for name in names]])
        if state not in _READ:
            _READ.clear()
            _READ[state] = dict(zip(names, lakehouse.read(*names), strict=True))
    return dict(_READ[state])


def write_study_page(lakehouse: Lakehouse) -> Path:
    """Write the study report."""
    from dagster_project.reports.writing import write_study_report

    return write_study_report(lakehouse.home.reports, page_tables(lakehouse), *moment_of(lakehouse))


def write_evaluation_page(lakehouse: Lakehouse) -> Path:
    """Write the evaluation of the dynamic standard."""
    from dagster_project.reports.writing import write_evaluation

    return write_evaluation(lakehouse.home.reports, page_tables(lakehouse), *moment_of(lakehouse))


def write_due_list(lakehouse: Lakehouse) -> Path:
    """Write the due list as a page, a table and a calendar, all closed to other users."""
    from dagster_project.flow.whole_files import write_frame, write_together
    from dagster_project.reports.calendar import render_calendar
    from dagster_project.reports.due_list import due_table, list_due, render_due_list

    tables = page_tables(lakehouse)
    study, snapshot, now = moment_of(lakehouse)
    page = render_due_list(tables, study, snapshot=snapshot, generated_at=now)
    rows = list_due(tables, study)
    calendar = render_calendar(rows, days_of_intake(lakehouse), study, now)
    file = lakehouse.home.due / "due_list.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.parent.chmod(0o700)
    write_together(
        {
            file: lambda path: path.write_text(page, encoding="utf-8"),
            file.with_suffix(".csv"): lambda path: write_frame(due_table(tables, study), path),
            file.with_suffix(".ics"): lambda path: path.write_bytes(calendar.encode()),
        }
    )
    return file


def days_of_intake(lakehouse: Lakehouse) -> dict[str, dt.date]:
    """Site → the true day of its last intake, which its clock has shifted by patient.

    That day stands in no file: it is when the clock was written.
    """
    from dagster_project.intake.case_report.chronology import cut_off_of

    section = lakehouse.study.section("study")
    clocks = {site: lakehouse.case_report_file(site, CLOCK) for site in lakehouse.home.sites()}
    return {
        site: cut_off_of(section, dt.datetime.fromtimestamp(clock.stat().st_mtime, dt.UTC))
        for site, clock in clocks.items()
        if clock.is_file()
    }


def write_patient_pages(lakehouse: Lakehouse) -> list[Path]:
    """Write the index, and the pages of patients of whom something changed."""
    from dagster_project.flow.lesion_crops import find_crops
    from dagster_project.reports.writing import write_patient_reports

    tables = page_tables(lakehouse)
    slices, maps = (
        LesionPictures(lakehouse, tables["reads"]),
        HabitatMaps(lakehouse, tables["habitats"]),
    )
    return write_patient_reports(
        lakehouse.home.reports,
        tables,
        *moment_of(lakehouse),
        slices=slices,
        maps=maps,
        crops=lambda own: find_crops(lakehouse, own),
    )


def moment_of(lakehouse: Lakehouse) -> tuple[Study, int, dt.datetime]:
    """Protocol, snapshot and time that a page is of."""
    return lakehouse.study, lakehouse.lake.snapshot(), dt.datetime.now(dt.UTC)


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
        for _, same_scan in rows.group_by(["scan"], maintain_order=True):
            pictures += self._of_scan(same_scan)
        return pictures

    def _of_scan(self, rows: pl.DataFrame) -> list[LesionPicture]:
        from dagster_project.reports.patient_reports import LesionPicture

        first = rows.row(0, named=True)
        folder = scan_folder(self._lakehouse.home.vault, first)
        image = cache(lambda: _read_image(folder))
        pictures = []
        for (visit, lesion), readers in rows.group_by(["visit", "lesion"], maintain_order=True):
            caption = f"{first['patient']} {visit} {lesion}"
            pictures.append(
                LesionPicture(
                    str(visit),
                    str(lesion),
                    _kept_picture(
                        folder,
                        dict(readers.select("reader", "mask_digest").iter_rows()),
                        caption,
                        image,
                    ),
                )
            )
        return pictures


class HabitatMaps(Mapping[str, "list[HabitatMap]"]):
    """Pictures of the habitats of a patient's lesions, drawn when they are asked for."""

    def __init__(self, lakehouse: Lakehouse, habitats: pl.DataFrame) -> None:
        self._lakehouse = lakehouse
        self._mapped = habitats.filter(
            pl.col("measure") == "n_voxels", pl.col("value").is_not_null()
        ).sort("patient", "lesion", "visit")

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapped["patient"].unique(maintain_order=True))

    def __len__(self) -> int:
        return self._mapped["patient"].n_unique()

    def __getitem__(self, patient: str) -> list[HabitatMap]:
        from dagster_project.reports.patient_reports import HabitatMap

        found = []
        for (lesion,), rows in self._mapped.filter(patient=patient).group_by(
            ["lesion"], maintain_order=True
        ):
            picture = _kept_map(self._lakehouse, str(lesion), rows.to_dicts())
            if picture:
                found += [HabitatMap(str(lesion), picture)]
        return found


def _kept_map(lakehouse: Lakehouse, lesion: str, rows: list[dict[str, Any]]) -> bytes | None:
    """Draw a lesion's maps once; none where the vault does not hold them."""
    from dagster_project.flow.habitats import load_map, map_file, named_codebook
    from dagster_project.reports.habitat_figure import habitat_figure

    vault, first = lakehouse.home.vault, rows[0]
    caption = f"{first['patient']} {lesion}"
    file = (
        vault
        / first["site"]
        / first["patient"]
        / "habitats"
        / f"{fingerprint([r['input_fingerprint'] for r in rows], caption)}.png"
    )
    maps = {r["visit"]: map_file(scan_folder(vault, r), r["input_fingerprint"]) for r in rows}
    codebook = named_codebook(lakehouse.home.codebooks, first["codebook"])
    if not file.is_file() and codebook and all(m.is_file() for m in maps.values()):
        codes = {visit: load_map(m) for visit, m in maps.items()}
        write_whole(file, habitat_figure(codes, [c[0] for c in codebook.centres], caption=caption))
    return file.read_bytes() if file.is_file() else None


def _read_image(folder: Path) -> Any:
    from dagster_project.domain.imaging.series import read_series

    return read_series(folder).image


def _kept_picture(
    folder: Path, masks: dict[str, str], caption: str, image: Callable[[], Any]
) -> bytes:
    """Draw a lesion once: the picture is kept beside the masks that it shows."""
    from dagster_project.domain.imaging.masks import load_mask
    from dagster_project.reports.figures.lesions import PANELS, slice_figure

    drawn_as = fingerprint(masks, caption, [name for *_, name in PANELS], slices_of(folder))
    file = folder / "pictures" / f"{drawn_as}.png"
    if not file.is_file():
        png = slice_figure(
            image(),
            {reader: load_mask(mask_file(folder, digest)) for reader, digest in masks.items()},
            caption=caption,
        )
        write_whole(file, png)
    return file.read_bytes()
