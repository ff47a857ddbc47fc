"""Decisions of a board in the whole flow: by the code that its page printed."""

from __future__ import annotations

import json

from dagster_project.flow.board_pages import write_board_pages
from dagster_project.flow.shown_boards import read_shown_boards
from tests.trial import SITES, Stage


def test_a_decision_is_a_row_beside_the_page_that_it_names(grown: Stage) -> None:
    trial = grown.trial
    patient = trial.pseudonym(SITES[0], 0)
    (row,) = grown.table("board_decisions").to_dicts()
    assert (row["site"], row["patient"], row["visit"]) == (SITES[0], patient, "T1")
    assert (row["decision"], row["decided_by"]) == ("continue_and_rescan_early", "oncologist")
    scan = grown.table("timepoints").filter(patient=patient, visit="T1").row(0, named=True)
    assert (row["decision_date"], row["day"]) == (scan["scan_date"], scan["day"])
    page = trial.home.reports / "board" / f"{patient}_T1.html"
    text = page.read_text(encoding="utf-8")
    assert "continue and rescan early" in text
    is_current = f"<code>{row['page_code']}</code>" in text
    assert row["status"] == ("page_current" if is_current else "page_superseded")
    assert ("an earlier state of this page" in text) == (not is_current)


def test_every_page_that_lies_there_is_in_the_record_and_none_is_recorded_twice(
    grown: Stage,
) -> None:
    trial = grown.trial
    with trial.entered():
        shown = read_shown_boards(trial.lakehouse)
        before = sorted(trial.home.vault.glob("*/*/boards/*.json"))
        write_board_pages(trial.lakehouse)
        assert sorted(trial.home.vault.glob("*/*/boards/*.json")) == before
    pages = sorted((trial.home.reports / "board").glob("*.html"))
    assert pages
    for page in pages:
        patient, _, visit = page.stem.rpartition("_")
        code = shown.codes[patient.rpartition("-")[0], patient, visit][-1]
        assert f"<code>{code}</code>" in page.read_text(encoding="utf-8")
    for file in before:
        record = json.loads(file.read_text(encoding="utf-8"))
        assert file.stem.endswith(record["page_code"])
        assert file.stat().st_mode & 0o777 == 0o400
