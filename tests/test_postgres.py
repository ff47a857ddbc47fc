"""The lake on a catalogue in PostgreSQL.

It has the same tables, transactions and earlier states, and writers side by side.
"""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from dagster_project.flow.trace_search import search_home
from dagster_project.lake import catalogue_backup
from dagster_project.lake.errors import NoBackup, UnmigratedLake
from dagster_project.lake.home import Home
from dagster_project.lake.home_backup import BackupError, back_up_home
from dagster_project.lake.home_restore import restore_home
from dagster_project.lake.migrations import VERSIONS
from dagster_project.lake.store import Lake, open_lake, read_lake
from dagster_project.lake.tables import TABLES
from dagster_project.lake.upgrade import upgrade
from tests.conftest import REPOSITORY
from tests.lake.test_store import rows
from tests.lakes.kept import BASELINE, copy_baseline, unpack
from tests.lakes.killed import migrate_and_kill

OWNER = "postgres"
"""The system's user whom Debian's package makes; PostgreSQL refuses to run as root."""


def program(name: str) -> str:
    """Debian keeps the server's programs out of PATH, in a folder a version."""
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: float(p.parts[-3])
    )
    chosen = shutil.which(name) or (str(found[-1]) if found else "")
    assert chosen, f"{name} is missing: run scripts/install-debian-packages"
    return chosen


def as_owner(*command: str) -> None:
    prefix = ["runuser", "-u", OWNER, "--"] if os.getuid() == 0 else []
    done = subprocess.run(
        [*prefix, *command], capture_output=True, text=True, check=False, cwd=tempfile.gettempdir()
    )
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A private cluster that listens on a socket in a folder of its own.

    Yields the connection string. The folder lies directly in the system's temporary one: a socket's
    path may have 107 characters, and its owner has to reach it.
    """
    with tempfile.TemporaryDirectory(prefix="lake-pg-") as folder:
        if os.getuid() == 0:
            owner = pwd.getpwnam(OWNER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        cluster = f"{folder}/cluster"
        as_owner(
            program("initdb"),
            "-D",
            cluster,
            "-U",
            "lake",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
        )
        options = (
            "-c listen_addresses='' "
            f"-c unix_socket_directories={folder} "
            "-c fsync=off -c shared_buffers=32MB"
        )
        as_owner(
            program("pg_ctl"), "-D", cluster, "-o", options, "-l", f"{folder}/log", "-w", "start"
        )
        try:
            yield f"host={folder} user=lake"
        finally:
            as_owner(program("pg_ctl"), "-D", cluster, "-m", "immediate", "stop")


@pytest.fixture
def home(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose catalogue is a database of its own on the server."""
    name = f"lake_{os.getpid()}_{abs(hash(tmp_path)) % 10**9}"
    subprocess.run(
        [program("psql"), f"dbname=postgres {server}", "-qc", f"CREATE DATABASE {name}"],
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("LAKEHOUSE_CATALOG", f"postgres:dbname={name} {server}")
    monkeypatch.delenv("LAKEHOUSE_DATA", raising=False)
    return Home(tmp_path / "home").make()


def test_tables_are_created_once_and_found_again(home: Home) -> None:
    for _ in range(2):
        with open_lake(home) as lake:
            found = {
                row[0]
                for row in lake.query(
                    "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake'"
                ).fetchall()
            }
            assert found == {t.name for t in TABLES} | {VERSIONS}
    assert not (home.lake / "catalog.sqlite").exists(), "the catalogue is in PostgreSQL alone"


def test_rows_are_replaced_and_earlier_states_stay(home: Home) -> None:
    with open_lake(home) as lake:
        first = lake.replace("treatments", rows("AA", "p1", "p2"), site="AA").snapshot
        write = lake.replace("treatments", rows("AA", "p2", "p3"), site="AA")
        assert (write.inserted, write.deleted) == (1, 1)
        assert lake.read("treatments")["patient"].to_list() == ["p2", "p3"]
        assert lake.read("treatments", as_of=first)["patient"].to_list() == ["p1", "p2"]
        assert (
            lake.replace("treatments", rows("AA", "p2", "p3"), site="AA").snapshot == write.snapshot
        )
    with read_lake(home, as_of=first) as lake:
        assert lake.query("SELECT count(*) FROM treatments").fetchone() == (2,)


def test_a_failed_write_leaves_nothing_behind(home: Home) -> None:
    with open_lake(home) as lake:
        before = lake.replace("treatments", rows("AA", "p1"), site="AA").snapshot
        with pytest.raises(Exception, match="repeat a key"):
            lake.replace("treatments", rows("AA", "p9", "p9"), site="AA")
        assert lake.snapshot() == before


def _write(root: Path, site: str, n: int) -> None:
    with open_lake(Home(root)) as lake:
        for i in range(n):
            lake.replace("treatments", rows(site, *(f"p{k}" for k in range(i + 1))), site=site)


def test_two_writers_at_once_both_arrive(home: Home) -> None:
    with open_lake(home):
        pass
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write, args=(home.root, site, 5)) for site in ("AA", "BB")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [w.exitcode for w in writers] == [0, 0]
    with read_lake(home) as lake:
        assert lake.query(
            "SELECT site, count(*) FROM treatments GROUP BY site ORDER BY site"
        ).fetchall() == [("AA", 5), ("BB", 5)]


def test_a_reader_sees_whole_transactions_while_another_writes(home: Home) -> None:
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p0"), site="AA")
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(home.root, "BB", 6))
    writer.start()
    seen = []
    while writer.is_alive():
        with read_lake(home) as lake:
            seen.append(
                lake.query(
                    "SELECT count(*) FILTER (WHERE site = 'AA'), "
                    "count(*) FILTER (WHERE site = 'BB') "
                    "FROM treatments"
                ).fetchone()
            )
    writer.join()
    assert writer.exitcode == 0
    assert {aa for aa, _ in seen} == {1}
    assert [bb for _, bb in seen] == sorted(bb for _, bb in seen)


LEAVES = "AA-" + "P" * 17


def _bytes_of(folder: Path) -> list[str]:
    """Files below a folder in which the patient's pseudonym stands."""
    return [
        str(f)
        for f in sorted(folder.rglob("*"))
        if f.is_file() and LEAVES.encode() in f.read_bytes()
    ]


def test_who_leaves_is_in_no_file_of_the_server_and_in_no_data_file(
    home: Home, server: str
) -> None:
    """A patient can be found in three places.

    They are bounds of columns in the catalogue, rows that PostgreSQL only marks as deleted, and
    files that were to be deleted later.
    """
    with open_lake(home) as lake:
        for cycle in ("p1", LEAVES), ("p1", LEAVES, "p2"), (LEAVES, "p2"):
            lake.replace("treatments", rows("AA", *cycle), site="AA")
        subprocess.run(
            [program("psql"), f"dbname=postgres {server}", "-qc", "CHECKPOINT"], check=True
        )
        cluster = Path(server.split(maxsplit=1)[0].removeprefix("host=")) / "cluster" / "base"
        assert _bytes_of(cluster)
        assert LEAVES in str(dict(lake.catalogue_texts()))
        assert search_home(home, [LEAVES], lake=lake)
        lake.remove_patient(LEAVES)
        lake.purge_history()
        assert search_home(home, [LEAVES], lake=lake) == []
        subprocess.run(
            [program("psql"), f"dbname=postgres {server}", "-qc", "CHECKPOINT"], check=True
        )
        assert _bytes_of(cluster) == []
        assert lake.read("treatments")["patient"].to_list() == ["p2"]
    with read_lake(home) as lake:
        assert lake.query("SELECT patient FROM treatments").fetchall() == [("p2",)]


def test_an_analysts_query_is_answered_with_the_connection_shut_in(home: Home) -> None:
    """DuckDB refuses to attach PostgreSQL without external access.

    What was attached before goes on.
    """
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1"), site="AA")
        first = lake.snapshot()
        lake.replace("treatments", rows("AA", "p2"), site="AA")
    for as_of, patient in ((None, "p2"), (first, "p1")):
        with read_lake(home, as_of=as_of) as lake:
            lake.confine()
            assert lake.query("SELECT patient FROM treatments").fetchall() == [(patient,)]
            with pytest.raises(duckdb.Error):
                lake.query("SELECT * FROM read_text('/etc/hostname')")


# -- an earlier schema -----------------------------------------------------------------------------


@pytest.fixture
def unmigrated(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Home, int]:
    """The lake of schema version 1 in PostgreSQL, and its snapshot."""
    catalog = home.catalog
    with monkeypatch.context() as sqlite:
        sqlite.delenv("LAKEHOUSE_CATALOG")
        kept = unpack(BASELINE, Home(tmp_path / "kept"))
        with Lake(catalog, home.data) as lake:
            copy_baseline(kept, lake)
            return home, lake.snapshot()


FIRST_SEEN = "SELECT patient, min({0}), bool_or(simulated) FROM responses GROUP BY 1 ORDER BY 1"


def test_a_catalogue_is_dumped_and_migrated(unmigrated: tuple[Home, int]) -> None:
    home, last = unmigrated
    with pytest.raises(UnmigratedLake):
        open_lake(home)
    with Lake(home.catalog, home.data) as lake:
        were = lake.query(FIRST_SEEN.format("known_from")).fetchall()
    assert [m.version for m in upgrade(home)] == [1, 2]
    with open_lake(home) as lake:
        newest = lake.snapshot()
        assert lake.query(FIRST_SEEN.format("recorded_at")).fetchall() == were
        assert lake.read("responses", as_of=last).equals(lake.read("responses"))
    with read_lake(home, as_of=last) as lake:
        assert lake.query(FIRST_SEEN.format("recorded_at")).fetchall() == were
    assert upgrade(home) == []
    with open_lake(home) as lake:
        assert lake.snapshot() == newest
    (dump,) = home.backups.iterdir()
    listed = subprocess.run(
        [program("pg_restore"), "--list", str(dump)], capture_output=True, text=True, check=True
    ).stdout
    assert "TABLE DATA public ducklake_snapshot " in listed
    database = home.catalog.removeprefix("postgres:")
    restore = [program("pg_restore"), "--clean", "--if-exists", "--no-owner", "-d", database]
    subprocess.run([*restore, str(dump)], capture_output=True, check=True)
    with Lake(home.catalog, home.data, read_only=True) as lake:
        assert (lake.version(), lake.snapshot()) == (1, last)
        assert lake.query(FIRST_SEEN.format("known_from")).fetchall() == were


def test_a_migration_that_is_killed_leaves_a_whole_version(unmigrated: tuple[Home, int]) -> None:
    """One after the other, each on what the one before left."""
    home, _ = unmigrated
    moments = [
        dict(statement=5),
        dict(commit=1, seconds=0.002),
        dict(statement=14),
        dict(statement=22),
        dict(commit=2, seconds=0.002),
    ]
    for moment in moments:
        assert migrate_and_kill([(home, moment)])[0] in {-9, 0}
        with Lake(home.catalog, home.data) as lake:
            assert lake.fault(migrated=True) is None
            columns = lake.shape()["responses"]
            assert ("recorded_at" in columns, "known_from" in columns) == (
                (False, True) if lake.version() == 1 else (True, False)
            )
    with Lake(home.catalog, home.data) as lake:
        lake.migrate()
        assert lake.fault() is None


def test_without_pg_dump_nothing_is_migrated_unless_it_is_asked_for(
    unmigrated: tuple[Home, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, last = unmigrated
    with monkeypatch.context() as bare:
        bare.setattr(catalogue_backup, "DEBIAN", tmp_path)
        bare.setenv("PATH", str(tmp_path))
        with pytest.raises(NoBackup, match="pg_dump is not installed"):
            upgrade(home)
        with Lake(home.catalog, home.data) as lake:
            assert lake.snapshot() == last
        assert [m.version for m in upgrade(home, backup=False)] == [1, 2]
    assert not any(home.backups.iterdir())


def test_a_server_that_is_not_reached_gives_no_backup_and_its_password_is_not_shown(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "LAKEHOUSE_CATALOG", "postgres:host=/nowhere dbname=lake password='a secret' user=lake"
    )
    with pytest.raises(NoBackup, match="pg_dump ended with 1") as raised:
        catalogue_backup.back_up(home, 1)
    assert "secret" not in str(raised.value)
    assert not any(home.backups.iterdir())


# -- backup and restore, and the roles of the documents --------------------------------------------


def test_a_home_on_postgresql_is_restored_into_another_database(
    server: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_lake(home) as lake:
        lake.replace("treatments", rows("AA", "p1", "p2"), site="AA")
        before, snapshot = lake.read("treatments"), lake.snapshot()
    made = back_up_home(home, tmp_path / "backups", dt.datetime(2026, 5, 1, tzinfo=dt.UTC))
    assert made.manifest.catalogue == "postgres"
    assert (made.folder / "lake" / "catalog.dump").stat().st_mode & 0o077 == 0

    there = Home(tmp_path / "elsewhere")
    monkeypatch.delenv("LAKEHOUSE_CATALOG")
    with pytest.raises(BackupError, match="catalogue is of postgres"):
        restore_home(made.folder, there)
    name = f"restored_{os.getpid()}"
    psql(server, f"CREATE DATABASE {name}")
    monkeypatch.setenv("LAKEHOUSE_CATALOG", f"postgres:dbname={name} {server}")
    restore_home(made.folder, there)
    with read_lake(there) as lake:
        assert lake.read("treatments").equals(before)
        assert lake.snapshot() == snapshot
    again = Home(tmp_path / "again")
    with pytest.raises(BackupError, match="find an empty database"):
        restore_home(made.folder, again)
    assert again.half_restored


def psql(server: str, statement: str) -> None:
    subprocess.run(
        [program("psql"), f"dbname=postgres {server}", "-qc", statement],
        check=True,
        capture_output=True,
    )


def test_the_roles_of_the_documents_are_made_as_they_stand(server: str) -> None:
    text = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    (statements,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    subprocess.run(
        [program("psql"), f"dbname=postgres {server}", "-q", "-v", "ON_ERROR_STOP=1"],
        input=statements,
        text=True,
        check=True,
        capture_output=True,
    )
