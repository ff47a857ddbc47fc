"""Faults of the lake itself.

Each error names the table and site, and the command that mends it.
"""

from __future__ import annotations

import re

FILE = re.compile(r"main/(?P<table>\w+)/(?:site=(?P<site>[A-Z0-9]{2,8})/)?ducklake-[\w-]+\.parquet")
"""A file of the lake in a message of DuckDB: its table, and its site where it has one."""

NO_CATALOGUE = (
    "not a database",
    "malformed",
    "unable to open database",
    "disk image",
    "file is encrypted",
)
"""How SQLite says that a catalogue cannot be read, in the words of a message."""


class LakeError(RuntimeError):
    """The lake cannot be used as it is; the message says what to do."""


class LakeBusy(LakeError):
    """Other writers kept the catalogue busy through all attempts."""

    def __init__(self, what: str, attempts: int, cause: Exception) -> None:
        super().__init__(
            f"{what}: the catalogue stayed busy through {attempts} attempts "
            f"({type(cause).__name__}); "
            "see which run is writing in the Dagster UI (or `ps`), wait for it, then run again"
        )


class SnapshotGone(LakeError, LookupError):
    """A snapshot that was asked for has expired, or never was."""

    def __init__(self, snapshot: int | None) -> None:
        super().__init__(
            f"the lake has no snapshot {snapshot}: it has expired "
            "(withdrawal of consent lets all earlier ones expire) or never was. "
            "`lakehouse sql \"SELECT * FROM ducklake_snapshots('lake')\"` lists those that are "
            "there; train anew on the newest with `lakehouse run`"
        )


class DamagedFile(LakeError):
    """A Parquet file of the lake is lost or damaged."""

    def __init__(self, table: str, site: str | None, what: str = "is lost or damaged") -> None:
        self.table, self.site = table, site
        of = f"of site {site}" if site else "of all sites"
        super().__init__(
            f"a data file of table {table} {of} {what}; "
            f"bring its rows back from the vault: `{rebuild_command(table, site)}`"
        )


class UnreadableCatalogue(LakeError):
    """The catalogue is damaged, or is no catalogue."""

    def __init__(self) -> None:
        super().__init__(
            "the lake's catalogue (lake/catalog.sqlite) is damaged or cannot be opened. "
            "Put its last backup in its place (docs/operations.md, Backup and restore); "
            "or, where there is none: `mv lake lake-damaged` in the home folder, "
            "then `lakehouse run`, which derives every table anew from the vault "
            "(earlier snapshots are gone)"
        )


class OtherSchema(LakeError):
    """The lake was made by another version: a table has other columns than are declared."""

    def __init__(self, table: str, missing: list[str], extra: list[str]) -> None:
        lacks = f"lacks the column {', '.join(missing)}" if missing else ""
        has = (
            f"has the column {', '.join(extra)}, which this version does not know" if extra else ""
        )
        super().__init__(
            "the lake was made by another version of this program: "
            f"table {table} {' and '.join(p for p in (lacks, has) if p)}. "
            "Begin the lake anew: `mv lake lake-before` in the home folder "
            "(its snapshots stay readable with the earlier version), "
            "then `lakehouse run`, which derives every table from the vault; "
            "docs/changelog.md says what changed"
        )


def rebuild_command(table: str, site: str | None) -> str:
    """The command that brings a table's lost rows back."""
    return f"lakehouse rebuild {table}" + (f" --site {site}" if site else "")


def name_fault(message: str) -> LakeError | None:
    """The error of the lake that a message of DuckDB means; None for any other message.

    1. A file of the lake is named: that file is lost or damaged.
    2. SQLite cannot read the catalogue.
    """
    file = FILE.search(message)
    if file:
        return DamagedFile(file["table"], file["site"])
    known = "catalog" in message.lower() and any(sign in message.lower() for sign in NO_CATALOGUE)
    return UnreadableCatalogue() if known else None
