"""Pages of one run read the lake once, and every page after a write shows what was written."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from dagster_project.flow.pages import page_tables
from dagster_project.resources import Lakehouse
from tests.lake.test_store import rows


def test_pages_of_one_run_show_the_same_rows_and_later_ones_the_new(tmp_path: Path) -> None:
    lakehouse = Lakehouse(root=str(tmp_path / "home"))
    other = Lakehouse(root=str(tmp_path / "other"))
    lakehouse.lake.replace("treatments", rows("AA", "p1"), site="AA")
    first = page_tables(lakehouse)
    assert first["treatments"]["patient"].to_list() == ["p1"]
    assert page_tables(lakehouse)["treatments"] is first["treatments"]
    assert page_tables(other)["treatments"].height == 0
    lakehouse.lake.replace("treatments", rows("AA", "p1", "p2"), site="AA")
    after = page_tables(lakehouse)
    assert after["treatments"]["patient"].to_list() == ["p1", "p2"]
    for name, frame in after.items():
        assert frame.equals(lakehouse.lake.read(name)), name
    after["treatments"] = pl.DataFrame()
    assert page_tables(lakehouse)["treatments"].height == 2, "a page's own table is its own"
