"""Dagster's event log in the home, its connections held open while a run writes to it.

Dagster's own class opens SQLite anew for each event and closes it again. With nobody else connected
each close copies the journal into the database and waits for the disk: half of the processor's time
of a night with nothing new (`benchmarks/quiet_night.py`). Files and tables are those of Dagster's
class, so either reads what the other wrote. `dagster.yaml` names this class.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self, cast

from dagster import DagsterEventType, EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.event import listen
from sqlalchemy.pool import StaticPool

from dagster_project.lake.home import find_home
from dagster_project.lake.interruption import uninterrupted

LAST_HERE = frozenset(
    {
        DagsterEventType.RUN_SUCCESS,
        DagsterEventType.RUN_FAILURE,
        DagsterEventType.RUN_CANCELED,
        DagsterEventType.RUN_ENQUEUED,
        DagsterEventType.RUN_STARTING,
    }
)
"""Events after which a process writes no more of a run: it ended, or another process goes on."""


class EventLog(SqliteEventLogStorage):
    """The event log below `dagster/history/runs` of the home that LAKEHOUSE_HOME names.

    - What this process writes goes over one connection to each of two databases, which stays open:
      the index, and that of the run last written, until the run ends or another process takes it
      over. What is only read, of other runs, is opened and closed as before.
    - Ctrl-C and SIGTERM wait for the statement: Dagster raises both at any moment of a step, and
      between two of them the lock would stay held, where the event of the failure then waits for it
      for ever.
    - A power loss can take the last events. It cannot damage the database, whose journal is written
      ahead, nor the lake, which syncs by itself.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, Engine] = {}
        self._known_tables: set[str] = set()
        self._known_indexes: set[str] = set()
        self._empty = Path(base_dir).parent / f"empty-{version('dagster')}"
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        del config_value  # the home says where it lies
        return cls(str(find_home().dagster / "history" / "runs"), inst_data)

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; whoever watches the run's file notices, as the journal is another."""
        written = {event.run_id, INDEX_SHARD_NAME}
        for shard in self._engines.keys() - written:
            self._close(shard)
        for shard in written:
            self._open(shard)
        super().store_event(event)
        os.utime(self.path_for_shard(event.run_id))
        if event.is_dagster_event and event.dagster_event_type in LAST_HERE:
            self._close(event.run_id)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with uninterrupted():
            engine = self._engines.get(shard)
            if engine is None:
                with super()._connect(shard) as connection:
                    yield connection
                return
            with self._db_lock, engine.begin() as connection:
                yield connection

    def _open(self, shard: str) -> None:
        with uninterrupted(), self._db_lock:
            if shard in self._engines:
                return
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=StaticPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            listen(engine, "connect", _set_up)
            if shard == INDEX_SHARD_NAME:
                self._initdb(engine, for_index_shard=True)
            elif not self._begin_as_empty(shard):
                self._initdb(engine)
                self._note_empty(engine)
            self._initialized_dbs.add(shard)
            self._engines[shard] = engine

    def _begin_as_empty(self, shard: str) -> bool:
        """Whether the file of a new run begins as a copy of the empty one.

        Dagster makes its tables and loads its migrations for each file, which takes the processor
        longer than the events of a short run.
        """
        file, part = Path(self.path_for_shard(shard)), self._own_part()
        if file.exists() or not self._empty.is_file():
            return False
        shutil.copyfile(self._empty, part)
        try:
            file.hardlink_to(part)  # leaves the file of a process that was first
        except OSError:
            return False
        finally:
            part.unlink()
        return True

    def _note_empty(self, engine: Engine) -> None:
        """Keep the file of a run as it is before its first event, if this is such a file."""
        with engine.connect() as connection:
            if connection.execute(text("SELECT count(*) FROM event_logs")).scalar():
                return
            part, source = self._own_part(), connection.connection.driver_connection
            with closing(sqlite3.connect(part)) as copy:
                cast("sqlite3.Connection", source).backup(copy)
            part.replace(self._empty)

    def _own_part(self) -> Path:
        return self._empty.with_name(f"{self._empty.name}.{os.getpid()}")

    def _close(self, shard: str) -> None:
        with uninterrupted(), self._db_lock:
            if engine := self._engines.pop(shard, None):
                engine.dispose()

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; those that it has stay."""
        if table_name not in self._known_tables and super().has_table(table_name):
            self._known_tables.add(table_name)
        return table_name in self._known_tables

    def has_secondary_index(self, name: str) -> bool:
        """Whether a migration of the index was done; one that was stays so."""
        if name not in self._known_indexes and super().has_secondary_index(name):
            self._known_indexes.add(name)
        return name in self._known_indexes

    def delete_events(self, run_id: str) -> None:
        """Delete the events of a run, whose file may be removed after that."""
        super().delete_events(run_id)
        self._close(run_id)

    def dispose(self) -> None:
        """Close what is open."""
        for shard in list(self._engines):
            self._close(shard)
        super().dispose()


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    """Wait for the disk at checkpoints alone; a new file of a short run has small pages."""
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA page_size=1024")
