"""The lakes of released versions, unpacked or copied into another catalogue for a test."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from dagster_project.lake import sql
from dagster_project.lake.home import Home
from dagster_project.lake.migrations import VERSIONS
from dagster_project.lake.store import Lake, extension_file
from dagster_project.lake.tables import BY_NAME

FOLDER = Path(__file__).parent
BASELINE = FOLDER / "lake-schema-1.tar.xz"
"""Written by the last commit before migrations, whose lakes record no schema version."""

ALONE, BOTH, LAST = 30, 59, 88
"""Its snapshots: site AA alone, with BB, and without AA's last row."""


def unpack(archive: Path, home: Home) -> Home:
    """The lake of a released version in a home."""
    with tarfile.open(archive) as packed:
        packed.extractall(home.make().root, filter="data")
    return home


@contextmanager
def as_stored(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a lake by DuckDB alone, without any code that knows its schema."""
    with duckdb.connect() as connection:
        for extension in ("ducklake", "sqlite_scanner"):
            connection.execute(f"LOAD '{extension_file(extension)}'")
        connection.execute(
            sql.attach(home.catalog, home.data, read_only=True, as_of=None, encrypted=False)
        )
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("USE lake")
        yield connection


def copy_baseline(home: Home, lake: Lake) -> None:
    """Lay the last state of the lake in `home` into an empty one, of another catalogue.

    Tables have the columns, types, NOT NULL and partitions of the stored ones; nothing of what is
    declared today but partitions and order is used.
    """
    with as_stored(home) as stored:
        columns = stored.execute(sql.STORED_COLUMNS).fetchall()
        views = stored.execute(sql.STORED_VIEWS).fetchall()
        lake.query("BEGIN")
        for table in sorted({t for t, *_ in columns} - {VERSIONS}):
            kinds = ", ".join(
                f'"{c}" {kind}{"" if nullable else " NOT NULL"}'
                for t, c, kind, nullable in columns
                if t == table
            )
            lake.query(f'CREATE TABLE "{table}" ({kinds})')
            if BY_NAME[table].by_site:
                lake.query(f'ALTER TABLE "{table}" SET PARTITIONED BY (site)')
            rows = stored.execute(f'SELECT * FROM "{table}"').to_arrow_table()
            lake._connection.register("rows_of_a_table", rows)
            lake.query(f'INSERT INTO "{table}" BY NAME SELECT * FROM rows_of_a_table')
            lake._connection.unregister("rows_of_a_table")
    for _, query in views:
        lake.query(query)
    lake.query("COMMIT")
