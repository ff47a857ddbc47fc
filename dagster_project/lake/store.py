"""The lake itself: DuckLake transactions, snapshots and reads as of any of them."""

from __future__ import annotations

import fcntl
import random
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from dagster_project.lake import schema_version, sql
from dagster_project.lake.errors import LakeBusy, LakeError, SnapshotGone, name_fault
from dagster_project.lake.home import Home
from dagster_project.lake.interruption import uninterrupted
from dagster_project.lake.migrations import Migration, Source, baseline, latest, since, source_of
from dagster_project.lake.schema import Shape, conform, literal
from dagster_project.lake.tables import BY_NAME, TABLES, Table

if TYPE_CHECKING:  # a query of the lake does without
    import polars as pl

T = TypeVar("T")

ATTEMPTS = 12
"""Tries of a whole transaction before a conflict is reported.

With doubling pauses they take about two minutes in all.
"""

LOCAL_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
"""No network and no unpinned code.

Extensions come from the pinned wheels, with their signatures verified.
"""

CONFINED = (
    "SET enable_external_access = false",
    "SET python_enable_replacements = false",
    "SET allow_community_extensions = false",
    "SET lock_configuration = true",
)
"""Settings of a connection that runs what somebody typed; the lock comes last."""


SPILL = "spill"
"""Prefix of the folder beside the data that DuckDB makes and removes.

A process that is killed leaves its own behind.
"""


class RepeatedKey(ValueError):
    """Rows that were to be written hold one key more than once."""

    def __init__(self, table: str, key: tuple[str, ...], rows: int) -> None:
        super().__init__(
            f"table {table}: {rows} rows repeat a key ({', '.join(key)}); "
            "the asset of that name must settle which one counts"
        )


@dataclass(frozen=True)
class Write:
    """What a write did.

    Rows of the table (or site) after it, rows inserted and deleted, and the snapshot that holds it.
    """

    rows: int
    inserted: int
    deleted: int
    snapshot: int


class Lake:
    """One connection to the lake. Use it as a context manager, or keep one a process (`open_lake`).

    Parameters
    ----------
    catalog
        `sqlite:<file>` or `postgres:<connection string>`.
    data
        Folder or object-store prefix of the Parquet files. Files are encrypted where it is not a
        local folder: locally the catalogue with the file keys lies beside them, and a disk is
        protected by its own encryption, not by pretence.
    as_of
        Attach the lake as it was at this snapshot, under the names of today; read-only.
    """

    def __init__(
        self,
        catalog: str,
        data: str,
        *,
        read_only: bool = False,
        as_of: int | None = None,
        encrypted: bool | None = None,
    ) -> None:
        self._data = data
        self._as_of = as_of
        self._versions: dict[int, int] = {}
        self._reading = False
        self._connection = duckdb.connect(config=LOCAL_SETTINGS | _spill(data))
        self._catalog = catalog
        for extension in sql.extensions(catalog, data, encrypted=encrypted):
            self._connection.execute(f"LOAD '{extension_file(extension)}'")
        attach = sql.attach(catalog, data, read_only=read_only, as_of=as_of, encrypted=encrypted)
        self._attach = attach
        with _snapshot_named(as_of), _catalogue_named():
            self._retried(
                f"attach {catalog.split(':', maxsplit=1)[0]} catalogue", lambda c: c.execute(attach)
            )
        self._connection.execute("USE lake")
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET enable_progress_bar = false")
        if as_of is not None:
            schema_version.present(self._connection)

    def __enter__(self) -> Lake:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def create_missing(self) -> None:
        """Create the tables and views that are missing; in a lake without any, record the version.

        Call it under `migration_lock`: parallel creation damages a catalogue.

        Raises
        ------
        UnmigratedLake, LaterSchema, OtherSchema
            Where the lake has another schema than this program; nothing is written.
        """
        self.check_schema()
        with uninterrupted():
            complete = schema_version.is_complete(self._connection)
        if not complete:
            self._transaction("create tables", schema_version.create_missing)

    def migrate(self) -> list[Migration]:
        """Lead the lake to the newest schema version, a transaction a version.

        Call it under `migration_lock`. What is interrupted leaves a whole version.

        Returns
        -------
        list
            The versions that were applied; the baseline where it was recorded for the first time.

        Raises
        ------
        LaterSchema, OtherSchema
            Where no migration leads to this program's schema; nothing is written.
        """
        done = []
        if self.shape():
            fault = self.fault(migrated=True)
            if fault is not None:
                raise fault
            if self._transaction("record the baseline", schema_version.adopt):
                done.append(baseline())
            done += [m for m in self.pending() if self._migrated(m)]
        self.create_missing()
        return done

    def _migrated(self, migration: Migration) -> bool:
        work = partial(schema_version.migrate, migration=migration)
        return self._transaction(migration.message, work)

    def shape(self) -> Shape:
        """Tables and columns of the lake."""
        with uninterrupted():
            return schema_version.read_shape(self._connection)

    def version(self) -> int:
        """The schema version that the lake records."""
        with uninterrupted():
            return schema_version.read_version(self._connection, self.shape())

    def pending(self) -> tuple[Migration, ...]:
        """The migrations that the lake lacks, in order."""
        return since(self.version()) if self.shape() else ()

    def fault(self, *, migrated: bool = False) -> LakeError | None:
        """Why this program may not use the lake; None where it may.

        Parameters
        ----------
        migrated
            Judge the lake as its migrations will leave it.
        """
        as_if = migrated or self._as_of is not None
        return schema_version.fault_of(self.shape(), self.version(), migrated=as_if)

    def check_schema(self) -> None:
        """Compare the lake's version, and names, types and NULL of its columns, with the declared.

        Raises
        ------
        UnmigratedLake, LaterSchema, OtherSchema
            Where they differ: another version of the program made the lake.
        """
        fault = self.fault()
        if fault is not None:
            raise fault

    def read(
        self, table: str, *, site: str | None = None, as_of: int | None = None, where: str = "TRUE"
    ) -> pl.DataFrame:
        """The table's rows in the order of its key.

        Optionally of one site alone, and as of an earlier snapshot, then under the names of today:
        a column that was added since has the value with which it was added, else NULL.
        """
        declared = BY_NAME[table]
        with _snapshot_named(as_of), uninterrupted(), self.one_snapshot():
            source = None if as_of is None else self._former_source(declared, as_of)
            of_today = source is None and self._as_of is None
            if of_today and not self._rows(sql.files(declared, as_of)):
                where = "FALSE"  # planning a scan of no file takes ten times as long as a small one
            statement = sql.select(
                declared, by_site=site is not None, as_of=as_of, where=where, source=source
            )
            return self._connection.execute(statement, [site] if site is not None else []).pl()

    def _former_source(self, table: Table, snapshot: int) -> Source | None:
        """How a table is read at a snapshot; None where it is read as today."""
        if snapshot not in self._versions:
            self._versions[snapshot] = schema_version.read_version(
                self._connection, self.shape(), snapshot
            )
        version = self._versions[snapshot]
        return source_of(table, version) if version < latest() else None

    def confine(self) -> None:
        """Shut this connection in for a statement that somebody typed.

        The statement reaches no file but the lake's, no extension and no setting.
        DuckDB's own settings, in an order that matters: what was allowed before the lock is allowed
        after it. They still let a file be written among the lake's; `confinement.check_query`
        refuses that.
        """
        data = (
            self._data if self._data.endswith("/") else f"{self._data}/"
        )  # a prefix, or lake/data2 were allowed too
        self._connection.execute(f"SET allowed_directories = [{literal(data)}]")
        for setting in CONFINED:
            self._connection.execute(setting)

    def query(
        self, statement: str, parameters: list[Any] | dict[str, Any] | None = None
    ) -> duckdb.DuckDBPyConnection:
        """Run an analyst's statement."""
        return self._connection.execute(statement, parameters or [])

    def replace(self, table: str, frame: pl.DataFrame, *, site: str | None = None) -> Write:
        """Make the frame the table's content (of one site), in one transaction.

        Only the rows that differ are touched.

        Raises
        ------
        UnknownColumns, RepeatedKey
            Where the frame's columns are not the table's, or a key stands twice.
        LakeBusy
            Where other writers kept the catalogue busy throughout.
        """
        declared = BY_NAME[table]
        rows = _unique(conform(frame, declared), declared)
        change = sql.difference(declared, by_site=site is not None)
        parameters = [site] if site is not None else []

        def work(c: duckdb.DuckDBPyConnection) -> tuple[int, int]:
            with _registered(c, rows):
                going = _counted(c.execute(change.going, parameters))
                coming = _counted(c.execute(change.coming, parameters))
                _ = going and c.execute(change.delete)
                _ = coming and c.execute(change.insert)
            return coming, going

        inserted, deleted = self._transaction(f"write {table}", work)
        return Write(rows.height, inserted, deleted, self.snapshot())

    def replace_by_fingerprint(
        self, table: str, *, site: str, removed: list[str], added: pl.DataFrame
    ) -> Write:
        """Take out a site's rows with these fingerprints and put in others, in one transaction."""
        declared = BY_NAME[table]
        rows = _unique(conform(added, declared), declared)

        def work(c: duckdb.DuckDBPyConnection) -> int:
            with _registered(c, rows):
                gone = (
                    _counted(c.execute(sql.delete_fingerprints(declared), [site, removed]))
                    if removed
                    else 0
                )
                _ = rows.height and c.execute(sql.insert(declared))
            return gone

        deleted = self._transaction(f"write {table}", work) if removed or rows.height else 0
        return Write(self.count(table, site=site), rows.height, deleted, self.snapshot())

    def count(self, table: str, *, site: str | None = None) -> int:
        """Rows of the table, or of one site in it."""
        where, parameters = ("WHERE site = ?", [site]) if site is not None else ("", [])
        return int(
            self._rows(f'SELECT count(*) FROM "{BY_NAME[table].name}" {where}', parameters)[0][0]
        )

    def state(self, table: str, *, site: str | None = None) -> list[str]:
        """What differs whenever a table (or one site in it) holds other rows than before.

        These are the names of its files of rows and of deletions, none of which is ever used again;
        no row lies elsewhere, since nothing is inlined in the catalogue. Numbers of snapshots may
        be the same: a catalogue that was restored from a copy gives the same number to other rows.
        """
        files = self._rows(sql.files(BY_NAME[table]))
        of_site = files if site is None else [pair for pair in files if _may_hold(pair[0], site)]
        return sorted(Path(name).name for pair in of_site for name in pair if name)

    def snapshot(self) -> int:
        """The newest snapshot."""
        return int(self._rows("SELECT id FROM lake.current_snapshot()")[0][0])

    def changed_patients(self, *, since: int, until: int) -> dict[str, set[tuple[str, str]]]:
        """By table, the sites and patients with a row that differs, or may, between two snapshots.

        `('', '')` where the table names no patient.
        """
        touched = self.tables_written(since=since, until=until)
        return {
            t.name: set(self._rows(sql.changed_patients(t, since=since, until=until)))
            for t in TABLES
            if t.name in touched
        }

    def tables_written(self, *, since: int, until: int) -> set[str]:
        """Tables that a snapshot after `since` wrote, up to `until`."""
        return {
            name
            for (name,) in self.query(
                sql.TABLES_WRITTEN, {"since": since, "until": until}
            ).fetchall()
        }

    def has_snapshots(self, since: int, until: int) -> bool:
        """Whether every snapshot of a range is still there."""
        held = self._rows(
            "SELECT count(*) FROM lake.snapshots() WHERE snapshot_id BETWEEN ? AND ?",
            [since, until],
        )
        return bool(held[0][0] == until - since + 1)

    @contextmanager
    def one_snapshot(self) -> Iterator[None]:
        """Every statement within sees the same snapshot; for reading alone."""
        if self._reading:
            yield
            return
        self._connection.execute("BEGIN")
        self._reading = True
        try:
            yield
        finally:
            self._reading = False
            with _quietly():
                self._connection.execute("ROLLBACK")

    @contextmanager
    def read_snapshot(self, memory: str) -> Iterator[int]:
        """The newest snapshot, which every statement within sees.

        The statements may use this much memory; what does not fit goes to the disk.
        """
        self._connection.execute(f"SET memory_limit = '{memory}'")
        try:
            with self.one_snapshot():
                yield self.snapshot()
        finally:
            self._connection.execute("RESET memory_limit")

    def end_file(self, name: str, snapshot: int) -> None:
        """Let the data file of a name end with a snapshot, unread."""

        def work(c: duckdb.DuckDBPyConnection) -> None:
            for statement in sql.END_FILE:
                c.execute(statement, {"name": f"%{name}", "snapshot": snapshot})

        self._transaction("let a damaged file go", work)

    def own_values(self, table: str, columns: Collection[str], patient: str) -> frozenset[str]:
        """What stands in these columns of a patient's rows, and of nobody else's, as text."""
        found = [
            self.query(sql.own_values(BY_NAME[table], c), {"patient": patient}).fetchall()
            for c in columns
        ]
        return frozenset(value for rows in found for (value,) in rows)

    def catalogue_texts(self) -> Iterator[tuple[str, bytes]]:
        """Every text that the catalogue holds, by table."""
        for table in sql.CATALOGUE_TABLES:
            rows = self._rows(sql.catalogue_rows(table))
            yield (
                table,
                "\n".join(
                    value for row in rows for value in row if isinstance(value, str)
                ).encode(),
            )

    def remove_patient(self, patient: str) -> int:
        """Take a patient's rows out of every table, in one transaction; how many they were."""

        def work(c: duckdb.DuckDBPyConnection) -> int:
            return sum(
                _counted(c.execute(statement, [patient])) for statement in sql.delete_patient()
            )

        return self._transaction("remove a patient", work)

    def remove_site(self, site: str) -> int:
        """Take a site's rows out of every table, in one transaction; how many they were."""

        def work(c: duckdb.DuckDBPyConnection) -> int:
            return sum(_counted(c.execute(statement, [site])) for statement in sql.delete_site())

        return self._transaction("remove a site", work)

    def tidy(self, *, days: int, kept: Collection[int]) -> int:
        """Expire old snapshots and give their space back; the number that expired.

        Those of more than so many days expire, except the newest and those named in `kept`.

        1. A snapshot is let go only whole: time travel to one that stays gives every row of it.
        2. Files of which half is deleted are written anew, small files of a table (and site) become
           one.
        3. Files that no snapshot needs any more are deleted a day later, so that a query which
           began before ends.
        """
        going = [
            n for (n,) in self.query(sql.EXPIRABLE, {"days": days, "kept": sorted(kept)}).fetchall()
        ]
        for statement in [*([sql.expire(going)] if going else []), *sql.tidy()]:
            self._retried("tidy", partial(_execute_all, statements=[statement]))
        return len(going)

    def purge_history(self) -> None:
        """Expire every snapshot but the newest, and delete what they alone held.

        Rows that were deleted thus leave the disk too.

        1. Files with deleted rows are written anew without them, since a deletion alone is a mark
           beside the file.
        2. Snapshots before that expire; their files are deleted, and so are files that no snapshot
           knows.
        3. Bounds of columns that the catalogue keeps of a whole table, and never narrows, are
           forgotten.
        4. PostgreSQL writes its tables anew, since deleted rows stay in its files; a SQLite file is
           compacted by its owner.
        """
        for statement in sql.purge_history():
            self._retried("purge the history", partial(_execute_all, statements=[statement]))
        if self._catalog.startswith("postgres:"):
            self._vacuum_postgres()

    def _vacuum_postgres(self) -> None:
        """Rewrite the catalogue's tables.

        DuckLake holds a transaction open that this would wait for, so it is detached meanwhile.
        """
        for statement in [
            "USE memory",
            "DETACH lake",
            *sql.vacuum_postgres(self._catalog),
            self._attach,
            "USE lake",
        ]:
            self._connection.execute(statement)

    def _rows(self, statement: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        with uninterrupted():
            return self._connection.execute(statement, parameters or []).fetchall()

    def _transaction(self, what: str, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        return self._retried(what, lambda c: _committed(c, work))

    def _retried(self, what: str, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run all of `work` again where another writer was in the way.

        A busy COMMIT cannot be repeated alone.
        """
        pause = 0.05
        for attempt in range(ATTEMPTS):
            try:
                with uninterrupted():
                    return work(self._connection)
            except duckdb.Error as error:
                if not _is_conflict(error):
                    raise
                if attempt == ATTEMPTS - 1:
                    raise LakeBusy(what, ATTEMPTS, error) from error
                time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, 20.0)
        raise AssertionError


@contextmanager
def _snapshot_named(snapshot: int | None) -> Iterator[None]:
    """DuckLake's own words for a snapshot that is gone, said with what to do."""
    try:
        yield
    except duckdb.Error as error:
        if "No snapshot found" not in str(error):
            raise
        raise SnapshotGone(snapshot) from error


@contextmanager
def _catalogue_named() -> Iterator[None]:
    """SQLite's own words for a catalogue that cannot be read, said with what to do."""
    try:
        yield
    except duckdb.Error as error:
        fault = name_fault(f"catalog: {error}")
        if fault is None:
            raise
        raise fault from error


def _committed(
    connection: duckdb.DuckDBPyConnection, work: Callable[[duckdb.DuckDBPyConnection], T]
) -> T:
    connection.execute("BEGIN")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        with _quietly():
            connection.execute("ROLLBACK")
        raise
    return result


def _may_hold(file: str, site: str) -> bool:
    """Whether a data file may hold a site's rows: its folder names another site, or none."""
    folder = file.rsplit("/", maxsplit=2)[-2]
    return not folder.startswith("site=") or folder == f"site={site}"


def _execute_all(connection: duckdb.DuckDBPyConnection, statements: list[str]) -> None:
    for statement in statements:
        connection.execute(statement).fetchall()


def _unique(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    repeated = rows.height - rows.n_unique(subset=list(table.key)) if rows.height else 0
    if repeated:
        raise RepeatedKey(table.name, table.key, repeated)
    return rows


def _counted(result: duckdb.DuckDBPyConnection) -> int:
    row = result.fetchone()
    return int(row[0]) if row else 0


@contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, rows: pl.DataFrame) -> Iterator[None]:
    connection.register("incoming", rows.to_arrow())
    try:
        yield
    finally:
        connection.unregister("incoming")


@contextmanager
def _quietly() -> Iterator[None]:
    """Ignore the error of a ROLLBACK that has nothing to do.

    A failed COMMIT has already ended the transaction.
    """
    try:
        yield
    except duckdb.Error:
        return


def _is_conflict(error: duckdb.Error) -> bool:
    text = str(error).lower()
    return any(
        sign in text
        for sign in ("conflict", "database is locked", "busy", "could not serialize", "deadlock")
    )


def _spill(data: str) -> dict[str, str | bool | int | float | list[str]]:
    """Where DuckDB puts what does not fit into memory: a folder beside the data.

    It is as closed to others as the data. Each connection has its own, since two must not share
    one.
    """
    return (
        {}
        if sql.is_remote(data)
        else {"temp_directory": str(Path(data).with_name(f"{SPILL}-{uuid.uuid4().hex}"))}
    )


def extension_file(name: str) -> Path:
    """The pinned wheel's file of a DuckDB extension."""
    return (
        Path(str(resources.files(f"duckdb_extension_{name}")))
        / "extensions"
        / f"v{duckdb.__version__}"
        / f"{name}.duckdb_extension"
    )


@contextmanager
def migration_lock(home: Home) -> Iterator[None]:
    """Let one process at a time create tables."""
    home.lake.mkdir(parents=True, exist_ok=True)
    with (home.lake / "migration.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def open_lake(home: Home) -> Lake:
    """The lake of a home, its tables created where they are missing.

    Raises
    ------
    UnmigratedLake, LaterSchema, OtherSchema
        Where the lake has another schema than this program; nothing is written.
    """
    home.make()
    with migration_lock(home):
        lake = Lake(home.catalog, home.data)
        try:
            lake.create_missing()
        except BaseException:
            lake.close()
            raise
    return lake


def read_lake(home: Home, *, as_of: int | None = None) -> Lake:
    """The lake of a home, read-only, as of a snapshot where one is given."""
    return Lake(home.catalog, home.data, read_only=True, as_of=as_of)
