"""Finds files of the lake that are lost or no longer what was written.

By size, and by digest where one was noted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from dagster_project.lake import sql
from dagster_project.lake.errors import DamagedFile, rebuild_command
from dagster_project.lake.files import write_whole
from dagster_project.lake.home import Home
from dagster_project.lake.store import Lake
from dagster_project.lake.tables import BY_NAME, TABLES, Table

NOTED = "files.json"
"""A file beside the catalogue: size, time of change (ns) and SHA-256 of each data file.

Data files are listed by their name, which is never given again.
"""

LOST, CUT, CHANGED, UNREADABLE = (
    "is lost",
    "has another size than was written",
    "has other bytes than were written",
    "cannot be read",
)

Facts = tuple[int, int, str]
"""Size, time of change in nanoseconds, SHA-256."""


@dataclass(frozen=True)
class DataFile:
    """A file of rows and the file of its deletions, with the catalogue's sizes of both."""

    table: str
    site: str | None
    path: str
    parts: tuple[tuple[Path, int], ...]


@dataclass(frozen=True)
class Damage:
    """A file whose rows are lost: of which table and site, and what is wrong."""

    table: str
    site: str | None
    what: str
    path: str

    @property
    def command(self) -> str:
        """What brings the rows back."""
        return rebuild_command(self.table, self.site)

    def error(self) -> DamagedFile:
        """The damage as an error."""
        return DamagedFile(self.table, self.site, self.what)


def data_files(lake: Lake, tables: Iterable[Table] = TABLES) -> Iterator[DataFile]:
    """Every file that the newest snapshot needs."""
    # one statement for all: to plan forty costs more than to answer them
    rows = lake.query(sql.files_with_sizes(tables)).fetchall()
    for table, data, size, deletes, deleted_size in rows:
        parts = [(Path(data), size)] + ([(Path(deletes), deleted_size)] if deletes else [])
        yield DataFile(table, _site(data), data, tuple(parts))


def _site(path: str) -> str | None:
    return next(
        (part.removeprefix("site=") for part in Path(path).parts if part.startswith("site=")), None
    )


def find_damage(lake: Lake, home: Home, *, every_byte: bool = False) -> list[Damage]:
    """Files that are lost or damaged.

    1. A file that is not there, or has another size than the catalogue says.
    2. A file whose digest is not the one that was noted when it was new: asked of files that were
       touched since; of each with `every_byte`.
    3. A file that no digest was noted of and that DuckDB cannot read.

    In an object store only the third is asked, since a store has checksums of its own.
    """
    noted = _noted(home)
    remote = sql.is_remote(home.data)
    found = (
        (file, _fault(lake, file, noted, remote=remote, every_byte=every_byte))
        for file in data_files(lake)
    )
    return [Damage(file.table, file.site, what, file.path) for file, what in found if what]


def _fault(
    lake: Lake, file: DataFile, noted: Mapping[str, Facts], *, remote: bool, every_byte: bool
) -> str | None:
    parts = () if remote else file.parts
    faults = (_part_fault(path, size, noted, every_byte=every_byte) for path, size in parts)
    fault = next(filter(None, faults), None)
    unknown = remote or any(path.name not in noted for path, _ in file.parts)
    return fault or (_reading_fault(lake, file) if unknown else None)


def _part_fault(
    path: Path, size: int, noted: Mapping[str, Facts], *, every_byte: bool
) -> str | None:
    if not path.is_file():
        return LOST
    if path.stat().st_size != size:
        return CUT
    facts = noted.get(path.name)
    if facts is None or (not every_byte and path.stat().st_mtime_ns == facts[1]):
        return None
    return None if _digest(path) == facts[2] else CHANGED


def _reading_fault(lake: Lake, file: DataFile) -> str | None:
    where, parameters = ("WHERE site = ?", [file.site]) if file.site else ("", [])
    try:
        lake.query(
            f'SELECT min(COLUMNS(*)::VARCHAR) FROM "{file.table}" {where}', parameters
        ).fetchall()
    except duckdb.Error:
        return UNREADABLE
    return None


def note_files(lake: Lake, home: Home) -> int:
    """Note the digest of each file that is new since the last time; how many they are.

    A file is written once and never changed, so that its digest tells ever after whether it is what
    was written.
    """
    if sql.is_remote(home.data):
        return 0
    noted = _noted(home)
    paths = [path for file in data_files(lake) for path, _ in file.parts if path.is_file()]
    known = {path.name: noted[path.name] for path in paths if path.name in noted}
    fresh = {path.name: _facts(path) for path in paths if path.name not in known}
    if fresh or known.keys() != noted.keys():
        write_whole(home.lake / NOTED, json.dumps(known | fresh).encode())
    return len(fresh)


def _facts(path: Path) -> Facts:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _noted(home: Home) -> dict[str, Facts]:
    """Nothing where the file is not there, or is not what this module writes."""
    try:
        found = json.loads((home.lake / NOTED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return (
        {name: (facts[0], facts[1], facts[2]) for name, facts in found.items()}
        if isinstance(found, dict)
        else {}
    )


def let_go(lake: Lake, damages: Iterable[Damage]) -> int:
    """Take damaged files out of the newest snapshot, so that their rows can be written anew.

    Returns how many they were.

    A DELETE would have to read them. The catalogue says instead that they end with the newest
    snapshot: earlier snapshots still name them and fail where they are asked for, since rows that
    are lost must not look like none.
    """
    names = [
        (damage.table, Path(damage.path).name) for damage in damages if damage.table in BY_NAME
    ]
    snapshot = lake.snapshot()
    for _, name in names:
        lake.end_file(name, snapshot)
    return len(names)
