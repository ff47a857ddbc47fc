"""What analysts open: one self-contained DuckDB file and plain Parquet of a snapshot, swapped in by a link."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dagster_project.lake import sql
from dagster_project.lake.schema import arrow_schema, duckdb_comments, duckdb_create
from dagster_project.lake.store import Lake
from dagster_project.lake.tables import TABLES, Table

KEPT = 3
"""Published snapshots that stay; an older file that someone still has open lives on until it is closed."""

BATCH_ROWS = 250_000

WIDE = "radiomic_features_wide"
WIDE_KEY = ("site", "patient", "visit", "scan", "lesion", "reader", "region")


@dataclass(frozen=True)
class Published:
    """Where a snapshot was published."""

    database: Path
    parquet: Path
    snapshot: int
    fresh: bool


def publish(lake: Lake, folder: Path) -> Published:
    """Write the newest snapshot for analysts and swap the links `lakehouse.duckdb` and `parquet/latest` to it."""
    snapshot = lake.snapshot()
    database, parquet = folder / f"lakehouse-{snapshot}.duckdb", folder / "parquet" / str(snapshot)
    fresh = not (database.is_file() and parquet.is_dir())
    if fresh:
        _remove_partial(folder)
        _write_parquet(lake, parquet, snapshot)
        _write_database(parquet, database)
    _swap(folder / "lakehouse.duckdb", database.name)
    _swap(folder / "parquet" / "latest", parquet.name)
    _remove_old(folder, snapshot)
    return Published(database, parquet, snapshot, fresh)


def withdraw_publications(folder: Path) -> None:
    """Delete everything that was published."""
    _remove_partial(folder)
    for link in (folder / "lakehouse.duckdb", folder / "parquet" / "latest"):
        link.unlink(missing_ok=True)
    for database in folder.glob("lakehouse-*.duckdb*"):
        database.unlink()
    shutil.rmtree(folder / "parquet", ignore_errors=True)


def _write_parquet(lake: Lake, folder: Path, snapshot: int) -> None:
    """All tables of one snapshot as plain Parquet, descriptions and units in the metadata; the folder appears whole."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for table in TABLES:
        _stream(lake.query(sql.select(table, by_site=False, as_of=snapshot, where="TRUE")), table, partial / f"{table.name}.parquet")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _stream(result: duckdb.DuckDBPyConnection, table: Table, file: Path) -> None:
    schema = arrow_schema(table)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in result.to_arrow_reader(BATCH_ROWS):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))


def _write_database(parquet: Path, database: Path) -> None:
    """The same tables, the views and the wide feature table in one DuckDB file, with comments."""
    partial = database.with_name(f".{database.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with duckdb.connect(str(partial), config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}) as c:
        for table in TABLES:
            c.execute(duckdb_create(table))
            c.execute(f'INSERT INTO "{table.name}" SELECT * FROM read_parquet(?)', [str(parquet / f"{table.name}.parquet")])
            _ = [c.execute(s) for s in duckdb_comments(table)]
        _ = [c.execute(s) for name in sql.VIEWS for s in sql.create_view(name)]
        _add_wide_features(c)
    partial.rename(database)


def _add_wide_features(c: duckdb.DuckDBPyConnection) -> None:
    """One column a feature, for tools that want a matrix; made here, since so many columns would swell the catalogue."""
    key = ", ".join(WIDE_KEY)
    if c.execute("SELECT count(*) FROM radiomic_features").fetchone() == (0,):
        return
    c.execute(f'CREATE TABLE "{WIDE}" AS PIVOT radiomic_features ON feature USING first(value) GROUP BY {key} ORDER BY {key}')
    c.execute(f"COMMENT ON TABLE \"{WIDE}\" IS 'radiomic_features with one column a feature | 每个特征一列的宽表'")


def _swap(link: Path, target: str) -> None:
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(link)


def _remove_partial(folder: Path) -> None:
    """What a killed publication left behind."""
    for left in folder.glob(".lakehouse-*"):
        left.unlink()
    for left in (folder / "parquet").glob(".*"):
        shutil.rmtree(left, ignore_errors=True)


def _remove_old(folder: Path, snapshot: int) -> None:
    published = sorted(int(p.name) for p in (folder / "parquet").iterdir() if p.name.isdigit() and int(p.name) != snapshot)
    for old in published[: max(0, len(published) - KEPT + 1)]:
        shutil.rmtree(folder / "parquet" / str(old))
        (folder / f"lakehouse-{old}.duckdb").unlink(missing_ok=True)
