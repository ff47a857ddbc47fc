"""Decisions of a board as intake leaves them: rows, or refused in the quarantine at once."""

from __future__ import annotations

from types import SimpleNamespace

import polars as pl
import pytest

from dagster_project.domain.response.board_decisions import UNKNOWN_PAGE, page_code
from dagster_project.flow.board_decisions import judge_board_decisions
from dagster_project.flow.shown_boards import ShownBoards
from dagster_project.resources import Lakehouse
from tests.domain.records import timepoints
from tests.domain.response.test_board_decisions import PATIENT, SCHEMA, SITE, decision

SHEET = SimpleNamespace(site=SITE, patient=PATIENT, visit="T1", day=60)


@pytest.fixture
def lakehouse(tmp_path):
    made = Lakehouse(root=str(tmp_path))
    made.home.make()
    (made.home.vault / SITE / PATIENT).mkdir(parents=True)
    with made.lake:
        made.lake.replace("timepoints", timepoints("T0", "T1"), site=SITE)
        yield made


def deliver(lakehouse, *rows):
    file = lakehouse.case_report_file(SITE, "board_decisions")
    file.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(file)


def quarantine(lakehouse):
    return lakehouse.lake.read("quarantine").select("stage", "item", "reason").rows()


def test_without_decisions_there_is_no_row(lakehouse):
    assert judge_board_decisions(lakehouse).rows.is_empty()
    assert quarantine(lakehouse) == []


def test_one_on_a_page_that_was_never_shown_is_in_the_quarantine_at_once(lakehouse):
    deliver(lakehouse, decision())
    found = judge_board_decisions(lakehouse)
    assert found.rows.is_empty()
    assert found.counts["refused"] == 1
    item = f"{PATIENT} board decision row 2"
    assert quarantine(lakehouse) == [("board_decisions", item, UNKNOWN_PAGE)]
    deliver(lakehouse)
    judge_board_decisions(lakehouse)
    assert quarantine(lakehouse) == []


def test_one_on_a_page_that_lies_there_no_more_stays_and_is_superseded(lakehouse):
    code = page_code("what was shown")
    ShownBoards(lakehouse.home).record(SHEET, code, {})
    deliver(lakehouse, decision(page_code=code))
    found = judge_board_decisions(lakehouse)
    assert found.rows["status"].to_list() == ["page_superseded"]
    assert found.counts["refused"] == 0
