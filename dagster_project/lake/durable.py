"""What must outlive a power cut: a file's data and, separately, the names in its folder."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path


def sync_file(path: Path) -> None:
    """The data of a file are on the disk when this returns."""
    _sync(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """The names in a folder are on the disk when this returns.

    Names of files that were written, moved into it or taken out of it.
    """
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def sync_folders(folders: Iterable[Path]) -> None:
    """The same of several, each once; those that are gone are left out."""
    for folder in sorted(set(folders)):
        if folder.is_dir():
            sync_folder(folder)


def sync_commits(connection: sqlite3.Connection) -> None:
    """A commit of this connection is on the disk when it returns.

    SQLite's own default may take the last one back.
    """
    connection.execute("PRAGMA synchronous = EXTRA")


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
