"""A copy of the catalogue, taken before a migration.

It lies beside the catalogue, and goes with everything else where a patient leaves.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from dagster_project.lake.durable import sync_file
from dagster_project.lake.errors import NoBackup
from dagster_project.lake.home import Home

SQLITE, POSTGRES = "sqlite:", "postgres:"

DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each version of PostgreSQL."""

_PASSWORD = re.compile(r"\bpassword\s*=\s*('(?:[^'\\]|\\.)*'|\S+)")


def backup_file(home: Home, version: int) -> Path:
    """Where the catalogue of a schema version is copied to: one a version."""
    ending = "sqlite" if home.catalog.startswith(SQLITE) else "dump"
    return home.backups / f"catalog-version-{version}.{ending}"


def back_up(home: Home, version: int) -> Path:
    """Copy the catalogue as it is now, whole or not at all.

    A SQLite file by SQLite's own backup, while others may read and write it; a database of
    PostgreSQL by `pg_dump`, for `pg_restore`.

    Raises
    ------
    NoBackup
        Where that cannot be done, saying why.
    """
    file = backup_file(home, version)
    partial = file.with_name(f".{file.name}.part")
    try:
        return _back_up(home, partial).replace(file)
    except OSError as error:
        raise NoBackup(f"{type(error).__name__} in lake/backups") from error
    finally:
        if home.backups.is_dir():
            partial.unlink(missing_ok=True)


def _back_up(home: Home, partial: Path) -> Path:
    home.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    if home.catalog.startswith(SQLITE):
        copy_sqlite(Path(home.catalog.removeprefix(SQLITE)), partial)
    else:
        dump_postgres(home.catalog.removeprefix(POSTGRES), partial)
    sync_file(partial)
    return partial


def remove_backups(home: Home) -> None:
    """Delete every copy: they name rows, also of patients who left since."""
    shutil.rmtree(home.backups, ignore_errors=True)


def copy_sqlite(catalogue: Path, copy: Path) -> None:
    """Copy a SQLite database by its own backup, while others may read and write it.

    Raises
    ------
    NoBackup
        Where SQLite cannot, or the copy is not sound.
    """
    address = f"{catalogue.as_uri()}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(address, uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            sound = target.execute("PRAGMA quick_check").fetchall()
    except sqlite3.Error as error:
        raise NoBackup(f"SQLite could not copy it ({type(error).__name__})") from error
    if sound != [("ok",)]:
        raise NoBackup("its copy does not pass SQLite's quick_check")


def dump_postgres(connection: str, dump: Path) -> None:
    """Dump the database; a password of the connection string stays out of the process list.

    Raises
    ------
    NoBackup
        Where `pg_dump` is not installed or does not end well.
    """
    program = pg_dump()
    if program is None:
        raise NoBackup(
            "pg_dump is not installed (Debian: apt-get install postgresql-client, of the server's "
            "version or later)"
        )
    public, password = without_password(connection)
    done = subprocess.run(
        [program, "--format=custom", "--no-owner", f"--file={dump}", f"--dbname={public}"],
        env=os.environ | ({"PGPASSWORD": password} if password else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode or not dump.stat().st_size:
        raise NoBackup(
            f"pg_dump ended with {done.returncode}; it must reach the server that "
            "LAKEHOUSE_CATALOG names and be of its version or later (try it by hand)"
        )


def pg_dump() -> str | None:
    """The program on the path, else the newest that Debian has; None where there is none."""
    found = sorted(DEBIAN.glob("*/bin/pg_dump"), key=lambda p: float(p.parts[-3]))
    return shutil.which("pg_dump") or (str(found[-1]) if found else None)


def without_password(connection: str) -> tuple[str, str]:
    """A connection string without its password, and the password.

    >>> without_password("host=db dbname=lake password='two words' user=u")
    ('host=db dbname=lake  user=u', 'two words')
    >>> without_password("postgresql://u:p%40ss@db/lake")
    ('postgresql://u@db/lake', 'p@ss')
    """
    if "://" in connection:
        parts = urlsplit(connection)
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        place = parts.netloc.rpartition("@")[2]
        public = parts._replace(netloc=f"{user}@{place}" if user else place)
        return urlunsplit(public), unquote(password)
    found = _PASSWORD.search(connection)
    if not found:
        return connection, ""
    value = found[1]
    if value.startswith("'"):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return connection.replace(found[0], ""), value
