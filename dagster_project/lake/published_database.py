"""The published DuckDB file.

It is the one before, with the rows of the patients who differ exchanged, or written from nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from dagster_project.lake import sql, views
from dagster_project.lake.code_lists import CODE_LISTS, list_codes
from dagster_project.lake.columns import Column, number
from dagster_project.lake.migrations import former_names
from dagster_project.lake.minimisation import AS_IN_THE_LAKE, Minimisation
from dagster_project.lake.published_files import Former, Patients, by_site, size_and_time, source
from dagster_project.lake.schema import (
    duckdb_comment,
    duckdb_comments,
    duckdb_create,
    literal,
    quoted,
)
from dagster_project.lake.store import LOCAL_SETTINGS
from dagster_project.lake.tables import PUBLISHED, RADIOMIC_FEATURES, Table

WIDE = "radiomic_features_wide"
WIDE_KEY = ("site", "patient", "visit", "scan", "lesion", "reader", "region")

WIDE_FEATURE = (
    "Value of {} (image_class_name of PyRadiomics), in the feature's own unit; "
    "NULL where radiomic_features has a reason"
)
WIDE_FEATURE_ZH = "{}的值（PyRadiomics：图像_类别_名称），单位随特征；为空的原因见radiomic_features"
"""Comments of the columns of features."""

PATIENTS_AT_A_TIME = 25
"""Patients of a site made wide in one statement, so that memory stays bounded."""

REPLACED_SHARE = 0.1
"""Largest share of a table's rows to exchange since the file was written from nothing.

With more it is written from nothing again, since the space of exchanged rows is not given back.
"""

COPIED_AT_ONCE = 2**30
"""Bytes that one call of the system copies."""


def write_database(
    parquet: Path, database: Path, *, memory: str, minimised: Minimisation = AS_IN_THE_LAKE
) -> None:
    """Write all tables, the views and the wide feature table in one DuckDB file, with comments.

    Everything is written from nothing. A column that the last schema version renamed is there under
    its former name too, so that analysts' queries still run; Parquet files have today's name alone.
    """
    with _opened(database, memory) as c:
        for table in map(minimised.table, PUBLISHED):
            c.execute(duckdb_create(table, former_names(table)))
            c.execute(
                f'INSERT INTO "{table.name}" BY NAME FROM read_parquet(?)', [source(parquet, table)]
            )
            _ = [c.execute(s) for s in (*duckdb_comments(table), *alias_comments(table))]
        for name in views.VIEWS:
            _ = [c.execute(s) for s in (*sql.create_view(name), *sql.comment_view(name))]
        _write_code_lists(c)
        _write_wide(c, parquet)


def _write_code_lists(c: duckdb.DuckDBPyConnection) -> None:
    c.execute(duckdb_create(CODE_LISTS))
    columns = ", ".join(f"unnest(?) AS {name}" for name in CODE_LISTS.names)
    rows = [list(values) for values in zip(*list_codes(), strict=True)]
    c.execute(f"INSERT INTO {CODE_LISTS.name} BY NAME SELECT {columns}", rows)
    _ = [c.execute(s) for s in duckdb_comments(CODE_LISTS)]


def alias_comments(table: Table) -> list[str]:
    """COMMENT ON statements for former names of columns."""
    return [
        f"COMMENT ON COLUMN {quoted(table.name)}.{quoted(old)} IS "
        f"{literal(f'Former name of {new}, until the next schema version | {new}的旧列名')}"
        for old, new in former_names(table).items()
    ]


def patch_database(
    former: Former, parquet: Path, database: Path, rows: dict[str, int], *, memory: str
) -> dict[str, int] | None:
    """The former file, copied, with what differs exchanged; how many rows were so far, by table.

    None, and no file, where it is to be written from nothing:

    1. It is not the file that was published.
    2. A patient of whom a site delivered data has left a table: rows that are taken out of a DuckDB
       file stay in it as bytes.
    3. Too large a part of a table has been exchanged since it was written from nothing.
    4. It does not hold as many rows of each table as the Parquet files.
    """
    if not former.database.is_file() or size_and_time(former.database) != former.manifest.database:
        return None
    _copy(former.database, database)
    with _opened(database, memory) as c:
        replaced = None if _somebody_left(c, former, parquet) else _exchanged(c, former, parquet)
        sound = (
            replaced is not None
            and _few(replaced, rows)
            and all(_count(c, table) == rows[table] for table in rows)
        )
    if not sound:
        database.unlink()
    return replaced if sound else None


@contextmanager
def _opened(database: Path, memory: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """One transaction over everything: a commit waits for the disk, and there would be hundreds."""
    with duckdb.connect(
        str(database), config=LOCAL_SETTINGS | {"memory_limit": memory}
    ) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")


def _copy(file: Path, copy: Path) -> None:
    """By the kernel, which shares the blocks on a file system that can."""
    try:
        with file.open("rb") as whole, copy.open("wb") as made:
            while os.copy_file_range(whole.fileno(), made.fileno(), COPIED_AT_ONCE):
                pass
    except OSError:
        shutil.copyfile(file, copy)


def _somebody_left(c: duckdb.DuckDBPyConnection, former: Former, parquet: Path) -> bool:
    delivered = [
        t for t in PUBLISHED if t.name in former.changed and t.by_site and "patient" in t.names
    ]
    return any(
        c.execute(
            f'SELECT patient FROM "{t.name}"{_of(t, former)} '
            f"EXCEPT SELECT patient FROM read_parquet(?){_of(t, former)} LIMIT 1",
            [source(parquet, t)],
        ).fetchall()
        for t in delivered
    )


def _of(table: Table, former: Former) -> str:
    """The rows of a table that may differ; of one that is published whole, all."""
    patients = former.changed[table.name]
    return f" WHERE {sql.of_patients(patients)}" if by_site(table) and patients is not None else ""


def _exchanged(c: duckdb.DuckDBPyConnection, former: Former, parquet: Path) -> dict[str, int]:
    """Exchange everything that differs.

    Returns the rows taken out since the file was written from nothing, by table.
    """
    replaced = dict(former.manifest.replaced)
    for table in (t for t in PUBLISHED if t.name in former.changed):
        some = _of(table, former)
        going = c.execute(f'DELETE FROM "{table.name}"{some}').fetchall()[0][0]
        c.execute(
            f'INSERT INTO "{table.name}" BY NAME FROM read_parquet(?){some}',
            [source(parquet, table)],
        )
        replaced[table.name] = replaced.get(table.name, 0) + (going if some else 0)
    _patch_wide(c, parquet, former)
    return replaced


def _few(replaced: dict[str, int], rows: dict[str, int]) -> bool:
    return all(gone <= REPLACED_SHARE * rows[name] for name, gone in replaced.items())


def _count(c: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(c.execute(f'SELECT count(*) FROM "{table}"').fetchall()[0][0])


def _patch_wide(c: duckdb.DuckDBPyConnection, parquet: Path, former: Former) -> None:
    """The rows of the patients who differ; all of it where features came or went."""
    patients = former.changed.get(RADIOMIC_FEATURES.name, frozenset())
    there = c.execute(
        "SELECT column_name FROM duckdb_columns() WHERE table_name = ?", [WIDE]
    ).fetchall()
    if patients is None or [n for (n,) in there] != [*WIDE_KEY, *_features(c)]:
        c.execute(f'DROP TABLE IF EXISTS "{WIDE}"')
        _write_wide(c, parquet)
    elif patients:
        c.execute(f'DELETE FROM "{WIDE}" WHERE {sql.of_patients(patients)}')
        _add_wide(c, parquet, patients, _features(c))


def _write_wide(c: duckdb.DuckDBPyConnection, parquet: Path) -> None:
    """One column per feature, for tools that want a matrix.

    It is made here, since so many columns would swell the catalogue.
    """
    features = _features(c)
    if not features:
        return
    columns = ", ".join([f'"{k}" VARCHAR' for k in WIDE_KEY] + [f'"{f}" DOUBLE' for f in features])
    c.execute(f'CREATE TABLE "{WIDE}" ({columns})')
    c.execute(
        f'COMMENT ON TABLE "{WIDE}" IS '
        "'radiomic_features with one column per feature | 每个特征一列的宽表'"
    )
    _ = [c.execute(duckdb_comment(WIDE, column)) for column in _wide_columns(features)]
    for site, patients in c.execute(
        "SELECT site, list(DISTINCT patient ORDER BY patient) "
        f"FROM {RADIOMIC_FEATURES.name} GROUP BY site ORDER BY site"
    ).fetchall():
        for start in range(0, len(patients), PATIENTS_AT_A_TIME):
            _add_wide(
                c,
                parquet,
                frozenset((site, p) for p in patients[start : start + PATIENTS_AT_A_TIME]),
                features,
            )


def _wide_columns(features: list[str]) -> list[Column]:
    """Columns of the wide table; what the key means is declared with the long one."""
    return [
        *map(RADIOMIC_FEATURES.column, WIDE_KEY),
        *(number(f, WIDE_FEATURE.format(f), WIDE_FEATURE_ZH.format(f)) for f in features),
    ]


def _features(c: duckdb.DuckDBPyConnection) -> list[str]:
    return [
        f
        for (f,) in c.execute(
            f"SELECT DISTINCT feature FROM {RADIOMIC_FEATURES.name} ORDER BY feature"
        ).fetchall()
    ]


def _add_wide(
    c: duckdb.DuckDBPyConnection, parquet: Path, patients: Patients, features: list[str]
) -> None:
    key, named = ", ".join(WIDE_KEY), ", ".join(f"'{f}'" for f in features)
    files = [
        str(parquet / f"{RADIOMIC_FEATURES.name}.parquet" / f"{site}.parquet")
        for site in sorted({s for s, _ in patients})
    ]
    rows = (
        f"SELECT {key}, feature, value FROM read_parquet({files}) WHERE {sql.of_patients(patients)}"
    )
    c.execute(
        f'INSERT INTO "{WIDE}" BY NAME PIVOT ({rows}) ON feature IN ({named}) '
        f"USING first(value) GROUP BY {key} ORDER BY {key}"
    )
