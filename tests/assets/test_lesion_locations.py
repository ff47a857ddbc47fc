"""Every lesion that a reader knows has a place on each later scan, or a reason for none."""

from __future__ import annotations

import polars as pl

from dagster_project.flow.lesion_locations import locate_lesions
from dagster_project.lake.tables import LESION_LOCATIONS
from tests.flow.site import silent
from tests.trial import SITES, Stage

WITHIN_MM = 5.0


def test_places_lie_where_the_reader_outlined_the_lesion(grown: Stage) -> None:
    rows = grown.table("lesion_locations")
    assert (rows["x_mm"].is_null() == rows["reason"].is_not_null()).all()
    known = rows.drop_nulls("distance_mm")["distance_mm"]
    assert known.len() > 10
    assert (known <= WITHIN_MM).mean() >= 0.95
    assert rows["flags"].list.len().sum() == 0


def test_every_later_visit_of_a_known_lesion_has_a_row(grown: Stage) -> None:
    rows, reads = grown.table("lesion_locations"), grown.table("reads")
    days = grown.table("timepoints").select("site", "patient", "visit", "scan_date")
    dated = reads.join(days, on=["site", "patient", "visit"])
    key = ["site", "patient", "reader", "lesion"]
    first = dated.group_by(key).agg(since=pl.col("scan_date").min())
    later = first.join(days, on=["site", "patient"]).filter(pl.col("scan_date") > pl.col("since"))
    wanted = set(later.select(*key, "visit").iter_rows())
    assert set(rows.select(*key, "visit").iter_rows()) == wanted


def test_a_night_with_nothing_new_registers_no_lungs(grown: Stage) -> None:
    trial = grown.trial
    with trial.entered():
        for site in SITES:
            again = locate_lesions(trial.lakehouse, site, silent)
            assert again.counts["registered"] == 0
            stored = grown.table("lesion_locations").filter(site=site).sort(LESION_LOCATIONS.key)
            assert again.rows.sort(LESION_LOCATIONS.key).equals(stored)


def test_only_what_may_be_seen_has_a_row(grown: Stage) -> None:
    names = ["site", "patient", "reader", "lesion"]
    rows = grown.table("lesion_locations").select(names).unique()
    assert rows.join(grown.table("reads"), on=names, how="anti").height == 0
