"""Writes a small lake of invented rows in every table, by the code of a released version.

The lakes of this folder were written so, and are kept to prove that later versions can migrate
them:

    git archive <commit of the release> | tar -x -C /tmp/release
    cp -r tests/lakes /tmp/release/tests/
    cd /tmp/release && python -m tests.lakes.write OUT/lake-schema-<version>.tar.xz

It uses nothing of the lake but what every version has: `open_lake`, `replace`, `exchange` and the
declared tables. Three states of the lake are written, so that earlier snapshots can be asked for:
site AA alone; BB beside it, with other rows of AA; AA without its last row.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

from dagster_project.lake.columns import Column
from dagster_project.lake.home import Home
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.store import Lake, open_lake
from dagster_project.lake.tables import TABLES, Table

FIRST_SEEN = dt.datetime(2025, 3, 1, 12, tzinfo=dt.UTC)
"""Long before any migration, so that a time that is renewed shows."""

ROWS = 3
"""Rows of a table and site."""


def write_lake(home: Home) -> list[int]:
    """Write the three states; the snapshot after each."""
    with open_lake(home) as lake:
        return [
            _write(lake, {"AA": ROWS}, state=0),
            _write(lake, {"AA": ROWS, "BB": ROWS}, state=1),
            _write(lake, {"AA": ROWS - 1, "BB": ROWS}, state=1),
        ]


def _write(lake: Lake, sites: dict[str, int], *, state: int) -> int:
    seen = lake.snapshot()
    for table in TABLES:
        rows = [
            row(table, site, n, state, seen) for site, count in sites.items() for n in range(count)
        ]
        lake.replace(table.name, pl.DataFrame(rows, schema=polars_schema(table)))
    return lake.snapshot()


def row(table: Table, site: str, number: int, state: int, seen: int) -> dict[str, Any]:
    """An invented row; another state has other texts in what is no key.

    `snapshot` is the snapshot before the state, which can be asked for.
    """
    values = {c.name: _value(table, c, site, number, state) for c in table.columns}
    return values | ({"snapshot": seen} if "snapshot" in values else {})


def _value(table: Table, column: Column, site: str, number: int, state: int) -> Any:
    """Any value of the column's type.

    `simulated` is true and false in turn although every row is invented: only so does a test see
    that it has not changed places with another column.
    """
    if column.name == "site":
        return site
    own = f"{site} {number}"
    free = column.name not in table.key
    if column.nullable and number == 1:
        return None
    values = {
        "string": f"{column.name} {own}" + (f" {state}" if free else ""),
        "int32": number + 1,
        "int64": number + 1,
        "double": number + 0.25,
        "bool": number % 2 == 0,
        "date": dt.date(2020, 1, 1) + dt.timedelta(days=number),
        "timestamp": FIRST_SEEN + dt.timedelta(hours=number),
        "list<string>": [f"{column.name} {own}"] * number,
    }
    return values[column.type]


def pack(home: Home, archive: Path) -> None:
    """The lake as one file: its catalogue, compacted, and its Parquet files."""
    with closing(sqlite3.connect(home.lake / "catalog.sqlite")) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with tarfile.open(archive, "w:xz") as packed:
        for name in ("catalog.sqlite", "data"):
            packed.add(home.lake / name, f"lake/{name}", filter=_anybodys)


def _anybodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = Home(Path(folder) / "home").make()
        sys.stdout.write(f"snapshots {write_lake(made)}\n")
        pack(made, Path(sys.argv[1]))
