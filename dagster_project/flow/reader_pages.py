"""From the vault to the readers' pages: each has that reader's own reads and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.domain.reading.entry_checks import check_entries
from dagster_project.domain.reading.lesion_locations import (
    FAR,
    PLACE,
    KnownLesion,
    NextScan,
    list_known,
    locate,
)
from dagster_project.flow.lesion_locations import places_of
from dagster_project.flow.pages import moment_of
from dagster_project.flow.reads import LEDGER, OPEN_READS, noted_reads
from dagster_project.flow.result_cache import fingerprint, scan_folder, slices_of
from dagster_project.flow.step_result import is_simulated
from dagster_project.lake.files import write_whole

if TYPE_CHECKING:
    from dagster_project.domain.imaging.series import Series
    from dagster_project.reports.reader_pages import PlacedLesion, ReaderScan, ReaderWork
    from dagster_project.resources import Lakehouse

Row = dict[str, Any]
Visit = tuple[str, str]
"""Patient and visit."""


def write_pages(lakehouse: Lakehouse) -> list[Path]:
    """Write each reader's worklist and a page per scan to be read; former pages go."""
    from dagster_project.reports.writing import write_reader_pages

    works = [work for site in lakehouse.home.sites() for work in list_works(lakehouse, site)]
    return write_reader_pages(lakehouse.home.reports, works, *moment_of(lakehouse))


@dataclass(frozen=True)
class _Reader:
    """One reader's own reads, and what follows from them alone."""

    lakehouse: Lakehouse
    own: Sequence[Row]
    known: Sequence[KnownLesion]
    found: Mapping[tuple[str, str], NextScan | str]
    still_open: frozenset[Visit]

    @property
    def done(self) -> frozenset[Visit]:
        """Visits of which the reader has reads and none is open."""
        return frozenset((row["patient"], row["visit"]) for row in self.own) - self.still_open

    def far(self) -> list[Row]:
        """Places from which the reader's locked outline lies far away."""
        located = (self.located(one) for one in self.known if _visit_of(one) in self.done)
        return [row for row in located if FAR in row["flags"]]

    def located(self, known: KnownLesion) -> Row:
        far_mm = self.lakehouse.study.section("reads")["far_from_place_mm"]
        return locate(known, self.found, far_mm)

    def scan(self, visit: Row) -> ReaderScan:
        """A scan that is not locked: known lesions with their places, and questions."""
        from dagster_project.reports.reader_pages import ReaderScan

        key = (visit["patient"], visit["visit"])
        known = [one for one in self.known if _visit_of(one) == key]
        here = [row for row in self.own if (row["patient"], row["visit"]) == key]
        return ReaderScan(
            *key,
            visit["day"],
            "open" if key in self.still_open else "to_read",
            [self._placed(one) for one in known],
            check_entries(
                here,
                [one.last["lesion"] for one in known],
                visit["visit"],
                self.lakehouse.study.section("recist"),
            ),
        )

    def _placed(self, known: KnownLesion) -> PlacedLesion:
        from dagster_project.reports.reader_pages import PlacedLesion

        row = self.located(known)
        window = "lung" if known.last["organ"] == "lung" else "soft"
        png = None
        if row.get("x_mm") is not None:
            place = tuple(row[name] for name in PLACE)
            png = _picture(scan_folder(self.lakehouse.home.vault, row), place, window)
        return PlacedLesion(row, dict(known.last), window, png)


def _visit_of(known: KnownLesion) -> Visit:
    return str(known.last["patient"]), known.visit


def list_works(lakehouse: Lakehouse, site: str) -> Iterator[ReaderWork]:
    """What each reader of a hospital has to do.

    1. A reader's reads are the locked and the open ones of that reader.
    2. A patient is theirs who has a read by that reader, or whom fewer than `blinded_readers`
       readers have read.
    3. A visit is left out where the reader has reads of it and all are locked.
    """
    from dagster_project.reports.reader_pages import ReaderWork

    (timepoints,) = lakehouse.read("timepoints", site=site)
    visits = timepoints.drop_nulls("scan_date").sort("patient", "scan_date", "visit").to_dicts()
    rules = lakehouse.study.section("reads")
    reads, still_open = _blinded_reads(lakehouse, site)
    readers_of: dict[str, set[str]] = defaultdict(set)
    for patient, reader in reads.select("patient", "reader").unique().iter_rows():
        readers_of[patient].add(reader)
    for reader in reads["reader"].unique().sort():
        one = _reader(lakehouse, reads.filter(reader=reader), still_open, timepoints)
        scans = [
            one.scan(visit)
            for visit in visits
            if (visit["patient"], visit["visit"]) not in one.done
            and _is_theirs(reader, readers_of[visit["patient"]], rules["blinded_readers"])
        ]
        simulated = is_simulated(lakehouse, site)
        yield ReaderWork(site, reader, scans, len(one.done), one.far(), simulated)
    _series.cache_clear()


def _is_theirs(reader: str, readers: Collection[str], needed: int) -> bool:
    return reader in readers or len(readers) < needed


def _blinded_reads(lakehouse: Lakehouse, site: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All noted reads of blinded readers, and those of them that are open."""
    blinded = pl.col("reader") != lakehouse.study.section("reads")["site_reader"]
    locked, still_open = (
        noted_reads(lakehouse, site, name).filter(blinded) for name in (LEDGER, OPEN_READS)
    )
    return pl.concat([locked, still_open]), still_open


def _reader(
    lakehouse: Lakehouse, own: pl.DataFrame, still_open: pl.DataFrame, timepoints: pl.DataFrame
) -> _Reader:
    rows = own.to_dicts()
    known = list_known(rows, timepoints)
    waiting = still_open.join(own.select("reader").unique(), on="reader", how="semi")
    visits = frozenset(waiting.select("patient", "visit").iter_rows())
    return _Reader(lakehouse, rows, known, places_of(lakehouse.home.vault, known), visits)


def _picture(folder: Path, place: tuple[Any, ...], window: str) -> bytes:
    """The planes through a place, drawn once."""
    from dagster_project.reports.places import FORMAT, draw_place

    name = fingerprint("place", FORMAT, place, window, slices_of(folder))
    file = folder / "places" / f"{name}.png"
    if not file.is_file():
        series = _series(folder)
        write_whole(file, draw_place(series.image, series.affine, place, window))
    return file.read_bytes()


@lru_cache(maxsize=1)
def _series(folder: Path) -> Series:
    from dagster_project.domain.imaging.series import read_series

    return read_series(folder)
