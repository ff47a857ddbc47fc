"""Readers' pages of the simulated cohort: each has that reader's own reads and nothing else."""

from __future__ import annotations

import re

import polars as pl

from dagster_project.flow.reader_pages import list_works
from dagster_project.flow.reads import LEDGER, OPEN_READS
from tests.bad_deliveries import OPEN_READER
from tests.reports.pages import Page
from tests.trial import SITES, Stage


def noted(stage: Stage, name: str) -> pl.DataFrame:
    files = sorted(stage.trial.home.vault.glob(f"*/*/{name}"))
    return pl.concat([pl.read_parquet(file) for file in files])


def test_each_reader_has_a_closed_worklist(grown: Stage) -> None:
    folder = grown.trial.home.reports / "readers"
    both = pl.concat([noted(grown, LEDGER), noted(grown, OPEN_READS)])
    readers = set(both.filter(pl.col("reader") != "SITE").select("site", "reader").iter_rows())
    assert {(f.parent.parent.name, f.parent.name) for f in folder.rglob("index.html")} == readers
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.rglob("*.html"))


def test_open_reads_are_on_their_own_readers_pages_alone(grown: Stage) -> None:
    waiting = noted(grown, OPEN_READS)
    assert OPEN_READER in set(waiting["reader"])
    pages = {
        (page.parent.name, page.name): Page(page.read_text(encoding="utf-8")).text
        for page in (grown.trial.home.reports / "readers").rglob("*.html")
    }
    for (reader, _), text in pages.items():
        others = set(waiting["reader"]) - {reader}
        assert not any(re.search(rf"\b{other}\b", text) for other in others)
    for row in waiting.to_dicts():
        assert (row["reader"], f"{row['patient']}_{row['visit']}.html") in pages


def test_a_locked_visit_is_on_no_worklist(grown: Stage) -> None:
    locked = set(noted(grown, LEDGER).select("reader", "patient", "visit").iter_rows())
    locked -= set(noted(grown, OPEN_READS).select("reader", "patient", "visit").iter_rows())
    with grown.trial.entered():
        works = [work for site in SITES for work in list_works(grown.trial.lakehouse, site)]
    listed = {(work.reader, s.patient, s.visit) for work in works for s in work.scans}
    assert listed.isdisjoint(locked)
