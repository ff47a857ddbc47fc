"""From the lake to the board pages: one per patient and visit, written where its digest changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.domain.response.as_of_visits import (
    derive_blocks_as_of,
    derive_responses_as_of,
    plan_next_scans,
)
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.domain.response.sum_error import find_reader_error
from dagster_project.flow.irecist_blocks import BLOCK_TABLES
from dagster_project.flow.lesion_crops import CropFile, find_crops
from dagster_project.flow.pages import moment_of, page_tables
from dagster_project.flow.responses import ACCEPTED, reads_by_reader
from dagster_project.flow.shown_boards import read_shown_boards
from dagster_project.study import digest_of

if TYPE_CHECKING:
    import polars as pl

    from dagster_project.reports.board import AsOf
    from dagster_project.resources import Lakehouse
    from dagster_project.study import Study


def write_board_pages(lakehouse: Lakehouse) -> tuple[list[Path], int]:
    """Write the pages that changed; all pages in order, and how many were written.

    Each state of a page is recorded before it is shown.
    """
    from dagster_project.reports.writing import write_boards

    tables, shown = page_tables(lakehouse), read_shown_boards(lakehouse)
    study, snapshot, now = moment_of(lakehouse)
    facts = {"snapshot": snapshot, "protocol_digest": study.digest}

    def crops(own: Mapping[str, pl.DataFrame]) -> Mapping[tuple[str, str], CropFile]:
        return find_crops(lakehouse, own)

    return write_boards(
        lakehouse.home.reports,
        tables,
        derive_as_of(lakehouse, tables),
        study,
        snapshot,
        now,
        crops=crops,
        record=lambda sheet, code: shown.record(sheet, code, facts),
    )


_DERIVED: dict[str, AsOf] = {}
"""What was derived last, by the files that its tables lie in: decisions and pages need the same."""

DERIVED_FROM = (*BLOCK_TABLES, "responses")


def derive_as_of(lakehouse: Lakehouse, tables: Mapping[str, pl.DataFrame]) -> AsOf:
    """Responses, blocks and planned CTs as of each visit, and the error between readers."""
    files = [lakehouse.lake.state(name) for name in DERIVED_FROM]
    state = digest_of([str(lakehouse.home.root), files, lakehouse.study.digest])
    if state not in _DERIVED:
        _DERIVED.clear()
        _DERIVED[state] = _derive(lakehouse.study, tables)
    return _DERIVED[state]


def _derive(study: Study, tables: Mapping[str, pl.DataFrame]) -> AsOf:
    from dagster_project.reports.board import AsOf

    reads = {ACCEPTED: tables["lesions"], **reads_by_reader(tables["reads"])}
    blocks = derive_blocks_as_of(
        reads,
        tables["timepoints"],
        tables["follow_up"],
        tables["treatments"],
        tables["clinical_status"],
        study.sections,
        standard_of(study, shipped_classes()),
    )
    return AsOf(
        derive_responses_as_of(
            reads, tables["timepoints"], tables["clinical_status"], study.sections
        ),
        blocks,
        plan_next_scans(tables["timepoints"], tables["treatments"], study.sections),
        find_reader_error(tables["responses"], study.section("dynamic")),
    )
