"""The due list of the simulated cohort lies in a closed folder, and names its open blocks."""

from __future__ import annotations

import polars as pl

from tests.trial import Stage


def test_open_blocks_are_listed_in_a_folder_that_others_cannot_open(opened: Stage) -> None:
    folder = opened.trial.home.due
    assert folder.stat().st_mode & 0o077 == 0
    table = pl.read_csv(folder / "due_list.csv")
    blocks = opened.table("irecist_blocks").filter(evaluator="accepted", outcome="open")
    waiting = opened.table("arbitrations").filter(status="open")["patient"].to_list()
    listed = table.filter(~pl.col("section").is_in(["differ", "withheld"]))["patient"]
    assert sorted(listed) == sorted(p for p in blocks["patient"] if p not in waiting)
    page = (folder / "due_list.html").read_text(encoding="utf-8")
    assert all(patient in page for patient in listed)
    calendar = (folder / "due_list.ics").read_text(encoding="utf-8")
    windows = table.filter(
        pl.col("patient").is_in(listed.implode()), pl.col("confirm_from_day").is_not_null()
    )
    assert all(patient in calendar for patient in windows["patient"])
