"""Blocks of the simulated cohort: each unconfirmed progression is in one, as of the run."""

from __future__ import annotations

import datetime as dt

import polars as pl

from tests.trial import Stage


def test_each_unconfirmed_progression_of_the_accepted_read_is_in_a_block(opened: Stage) -> None:
    progressed = opened.table("responses").filter(evaluator="accepted", irecist_response="iUPD")
    blocks = opened.table("irecist_blocks").filter(evaluator="accepted")
    assert set(progressed["patient"]) == set(blocks["patient"])
    assert blocks["block"].to_list() == [1] * blocks.height


def test_they_are_as_of_the_day_of_the_run_shifted_as_the_patients_dates(opened: Stage) -> None:
    blocks, scans = opened.table("irecist_blocks"), opened.table("timepoints")
    assert blocks.height
    last = scans.group_by("patient").agg(last=pl.col("scan_date").max())
    after = blocks.join(last, on="patient")
    assert (after["as_of_date"] >= after["last"]).all()
    assert (after["as_of_date"] < dt.datetime.now(dt.UTC).date()).all()
    zero = scans.filter(visit="T0").select(
        "patient", first=pl.col("scan_date") - pl.duration(days="day")
    )
    counted = (
        after.filter(outcome="open")
        .join(zero, on="patient")
        .with_columns(opened=pl.col("first") + pl.duration(days="opened_day"))
    )
    assert (
        (counted["as_of_date"] - counted["opened"]).dt.total_days() == counted["days_open"]
    ).all()


def test_rows_bear_the_version_and_the_digest_of_the_standard(opened: Stage) -> None:
    blocks = opened.table("irecist_blocks")
    assert blocks.select("standard_version", "standard_digest").unique().height == 1
