"""Publishes a snapshot for analysts: one self-contained DuckDB file, and plain Parquet.

Both are swapped in by a link; a night writes only what differs from the last publication.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from dagster_project.lake import sql, views
from dagster_project.lake.code_lists import list_codes
from dagster_project.lake.interruption import uninterrupted
from dagster_project.lake.locks import locked
from dagster_project.lake.migrations import former_names
from dagster_project.lake.minimisation import AS_IN_THE_LAKE, Minimisation
from dagster_project.lake.published_database import (
    WIDE_FEATURE,
    WIDE_KEY,
    patch_database,
    write_database,
)
from dagster_project.lake.published_files import (
    File,
    Former,
    Manifest,
    by_site,
    size_and_time,
    write_tables,
)
from dagster_project.lake.schema import duckdb_comments, duckdb_create
from dagster_project.lake.sharing import share_folder, share_tree
from dagster_project.lake.store import Lake
from dagster_project.lake.tables import PUBLISHED
from dagster_project.study import digest_of

KEPT = 3
"""Published snapshots that stay.

An older file that a reader still has open lives on until it is closed.
"""

READING_MEMORY, WRITING_MEMORY = "750MB", "1500MB"
"""Memory for DuckDB while it reads the lake and writes Parquet, and while it writes its own file.

What does not fit goes to the disk. Each of the 1,316 columns of the wide table needs a block of
256 KiB for values and one for NULLs, 660 MiB in all, however few its rows.
"""

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Published:
    """Where a snapshot was published.

    `fresh`: it was not published before. `from_nothing`: no earlier publication could be built on.
    """

    database: Path
    parquet: Path
    snapshot: int
    fresh: bool
    from_nothing: bool = False


def publish(
    lake: Lake,
    folder: Path,
    *,
    without: frozenset[str] = frozenset(),
    minimised: Minimisation = AS_IN_THE_LAKE,
    anew: bool = False,
) -> Published:
    """Publish the newest snapshot, and swap `lakehouse.duckdb` and `parquet/latest` to it.

    1. Files that hold no row that differs from the last publication are linked to it; in its DuckDB
       file, copied, the rows of those patients are exchanged who differ.
    2. One process at a time publishes: another that does is waited for.
    3. What is interrupted before the swap leaves the former publication, and nothing beside it.
    4. Rows of the sites `without` are left out; no publication is built on one that left others
       out.
    5. `anew` writes everything from nothing, also of a snapshot that is published: rows are then
       sorted by their keys, whose order does not reveal whose came last.
    6. Ages and columns leave as `minimised` says. Publications that were minimised or laid out
       otherwise are deleted: they would give what is left out now.
    """
    with locked(_lock(folder), "publication"):
        return _publish(lake, folder, _Terms(without, minimised), anew=anew)


@dataclass(frozen=True)
class _Terms:
    """What a publication leaves out."""

    without: frozenset[str]
    minimised: Minimisation

    def hold_for(self, parquet: Path) -> bool:
        """Whether a publication left out the same."""
        manifest = _manifest(parquet)
        return frozenset(manifest.get("without", ())) == self.without and self.same_minimisation(
            parquet
        )

    def same_minimisation(self, parquet: Path) -> bool:
        """Whether ages and columns of a publication are those that leave now."""
        return bool(
            _manifest(parquet).get("minimised", AS_IN_THE_LAKE.as_json())
            == self.minimised.as_json()
        )


def _publish(lake: Lake, folder: Path, terms: _Terms, *, anew: bool) -> Published:
    try:
        snapshot, fresh, from_nothing = _write_newest(lake, folder, terms, build_on=not anew)
    except duckdb.Error:
        # A file that an earlier snapshot needs may be lost: nobody can tell what changed since, so
        # all is written anew.
        snapshot, fresh, from_nothing = _write_newest(lake, folder, terms, build_on=False)
    database, parquet = _places(folder, snapshot)
    with uninterrupted():
        _swap(folder / "lakehouse.duckdb", database.name)
        _swap(folder / "parquet" / "latest", parquet.name)
        _remove_old(folder, snapshot, terms)
    return Published(database, parquet, snapshot, fresh, from_nothing)


def _write_newest(
    lake: Lake, folder: Path, terms: _Terms, *, build_on: bool
) -> tuple[int, bool, bool]:
    """Write the newest snapshot where it is not published yet.

    Returns the snapshot, whether it was not published before, and whether it was written from
    nothing.
    """
    with lake.read_snapshot(READING_MEMORY) as snapshot:
        database, parquet = _places(folder, snapshot)
        there = database.is_file() and parquet.is_dir()
        fresh = not (there and build_on and terms.hold_for(parquet))
        if not fresh:
            return snapshot, False, False
        return snapshot, True, _write(lake, folder, snapshot, terms, build_on=build_on)


def _manifest(parquet: Path) -> dict[str, Any]:
    manifest = parquet / MANIFEST
    return dict(json.loads(manifest.read_text(encoding="utf-8"))) if manifest.is_file() else {}


def withdraw_publications(folder: Path) -> None:
    """Delete everything that was published."""
    with locked(_lock(folder), "withdrawal"):
        _withdraw_publications(folder)


def _withdraw_publications(folder: Path) -> None:
    _remove_partial(folder)
    for link in (folder / "lakehouse.duckdb", folder / "parquet" / "latest"):
        link.unlink(missing_ok=True)
    for database in folder.glob("lakehouse-*.duckdb*"):
        database.unlink()
    shutil.rmtree(folder / "parquet", ignore_errors=True)


def published_snapshots(folder: Path) -> list[int]:
    """Snapshots that are published, in order."""
    names = (
        [p.name for p in (folder / "parquet").iterdir()] if (folder / "parquet").is_dir() else []
    )
    return sorted(int(name) for name in names if name.isdigit())


def _lock(folder: Path) -> Path:
    """Beside the folder, which analysts may copy."""
    return folder.with_name(f"{folder.name}.lock")


def _places(folder: Path, snapshot: int) -> tuple[Path, Path]:
    return folder / f"lakehouse-{snapshot}.duckdb", folder / "parquet" / str(snapshot)


def _write(lake: Lake, folder: Path, snapshot: int, terms: _Terms, *, build_on: bool) -> bool:
    """Write folder and file beside their places, then move them there, each whole.

    Returns whether all was written from nothing.
    """
    _remove_partial(folder)
    database, parquet = _places(folder, snapshot)
    part, partial = (
        database.with_name(f".{database.name}.{os.getpid()}"),
        parquet.with_name(f".{parquet.name}.{os.getpid()}"),
    )
    partial.mkdir(parents=True)
    try:
        former = _former(lake, folder, snapshot, terms) if build_on and not terms.without else None
        files = write_tables(lake, partial, former, terms.without, terms.minimised)
        manifest, from_nothing = _write_database(former, partial, part, files, snapshot, terms)
        manifest = replace(
            manifest, without=tuple(sorted(terms.without)), minimised=terms.minimised.as_json()
        )
        (partial / MANIFEST).write_text(json.dumps(manifest.as_json(), indent=1), encoding="utf-8")
        with uninterrupted():
            for old in (database, parquet):
                _remove(old)
            share_folder(parquet.parent, folder)
            share_tree(partial, folder).rename(parquet)
            share_tree(part, folder).rename(database)
    except BaseException:
        _remove_partial(folder)
        raise
    return from_nothing


def _write_database(
    former: Former | None,
    parquet: Path,
    database: Path,
    files: dict[str, File],
    snapshot: int,
    terms: _Terms,
) -> tuple[Manifest, bool]:
    """Write the DuckDB file of these Parquet files; the manifest of both.

    Also gives whether the file was written from nothing.
    """
    made = Manifest(snapshot, _layout(), files, {}, (0, 0))
    rows = {table.name: made.rows(table) for table in PUBLISHED}
    replaced = (
        patch_database(former, parquet, database, rows, memory=WRITING_MEMORY) if former else None
    )
    if replaced is None:
        write_database(parquet, database, memory=WRITING_MEMORY, minimised=terms.minimised)
    return Manifest(
        snapshot, made.layout, files, replaced or {}, size_and_time(database)
    ), replaced is None


def _former(lake: Lake, folder: Path, snapshot: int, terms: _Terms) -> Former | None:
    """The last publication, where this one can build on it.

    It is laid out as this one will be, and the lake still knows what has changed since.
    """
    before = [n for n in published_snapshots(folder) if n < snapshot]
    database, parquet = _places(folder, before[-1]) if before else (folder, folder)
    if not (parquet / MANIFEST).is_file() or not terms.same_minimisation(parquet):
        return None
    manifest = Manifest.of(_manifest(parquet))
    if (
        manifest.layout != _layout()
        or manifest.without
        or not lake.has_snapshots(manifest.snapshot, snapshot)
    ):
        return None
    differing = lake.changed_patients(since=manifest.snapshot, until=snapshot)
    return Former(
        parquet,
        database,
        manifest,
        {
            t.name: frozenset(differing[t.name]) if by_site(t) else None
            for t in PUBLISHED
            if differing.get(t.name)
        },
    )


def _layout() -> str:
    """Digest of everything but rows that a publication is based on."""
    tables = [
        (
            t.name,
            duckdb_create(t, former_names(t)),
            duckdb_comments(t),
            by_site(t),
            sql.published_order(t),
        )
        for t in PUBLISHED
    ]
    described = [(name, v.query, *sql.comment_view(name)) for name, v in views.VIEWS.items()]
    return digest_of((tables, described, list_codes(), WIDE_KEY, WIDE_FEATURE))


def _swap(link: Path, target: str) -> None:
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(link)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _remove_partial(folder: Path) -> None:
    """What a killed publication left behind."""
    for left in (*folder.glob(".lakehouse*"), *(folder / "parquet").glob(".*")):
        _remove(left)


def _remove_old(folder: Path, snapshot: int, terms: _Terms) -> None:
    """Remove publications before the last `KEPT`, and all that are laid out or minimised otherwise.

    The latter may hold what is published no more.
    """
    published = [n for n in published_snapshots(folder) if n != snapshot]
    alike = [n for n in published if _is_alike(_places(folder, n)[1], terms)]
    otherwise = [n for n in published if n not in alike]
    for old in [*otherwise, *alike[: max(0, len(alike) - KEPT + 1)]]:
        for place in _places(folder, old):
            _remove(place)


def _is_alike(parquet: Path, terms: _Terms) -> bool:
    return _manifest(parquet).get("layout") == _layout() and terms.same_minimisation(parquet)
