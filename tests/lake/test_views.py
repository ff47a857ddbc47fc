"""What analysts open is described: every column of every table and view has a comment."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import polars as pl
import pytest

from dagster_project.lake import views
from dagster_project.lake.code_lists import CODE_LISTS
from dagster_project.lake.home import Home
from dagster_project.lake.publish import publish
from dagster_project.lake.reasons import chinese_reason
from dagster_project.lake.schema import comment, duckdb_type
from dagster_project.lake.store import open_lake
from tests.lake.test_publish import _feature, rows


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published file with a patient, and features of one lesion."""
    home = Home(tmp_path_factory.mktemp("described") / "home").make()
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        lake.replace("radiomic_features", pl.DataFrame([_feature("a", 1.0)]), site="AA")
        return publish(lake, home.published).database


def asked(file: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(file), read_only=True) as c:
        return c.execute(query).fetchall()


def test_no_column_is_without_a_comment(file: Path) -> None:
    found = asked(
        file, "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
    )
    assert {name for name, _, _ in found} > {"radiomic_features_wide", "code_lists", *views.VIEWS}
    assert [(t, c) for t, c, text in found if not text] == []
    bilingual = re.compile(r"^.+ \| .*[\u4e00-\u9fff]", re.DOTALL)
    assert [(t, c) for t, c, text in found if not bilingual.match(str(text))] == []


def test_no_table_or_view_is_without_a_comment(file: Path) -> None:
    found = asked(
        file,
        "SELECT table_name, comment FROM duckdb_tables() UNION ALL "
        "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal",
    )
    assert [name for name, text in found if not text] == []


@pytest.mark.parametrize("view", views.VIEWS.values(), ids=lambda v: v.name)
def test_a_view_has_the_columns_that_are_declared(file: Path, view: views.View) -> None:
    found = asked(
        file,
        "SELECT column_name, data_type, comment FROM duckdb_columns() "
        f"WHERE table_name = '{view.name}' ORDER BY column_index",
    )
    assert found == [(c.name, duckdb_type(c), comment(c)) for c in view.columns]


def test_a_quantity_has_its_unit_in_the_comment(file: Path) -> None:
    units = {"_mm": "mm", "_mm3": "mm3", "_hu": "HU", "_percent": "%", "_days": "d"}
    found = asked(
        file, "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
    )
    lacking = [
        (table, column)
        for table, column, text in found
        for suffix, unit in units.items()
        if str(column).endswith(suffix) and f"[{unit}]" not in str(text)
        if not str(text).startswith("Former name")
        if table != "radiomic_features_wide"
    ]
    assert lacking == []


def test_every_code_and_reason_is_listed_once(file: Path) -> None:
    found = asked(file, f"SELECT * FROM {CODE_LISTS.name}")
    assert len({(place, code) for place, code, _, _ in found}) == len(found)
    lists = {str(place) for place, *_ in found}
    assert {"outcomes.bor", "eligibility.criterion", "reasons"} <= lists
    reasons = {str(code): zh for place, code, _, zh in found if place == "reasons"}
    assert reasons["export the file again"] == chinese_reason("export the file again")


def test_a_list_without_entries_is_empty_and_not_null(file: Path) -> None:
    types = {v.name: [c.name for c in v.columns if c.type == "list<string>"] for v in _own_lists()}
    assert types
    for name, columns in types.items():
        for column in columns:
            assert asked(file, f'SELECT 1 FROM "{name}" WHERE "{column}" IS NULL') == []


def _own_lists() -> list[views.View]:
    return [v for v in views.VIEWS.values() if any(c.type == "list<string>" for c in v.columns)]
