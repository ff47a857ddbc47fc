"""Faults of the lake itself.

Each error names the table and site, and the command that mends it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

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


NO_SPACE = ("no space left on device", "database or disk is full", "disk quota exceeded")
"""How the system and SQLite say that a disk is full."""


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


class UnmigratedLake(LakeError):
    """The lake has an earlier schema version than the program: it is migrated first."""

    def __init__(self, version: int, latest: int) -> None:
        super().__init__(
            f"the lake has schema version {version}, and this program needs {latest}; "
            "nothing was written. Stop the service, then `lakehouse migrate` "
            "(`lakehouse migrate --check` lists what it does); rows and snapshots stay "
            "(docs/operations.md, Upgrade)\n"
            f"数据湖的结构版本为 {version}，本程序需要 {latest}；未写入任何内容。"
            "请先停止服务，再运行 `lakehouse migrate`"
            "（`lakehouse migrate --check` 列出将做的更改）；"
            "数据与历史快照保持不变"
        )


class LaterSchema(LakeError):
    """The lake has a later schema version than the program."""

    def __init__(self, version: int, latest: int) -> None:
        super().__init__(
            f"the lake has schema version {version}, and this program knows versions up to "
            f"{latest}; nothing was written. Use the program that migrated the lake "
            "(`lakehouse --version` shows both numbers), or put back the catalogue's backup of "
            f"version {latest} (docs/operations.md, Upgrade)\n"
            f"数据湖的结构版本为 {version}，本程序只支持到 {latest}；未写入任何内容。"
            "请使用迁移该数据湖的程序版本（`lakehouse --version` 显示两个版本号），"
            f"或恢复版本 {latest} 的目录库备份"
        )


class OtherSchema(LakeError):
    """A table of the lake is not the one that is declared, and no migration leads there."""

    def __init__(
        self,
        table: str,
        lacks: Collection[str] = (),
        has: Collection[str] = (),
        other: Collection[str] = (),
        *,
        undeclared: bool = False,
    ) -> None:
        names = ", ".join
        parts = [
            f"lacks the column {names(lacks)}" if lacks else "",
            f"has the column {names(has)}, which this version does not know" if has else "",
            f"has another type, or NULL otherwise, in the column {names(other)}" if other else "",
            "is not known to this version" if undeclared else "",
        ]
        super().__init__(
            "the lake was made by another version of this program: "
            f"table {table} {' and '.join(p for p in parts if p)}. Nothing was written. "
            "`lakehouse migrate` leads lakes of schema version 1 and later to this one, "
            "and does not know this lake. Use the program that made it, "
            "put back the backup from before a change by hand, "
            "or begin the lake anew: `mv lake lake-before` in the home folder "
            "(its snapshots stay readable with the earlier version), then `lakehouse run`, which "
            "derives every table from the vault; docs/changelog.md says what changed\n"
            f"数据湖由本程序的其他版本建立（表 {table} 的列与声明不符）；未写入任何内容。"
            "`lakehouse migrate` 可升级结构版本 1 及之后的数据湖，但不认识此数据湖。"
            "请使用建立它的程序版本，恢复更改前的备份，"
            "或重新建立：在主目录中 `mv lake lake-before`，再运行 `lakehouse run`"
        )


class HalfRestored(LakeError):
    """A restore has not ended to fill the home: it would be worked on as if that were all."""

    def __init__(self) -> None:
        super().__init__(
            "a restore was begun in this home and has not ended; give `lakehouse restore SRC` "
            "again, it begins anew\n"
            "此主目录的恢复尚未完成；请再次运行 `lakehouse restore SRC`，将重新开始"
        )


class NoBackup(LakeError):
    """The catalogue could not be backed up before a migration."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(
            f"the catalogue was not backed up: {why}. Nothing was migrated. Mend that, or back up "
            "the catalogue yourself and give `lakehouse migrate --no-backup`\n"
            "目录库未能备份，未做任何迁移。请先解决该问题，或自行备份目录库后使用 "
            "`lakehouse migrate --no-backup`"
        )


class DiskFull(LakeError):
    """Nothing more can be written, or too little space is left to begin."""

    def __init__(self, free: str = "", floor: str = "") -> None:
        en, zh = "the disk is full", "磁盘已满"
        if floor:
            en = f"{free} are free on the disk of the home, and a run begins with {floor} at least"
            zh = f"主目录所在磁盘剩余 {free}，开始运行至少需要 {floor}"
        super().__init__(
            f"{en}; make room and run again: `lakehouse tidy` deletes files of expired snapshots, "
            "docs/operations.md (disk full) says what else may go. What was written before is "
            "whole\n"
            f"{zh}；请清理后重新运行：`lakehouse tidy` 删除过期快照的文件，"
            "其他可删除的内容见 docs/operations.md。已写入的数据完好"
        )


def rebuild_command(table: str, site: str | None) -> str:
    """The command that brings a table's lost rows back."""
    return f"lakehouse rebuild {table}" + (f" --site {site}" if site else "")


def name_fault(message: str) -> LakeError | None:
    """The error of the lake that a message of DuckDB means; None for any other message.

    1. The disk is full, whatever was written.
    2. A file of the lake is named: that file is lost or damaged.
    3. SQLite cannot read the catalogue.
    """
    if any(sign in message.lower() for sign in NO_SPACE):
        return DiskFull()
    file = FILE.search(message)
    if file:
        return DamagedFile(file["table"], file["site"])
    known = "catalog" in message.lower() and any(sign in message.lower() for sign in NO_CATALOGUE)
    return UnreadableCatalogue() if known else None
