"""Blocks of unconfirmed progression: what is due, and what would confirm or reset."""

import dagster as dg

from dagster_project.flow.irecist_blocks import BLOCK_TABLES, find_all_blocks
from dagster_project.lake.tables import IRECIST_BLOCKS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(IRECIST_BLOCKS, deps=["responses", *BLOCK_TABLES], by_day=True)
def irecist_blocks(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Put iRECIST's unconfirmed progressions on the calendar; no gate holds this back."""
    rows = find_all_blocks(lakehouse)
    return materialize_result(lakehouse.lake.replace(IRECIST_BLOCKS.name, rows), rows)
