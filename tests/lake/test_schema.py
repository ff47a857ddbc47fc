"""Every projection of the schema says the same, and no column list stands twice."""

from __future__ import annotations

import ast
import datetime as dt
from pathlib import Path

import duckdb
import polars as pl
import pytest

from dagster_project.lake import dictionary
from dagster_project.lake.columns import Column
from dagster_project.lake.contracts import find_violations
from dagster_project.lake.schema import arrow_schema, constraints, empty, polars_schema
from dagster_project.lake.tables import (
    BY_NAME,
    PATIENTS,
    READER_AGREEMENT,
    TABLES,
    TREATMENTS,
    Table,
)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_a_table_is_declared_whole(table: Table) -> None:
    assert set(table.key) <= set(table.names)
    assert len(set(table.names)) == len(table.names)
    assert not any(table.column(k).nullable for k in table.key)
    assert table.by_site <= ("site" in table.names)
    assert all(c.en and any("一" <= ch <= "鿿" for ch in c.zh) for c in table.columns), (
        "a description in English and Chinese"
    )


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_a_unit_in_a_name_is_the_unit(table: Table) -> None:
    suffixes = {
        "_mm": "mm",
        "_mm3": "mm3",
        "_hu": "HU",
        "_deg": "deg",
        "_percent": "%",
        "_days": "d",
    }
    for column in table.columns:
        for suffix, unit in suffixes.items():
            if column.name.endswith(suffix):
                assert column.unit == unit, column.name


def test_arrow_and_polars_agree() -> None:
    for table in TABLES:
        assert empty(table).to_arrow().schema.names == arrow_schema(table).names
        assert pl.DataFrame(arrow_schema(table).empty_table()).schema == pl.Schema(
            polars_schema(table)
        )


def test_the_dictionary_is_generated() -> None:
    assert dictionary.DICTIONARY.read_text(encoding="utf-8") == dictionary.write_dictionary()
    assert all(f"## {t.name}\n" in dictionary.write_dictionary() for t in TABLES)


def _treatment(**changes: object) -> pl.DataFrame:
    row = dict(
        site="AA",
        patient="p",
        cycle=1,
        treatment_date=dt.date(2020, 1, 1),
        day=0,
        drugs=None,
        simulated=True,
        input_fingerprint="f",
    )
    return pl.DataFrame([row | changes], schema=polars_schema(TREATMENTS))


def violations(table: Table, frame: pl.DataFrame) -> list[tuple[str, int]]:
    with duckdb.connect() as c:
        c.register(table.name, frame.to_arrow())
        return [
            (v.constraint, v.rows)
            for v in find_violations(lambda q: c.execute(q).fetchone(), table)
        ]


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        (dict(patient=None), "patient not_null"),
        (dict(cycle=0), "cycle minimum 1"),
        (dict(cycle=100), "cycle maximum 99"),
        (dict(site="lower"), "site pattern"),
    ],
)
def test_a_broken_constraint_is_named_and_counted(
    changes: dict[str, object], constraint: str
) -> None:
    assert violations(TREATMENTS, _treatment(**changes)) == [(constraint, 1)]


def test_values_outside_a_list_infinities_repeats_and_empty_tables_are_found() -> None:
    twice = pl.concat([_treatment(), _treatment()])
    assert violations(TREATMENTS, twice) == [("site, patient, cycle unique", 1)]
    assert violations(PATIENTS, empty(PATIENTS)) == [("at least 1 rows", 1)]
    row = dict.fromkeys(READER_AGREEMENT.names) | dict(
        scope="galaxy",
        site="AA",
        patient="*",
        visit="*",
        lesion="*",
        measurement="mask",
        n=1,
        n_resolved=1,
        simulated=True,
        bias=float("nan"),
    )
    found = violations(
        READER_AGREEMENT, pl.DataFrame([row], schema=polars_schema(READER_AGREEMENT))
    )
    assert found == [("scope allowed", 1), ("bias finite", 1)]


def test_clean_rows_break_nothing() -> None:
    assert violations(TREATMENTS, _treatment()) == []


def test_every_constraint_kind_has_a_check() -> None:
    kinds = {c.kind for t in TABLES for c in constraints(t)}
    assert kinds == {"unique", "not_null", "minimum", "maximum", "allowed", "pattern", "finite"}


def test_no_column_list_stands_twice() -> None:
    """No list or tuple of texts outside the schema names more than half of a table's columns.

    Headings of printed tables are shorter.
    """
    root = Path(dictionary.__file__).resolve().parents[2]
    sources = [
        p
        for name in ("dagster_project", "assets", "checks", "models")
        for p in (root / name).rglob("*.py")
        if p.name not in {"tables.py", "columns.py"}
    ]
    assert len(sources) > 50
    literals = [
        (p.name, node)
        for p in sources
        for node in ast.walk(ast.parse(p.read_text(encoding="utf-8")))
        if isinstance(node, ast.List | ast.Tuple)
    ]
    texts = [
        (
            name,
            {
                e.value
                for e in node.elts
                if isinstance(e, ast.Constant) and isinstance(e.value, str)
            },
        )
        for name, node in literals
    ]
    second = [
        (name, table.name)
        for name, words in texts
        for table in TABLES
        if len(words & set(table.names)) > max(6, len(table.names) / 2)
    ]
    assert second == []


def test_columns_declare_only_known_types() -> None:
    assert isinstance(BY_NAME["scans"].column("rows"), Column)
