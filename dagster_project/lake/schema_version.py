"""The schema version that a lake records, and the transaction that leads to the next one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import duckdb

from dagster_project.lake import sql, views
from dagster_project.lake.errors import LakeError, LaterSchema, OtherSchema, UnmigratedLake
from dagster_project.lake.migrations import (
    BASELINE,
    VERSION_KINDS,
    VERSIONS,
    AddColumn,
    Difference,
    Migration,
    Step,
    after,
    baseline,
    differences,
    latest,
    since,
    source_of,
)
from dagster_project.lake.schema import Kind, Shape, comment, duckdb_comment, quoted
from dagster_project.lake.tables import TABLES

AUTHOR = "lakehouse migrate"
"""Who wrote a snapshot, in its commit message."""


def read_shape(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Kind]]:
    """Tables and columns of the lake, also those that a transaction has not committed yet."""
    shape: dict[str, dict[str, Kind]] = {}
    for table, column, kind, nullable in connection.execute(sql.STORED_COLUMNS).fetchall():
        shape.setdefault(table, {})[column] = Kind(kind, nullable)
    return shape


def read_version(
    connection: duckdb.DuckDBPyConnection, shape: Shape, as_of: int | None = None
) -> int:
    """The version of a lake that holds tables, now or at a snapshot."""
    if VERSIONS not in shape:
        return BASELINE
    try:
        found = connection.execute(sql.newest_version(VERSIONS, as_of)).fetchall()
    except duckdb.CatalogException:  # the snapshot is older than the table
        return BASELINE
    return int(found[0][0] or BASELINE)


def fault_of(shape: Shape, version: int, *, migrated: bool = False) -> LakeError | None:
    """Why this program may not use a lake; None where it may.

    Parameters
    ----------
    migrated
        Judge an earlier version as its migrations will leave it.
    """
    if not shape:
        return None
    if version > latest():
        return LaterSchema(version, latest())
    if version < latest() and not migrated:
        return UnmigratedLake(version, latest())
    return next(map(other_schema, differences(after(shape, since(version)))), None)


def other_schema(difference: Difference) -> OtherSchema:
    """A difference as an error."""
    return OtherSchema(
        difference.table,
        difference.lacks,
        difference.has,
        difference.other,
        undeclared=difference.undeclared,
    )


def is_complete(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether all tables are there, and all comments and views as they are declared."""
    shape = read_shape(connection)
    complete = all(t.name in shape for t in TABLES)
    return complete and not (_comments(connection) or _stale_views(connection))


def create_missing(connection: duckdb.DuckDBPyConnection) -> None:
    """Create what is missing, and make stale comments and views anew. Call it in a transaction.

    A lake that is new records every version and executes none. Tables come first, since views ask
    for all of them.
    """
    shape = read_shape(connection)
    for table in (t for t in TABLES if t.name not in shape):
        _execute(connection, sql.create(table))
    if not shape:
        _execute(connection, [_create_versions(), _record(*since(0))])
    _execute(connection, _comments(connection))
    for name in _stale_views(connection):
        _execute(connection, sql.create_view(name))


def adopt(connection: duckdb.DuckDBPyConnection) -> bool:
    """Record the baseline in a lake that records nothing yet; no row of its tables is touched.

    Returns whether anything was written. Call it in a transaction.
    """
    if VERSIONS in read_shape(connection):
        return False
    _execute(connection, [_create_versions(), _record(baseline()), _message(baseline())])
    return True


def migrate(connection: duckdb.DuckDBPyConnection, migration: Migration) -> bool:
    """Lead a lake to one version. Call it in a transaction.

    1. Views go, since they break where a column that they name goes.
    2. Steps, and the version's row.
    3. With the newest version: the columns must be those that are declared; then comments and views
       are made anew.

    Returns
    -------
    bool
        False where another process had led it there already.

    Raises
    ------
    OtherSchema
        Where the lake would differ from the declaration.
    """
    if read_version(connection, read_shape(connection)) >= migration.version:
        return False
    statements = [f"DROP VIEW {quoted(name)}" for name in read_views(connection)]
    _execute(connection, statements)
    for step in migration.steps:
        _execute(connection, _statements(connection, step))
    _execute(connection, [_record(migration), _message(migration)])
    if migration.version == latest():
        shape = read_shape(connection)
        for difference in differences(shape):
            raise other_schema(difference)
        _execute(connection, _comments(connection))
        _execute(connection, _views(shape))
    return True


def read_views(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The lake's views and their queries, in DuckDB's spelling."""
    return dict(connection.execute(sql.STORED_VIEWS).fetchall())


def _stale_views(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Views that are missing, or whose query is not the one that is declared.

    Each declared query is spelt by DuckDB as a view of this connection, which is dropped again.
    """
    stored = read_views(connection)
    prefix = "declared "
    _execute(
        connection,
        (f"CREATE TEMP VIEW {quoted(prefix + n)} AS {v.query}" for n, v in views.VIEWS.items()),
    )
    declared = dict(connection.execute(sql.DECLARED_VIEWS).fetchall())
    _execute(connection, (f"DROP VIEW temp.{quoted(prefix + name)}" for name in views.VIEWS))
    return [n for n in views.VIEWS if _query(stored.get(n, "")) != _query(declared[prefix + n])]


def _query(view: str) -> str:
    return view.partition(" AS ")[2]


def _views(shape: Shape) -> list[str]:
    """Statements of all views, where all tables are there; else `create_missing` makes them."""
    complete = all(t.name in shape for t in TABLES)
    return [s for name in views.VIEWS for s in sql.create_view(name)] if complete else []


def _comments(connection: duckdb.DuckDBPyConnection) -> list[str]:
    stored = {(t, c): text for t, c, text in connection.execute(sql.STORED_COMMENTS).fetchall()}
    return [
        duckdb_comment(table.name, column)
        for table in TABLES
        for column in table.columns
        if stored.get((table.name, column.name), comment(column)) != comment(column)
    ]


def _statements(connection: duckdb.DuckDBPyConnection, step: Step) -> Iterable[str]:
    """A step's statements, by what the lake has.

    DuckLake sets no NOT NULL in a table without rows. Such a table goes, and is created as it is
    declared with those that are missing.
    """
    if step.table not in read_shape(connection):
        return []
    fills = isinstance(step, AddColumn) and not step.kind.nullable
    if fills and not connection.execute(f"SELECT 1 FROM {quoted(step.table)} LIMIT 1").fetchall():
        return [f"DROP TABLE {quoted(step.table)}"]
    return step.statements()


def _create_versions() -> str:
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in VERSION_KINDS.items())
    return f"CREATE TABLE {quoted(VERSIONS)} ({columns})"


def _record(*migrations: Migration) -> str:
    return sql.record_versions(VERSIONS, {m.version: m.name for m in migrations})


def _message(migration: Migration) -> str:
    return sql.commit_message(AUTHOR, migration.message)


def _execute(connection: duckdb.DuckDBPyConnection, statements: Iterable[str]) -> None:
    for statement in statements:
        connection.execute(statement).fetchall()


def present(connection: duckdb.DuckDBPyConnection) -> None:
    """Let a lake that is attached at an earlier snapshot be read under the names of today.

    Views of this connection take the place of its tables, and today's analysts' views that of
    theirs, but those that ask for a table which was not there yet. `lake.main.<table>` is the table
    as it was.
    """
    shape = read_shape(connection)
    version = read_version(connection, shape)
    if version >= latest():
        return
    sources = [(t, source_of(t, version)) for t in TABLES]
    former = [(t, s) for t, s in sources if s.table in shape and s != source_of(t, latest())]
    _execute(connection, (sql.present(table, source) for table, source in former))
    for name, view in views.VIEWS.items():
        with contextlib.suppress(duckdb.Error):
            connection.execute(f"CREATE TEMP VIEW {quoted(name)} AS {view.query}")
