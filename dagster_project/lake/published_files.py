"""The published Parquet files.

A file is written anew where rows differ from the publication before, and linked where they do not.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dagster_project.lake import sql
from dagster_project.lake.minimisation import AS_IN_THE_LAKE, Minimisation
from dagster_project.lake.schema import arrow_schema
from dagster_project.lake.store import Lake
from dagster_project.lake.tables import PUBLISHED, Table

EMPTY = "empty"
"""Name of the one file of a table by sites that has no row: readers want a schema."""

Patients = frozenset[tuple[str, str]]
"""Sites and pseudonyms."""


@dataclass(frozen=True)
class File:
    """A Parquet file in the manifest; size and time show whether it is still the file written."""

    rows: int
    bytes: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a publication holds, and what the next one needs to know of it.

    Parameters
    ----------
    layout
        Digest of how tables are laid out and commented; another layout is written from nothing.
    files
        By path below the snapshot's folder.
    replaced
        Rows of a table that were taken out of the database file since it was written from nothing:
        their place is not given back.
    database
        Size and time of the database file.
    without
        Sites whose rows were left out.
    minimised
        Bands of age and columns without values.
    """

    snapshot: int
    layout: str
    files: Mapping[str, File]
    replaced: Mapping[str, int]
    database: tuple[int, int]
    without: tuple[str, ...] = ()
    minimised: Mapping[str, Any] = field(default_factory=AS_IN_THE_LAKE.as_json)

    def rows(self, table: Table) -> int:
        """Rows of a table in all of its files."""
        return sum(
            file.rows
            for name, file in self.files.items()
            if name.split("/")[0] == f"{table.name}.parquet"
        )

    def as_json(self) -> dict[str, Any]:
        """The manifest as JSON can hold it."""
        return asdict(self)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Manifest:
        """The manifest that `as_json` gave."""
        files = {name: File(**facts) for name, facts in stored["files"].items()}
        return cls(
            stored["snapshot"],
            stored["layout"],
            files,
            dict(stored["replaced"]),
            tuple(stored["database"]),
            tuple(stored.get("without", ())),
            stored.get("minimised", AS_IN_THE_LAKE.as_json()),
        )


@dataclass(frozen=True)
class Former:
    """An earlier publication to build on, and what of each table differs from it.

    `changed` has some patients whose rows differ, or None where anything may.
    """

    parquet: Path
    database: Path
    manifest: Manifest
    changed: Mapping[str, Patients | None]


def by_site(table: Table) -> bool:
    """True for the long tables of measured features.

    Their `<table>.parquet` is a folder with a file per site, so that a new scan writes one of them.
    """
    return {"site", "patient", "feature"} <= set(table.names)


def source(parquet: Path, table: Table) -> str:
    """What `read_parquet` is asked for."""
    return str(
        parquet / f"{table.name}.parquet" / "*.parquet"
        if by_site(table)
        else parquet / f"{table.name}.parquet"
    )


def write_tables(
    lake: Lake,
    folder: Path,
    former: Former | None,
    without: frozenset[str] = frozenset(),
    minimised: Minimisation = AS_IN_THE_LAKE,
) -> dict[str, File]:
    """Write every table below the folder; the manifest's entry of each file.

    The rows of some sites are left out, and what is minimised is published so.
    """
    return {
        name: _kept(folder, name, former, table, site)
        or _exchanged(lake, folder, name, former, table, site, minimised)
        or _write(
            lake,
            folder / name,
            minimised.table(table),
            sql.rows_of_site(table, site, without, minimised.columns(table))
            + sql.limit(none=table.name in minimised.emptied),
        )
        for table in PUBLISHED
        for name, site in _files(lake, table, without).items()
    }


def _files(lake: Lake, table: Table, without: frozenset[str]) -> dict[str, str | None]:
    """The files of a table and the site that each holds."""
    if not by_site(table):
        return {f"{table.name}.parquet": None}
    sites = [site for (site,) in lake.query(sql.sites(table)).fetchall() if site not in without]
    return {f"{table.name}.parquet/{site}.parquet": site for site in sites or [EMPTY]}


def _kept(
    folder: Path, name: str, former: Former | None, table: Table, site: str | None
) -> File | None:
    """Link the file of the former publication where it can stay as it is.

    The table's rows (of the site) are the same, and the file is as it was written.
    """
    if former is None or _differs(former, table, site) or not _as_written(former, name):
        return None
    (folder / name).parent.mkdir(exist_ok=True)
    try:
        os.link(former.parquet / name, folder / name)
    except OSError:  # a file system without hard links
        shutil.copy2(former.parquet / name, folder / name)
    return former.manifest.files[name]


def _exchanged(
    lake: Lake,
    folder: Path,
    name: str,
    former: Former | None,
    table: Table,
    site: str | None,
    minimised: Minimisation,
) -> File | None:
    """The former file of a site, with the rows of the patients who differ exchanged.

    This spares sorting. None where the file then has not as many rows as the table.
    """
    patients = former.changed.get(table.name) if former else None
    if former is None or site is None or patients is None or not _as_written(former, name):
        return None
    if table.name in minimised.emptied:
        return None
    rows = sql.rows_exchanged(
        table, site, patients, str(former.parquet / name), minimised.columns(table)
    )
    made = _write(lake, folder / name, minimised.table(table), rows)
    return made if made.rows == lake.count(table.name, site=site) else None


def _as_written(former: Former, name: str) -> bool:
    facts, file = former.manifest.files.get(name), former.parquet / name
    return (
        facts is not None
        and file.is_file()
        and size_and_time(file) == (facts.bytes, facts.modified_ns)
    )


def _differs(former: Former, table: Table, site: str | None) -> bool:
    if table.name not in former.changed:
        return False
    patients = former.changed[table.name]
    return patients is None or site is None or site in {at for at, _ in patients}


def _write(lake: Lake, file: Path, table: Table, rows: str) -> File:
    """Write a file, streamed by DuckDB, which sorts in bounded memory.

    Readers find descriptions and units where Arrow's own writer puts them.
    """
    file.parent.mkdir(exist_ok=True)
    schema = arrow_schema(table)
    known = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
    metadata = known | {"ARROW:schema": base64.b64encode(schema.serialize().to_pybytes()).decode()}
    count = lake.query(sql.copy(rows, str(file), metadata)).fetchall()[0][0]
    return File(count, *size_and_time(file), _digest(file))


def size_and_time(file: Path) -> tuple[int, int]:
    """By which a file that was changed since is noticed."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
