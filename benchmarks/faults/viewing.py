"""What lies in a home: digests of its rows, keys that stand twice, manifests that are broken."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import shutil
import signal
import sqlite3
import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, NoReturn

import duckdb

from dagster_project.intake.vault.manifest import verify_manifest
from dagster_project.lake.store import Lake, read_lake
from dagster_project.lake.tables import TABLES, Table
from tests.trial import OF_THE_RUN, Trial

LEFT_OUT = (*OF_THE_RUN, "snapshot", "model_version")
"""Columns that describe the run and not the data; snapshots and versions are counted."""

SECONDS = 900.0
"""By the clock, on a machine that does other work too: what takes longer than this hangs."""

READ = {
    "lake": ("catalog.sqlite", "catalog.sqlite-wal", ".parquet"),
    "vault": (".dcm", "manifest.jsonl"),
    "published": (".duckdb",),
    "reports": (".html",),
}
"""What is looked at, by folder of a home: ends of names of files."""

PASSED_BY = (".incoming", "answers", "parquet")
"""Folders of what is not in its place yet, can be computed again, or is published beside."""

CATALOGUE = "catalog.sqlite"
"""Copied before it is looked at, for whoever writes it may have locked it."""

Digests = Mapping[str, str]
"""Of rows that are written whole, of a published table, an image, the names of pages.

Rows are those of one site (`scans BJCH`), of a whole table, or as `IN_BATCHES` says.
"""

Files = Mapping[str, tuple[int, ...]]
"""Size and time of files below a home, by path: what tells that one was written.

A copy of a home has them too, so that what was found of a file is found again in the copy.
"""

IN_BATCHES = ("radiomic_features", "delta_features")
"""Tables of which a transaction writes some lesions or patients of a site.

What was computed of one bears one `input_fingerprint`: it is there whole or not at all.
"""

STATES = """
SELECT t.table_name, d.path, x.path
FROM ducklake_table t
LEFT JOIN ducklake_data_file d ON d.table_id = t.table_id AND d.end_snapshot IS NULL
LEFT JOIN ducklake_delete_file x
    ON x.data_file_id = d.data_file_id AND x.end_snapshot IS NULL
WHERE t.end_snapshot IS NULL ORDER BY 1, 2, 3
"""
"""Files of rows and of deletions by table; a lake never uses a name of one again."""


@dataclass(frozen=True)
class Seen:
    """Digests, tables in which two rows have one key, and sites whose manifest is broken."""

    digests: Digests
    doubled: tuple[str, ...] = ()
    manifest: tuple[str, ...] = ()


def files_of(home: Path) -> Files:
    """The files that are looked at."""
    found: dict[str, tuple[int, ...]] = {}
    for folder, ends in READ.items():
        left = [str(home / folder)] if (home / folder).is_dir() else []
        while left:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left += [entry.path] * (entry.name not in PASSED_BY)
                    elif entry.name.endswith(ends):
                        status = entry.stat(follow_symlinks=False)
                        found[os.path.relpath(entry.path, home)] = (
                            status.st_size,
                            status.st_mtime_ns,
                        )
    return found


class Viewer:
    """A process that looks at a home whenever it is asked, and stays warm in between.

    1. It looks at an image beside the home: links to its files, and a copy of the catalogue.
       Whoever writes the home may be stopped in the middle of it, with a lock on the catalogue.
    2. What it found of a table is found again by the names of the table's files, which a lake never
       uses twice, and what it found of other files by path, size and time: it reads what was
       written since the last look. Where a file of the lake was changed or is gone it reads all.
    """

    def __init__(self, trial: Trial, log: Path) -> None:
        self._home, self._log = trial.root, log
        self._image = replace(trial, root=trial.root.with_name("image"))
        self._files: Files = {}
        self._process = 0
        self._ask: IO[str]
        self._answer: IO[str]

    def changed(self) -> bool:
        """Whether a file was written, or is gone, since the last look."""
        return files_of(self._home) != self._files

    def look(self, *, anew: bool = False) -> Seen | None:
        """What lies there; None where it cannot be read, and the log says why."""
        now = files_of(self._home)
        anew = anew or any(
            now.get(name) != was for name, was in self._files.items() if name.endswith(".parquet")
        )
        self._files = now
        self._take_image()
        if not self._process:
            self._start()
        self._ask.write(f"{int(anew)}\n")
        self._ask.flush()
        ready, _, _ = select.select([self._answer], [], [], SECONDS)
        line = self._answer.readline() if ready else ""
        if line.startswith("{"):
            found = json.loads(line)
            return Seen(found["digests"], tuple(found["doubled"]), tuple(found["manifest"]))
        self.close()
        return None

    def _take_image(self) -> None:
        shutil.rmtree(self._image.root, ignore_errors=True)
        for name in self._files:
            target = self._image.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.name.startswith(CATALOGUE) or self._on_another_disk:
                shutil.copy2(self._home / name, target, follow_symlinks=False)
            else:
                os.link(self._home / name, target, follow_symlinks=False)

    @property
    def _on_another_disk(self) -> bool:
        """Whether the home's files cannot be linked: where a full disk is tried it is a mount."""
        return self._home.stat().st_dev != self._image.root.parent.stat().st_dev

    def _start(self) -> None:
        (asked, ask), (answer, answered) = os.pipe(), os.pipe()
        self._process = os.fork()
        if not self._process:
            for descriptor in (ask, answer):
                os.close(descriptor)
            _look_when_asked(self._image, self._log, os.fdopen(asked), os.fdopen(answered, "w"))
        for descriptor in (asked, answered):
            os.close(descriptor)
        self._ask, self._answer = os.fdopen(ask, "w"), os.fdopen(answer)

    def close(self) -> None:
        """End the process."""
        if not self._process:
            return
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        self._process = 0
        for stream in (self._ask, self._answer):
            stream.close()


def _look_when_asked(trial: Trial, log: Path, asked: IO[str], answered: IO[str]) -> NoReturn:
    """In the viewer's process; ends at the first thing that cannot be read."""
    known = _Known()
    try:
        for line in asked:
            if int(line):
                known = _Known()
            print(json.dumps(_look(trial, known)), file=answered, flush=True)
    except BaseException:
        log.write_text(traceback.format_exc(), encoding="utf-8")
    os._exit(1)


@dataclass
class _Known:
    """What was found, by what tells that it is unchanged."""

    tables: dict[str, tuple[Any, tuple[Digests, bool]]] = field(default_factory=dict)
    files: dict[str, tuple[Any, Digests]] = field(default_factory=dict)
    manifests: dict[str, tuple[Any, bool]] = field(default_factory=dict)


def _look(trial: Trial, known: _Known) -> dict[str, Any]:
    found: dict[str, str] = {}
    doubled, broken = [], []
    with trial.entered():
        for table, digests, double in _of_lake(trial, known):
            found |= digests
            doubled += [table] * double
        published = trial.home.published / "lakehouse.duckdb"
        found |= _of_file(published, _published_tables, known) if published.is_file() else {}
        for image in trial.home.vault.rglob("*.dcm"):
            if ".incoming" not in image.parts:
                found |= _of_file(image, _image, known)
        found["pages"] = _pages(trial.root / "reports")
        for manifest in trial.home.vault.glob("*/manifest.jsonl"):
            state, site = _state(manifest), manifest.parent.name
            if known.manifests.get(site, (None,))[0] != state:
                known.manifests[site] = (state, bool(verify_manifest(manifest).broken_line))
            broken += [site] * known.manifests[site][1]
    return {"digests": found, "doubled": doubled, "manifest": broken}


def _of_lake(trial: Trial, known: _Known) -> Iterator[tuple[str, Digests, bool]]:
    """Read-only: a table that is not made yet stays so."""
    states = _states_of(trial.root / "lake" / CATALOGUE)
    made = [table for table in TABLES if table.name in states]
    unread = [t for t in made if known.tables.get(t.name, (None,))[0] != states[t.name]]
    if unread:  # DuckDB reads and verifies its extensions each time, which takes half a second
        with read_lake(trial.home) as lake:
            for table in unread:
                known.tables[table.name] = (states[table.name], _read(lake, table))
    for table in made:
        yield (table.name, *known.tables[table.name][1])


def _states_of(catalogue: Path) -> Mapping[str, list[Any]]:
    """Files by table, as the catalogue names them; empty where there is none yet."""
    states = defaultdict[str, list[Any]](list)
    if catalogue.is_file():
        with contextlib.closing(sqlite3.connect(catalogue)) as connection:
            begun = "SELECT 1 FROM sqlite_master WHERE name = 'ducklake_table'"
            for table, *names in (
                connection.execute(STATES) if connection.execute(begun).fetchall() else ()
            ):
                states[table].append(names)
    return states


def _read(lake: Lake, table: Table) -> tuple[Digests, bool]:
    """Digests by site, and whether a key stands twice; no digest where there are no rows."""
    digests = {
        " ".join((table.name, *unit)): f"{rows} {sums}"
        for *unit, rows, sums in lake.query(_sums(table.name, table.names, _unit(table))).fetchall()
        if rows
    }
    keys = ", ".join(f'"{c}"' for c in table.key)
    twice = f'SELECT count(*) > count(DISTINCT row({keys})) FROM "{table.name}"'
    ((double,),) = lake.query(twice).fetchall()
    return digests, double


def _unit(table: Table) -> tuple[str, ...]:
    """Columns that name what one transaction writes whole."""
    if table.name in IN_BATCHES:
        return ("site", "input_fingerprint")
    return ("site",) if table.by_site else ()


def _sums(name: str, columns: Iterable[str], unit: Sequence[str] = ()) -> str:
    """A statement that gives the rows and the sum of their hashes, by unit.

    The sum is free of the order of rows, and two equal rows do not cancel out in it.
    """
    row = ", ".join(f'"{c}"' for c in columns if c not in LEFT_OUT)
    wanted = ", ".join((*unit, "count(*)", f"sum(hash(row({row})))"))
    return f'SELECT {wanted} FROM "{name}" {"GROUP BY " + ", ".join(unit) if unit else ""}'


def _state(file: Path) -> tuple[int, ...]:
    status = file.stat()
    return (status.st_size, status.st_mtime_ns)


def _of_file(file: Path, read: Any, known: _Known) -> Digests:
    state = (str(file.resolve()), *_state(file))
    if known.files.get(str(file), (None,))[0] != state:
        known.files[str(file)] = (state, read(file))
    return known.files[str(file)][1]


def _image(file: Path) -> Digests:
    """Of a file of the vault, named within its patient."""
    return {f"image {file.name}": hashlib.sha256(file.read_bytes()).hexdigest()[:16]}


def _published_tables(file: Path) -> Digests:
    found, columns = {}, defaultdict[str, list[str]](list)
    with duckdb.connect(str(file), read_only=True) as store:
        for table, column in store.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal "
            "AND table_name IN (SELECT table_name FROM duckdb_tables()) ORDER BY column_index"
        ).fetchall():
            columns[table].append(column)
        for name, own in columns.items():
            ((rows, sums),) = store.execute(_sums(name, own)).fetchall()
            found[f"published {name}"] = f"{rows} {sums}"
    return found


def _pages(folder: Path) -> str:
    if not folder.is_dir():
        return ""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.html"))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
