"""What tumour boards decided, beside the pages that they looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from dagster_project.domain.response.board_decisions import derive_board_decisions
from dagster_project.flow.board_pages import derive_as_of
from dagster_project.flow.pages import page_tables
from dagster_project.flow.shown_boards import read_shown_boards
from dagster_project.flow.step_result import StepResult, gather_refusals, refuse_by_site
from dagster_project.lake.schema import empty
from dagster_project.lake.tables import BOARD_DECISIONS, QUARANTINE

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse


def judge_board_decisions(lakehouse: Lakehouse) -> StepResult:
    """The rows of board_decisions; what is refused goes to the quarantine of this run.

    The asset that gathers the quarantine is made before the pages that decisions name.
    """
    by_site = [lakehouse.case_report(s, BOARD_DECISIONS.name) for s in lakehouse.home.sites()]
    delivered = [rows for rows in by_site if rows.height]
    rows, refused = empty(BOARD_DECISIONS), empty(QUARANTINE)
    if delivered:
        rows, refused = _judge(lakehouse, pl.concat(delivered))
    refuse_by_site(lakehouse, BOARD_DECISIONS.name, refused)
    gather_refusals(lakehouse)
    counts = {
        "decisions": rows.height,
        "page_superseded": rows.filter(status="page_superseded").height,
        "contradictory": rows.filter(status="contradictory").height,
        "refused": refused.height,
    }
    return StepResult(rows, counts)


def _judge(lakehouse: Lakehouse, delivered: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    from dagster_project.reports.board import page_codes

    tables = page_tables(lakehouse)
    cases = frozenset(delivered.select("patient", "visit").iter_rows())
    current = page_codes(tables, derive_as_of(lakehouse, tables), lakehouse.study, cases)
    return derive_board_decisions(
        delivered, read_shown_boards(lakehouse).cases(), current, tables["timepoints"]
    )
