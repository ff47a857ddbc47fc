"""The one place where files of a delivery folder are opened.

Whoever delivers decides what lies there, which may be no regular file. A pipe without a writer, a
device that never ends or a link to another hospital's data is refused with its reason before
anything is read; nothing waits for it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

LARGEST_FILE = 2**30
"""Largest image or mask in bytes: the child process that parses it has no more memory.

An Enhanced CT of 1,000 slices has half as many.
"""

LARGEST_TABLE = 2**26
"""Bytes of a table: a hundred times the case report of 500 patients."""

LARGEST_EXPORT = 2**28
"""Bytes of an export of a study database in XML, which may hold every change that was ever made."""

LARGEST_LOCK = 2**12
"""Bytes of a file that holds one time."""

UNREADABLE = "cannot be read; check the permissions and the medium"
NO_FILE = "is no regular file but a pipe, device, socket or folder; deliver the file itself"
STILL_WRITTEN = "is still being written; deliver it when it is whole"
LEADS_OUT = (
    "is a link that leads out of the site's delivery folder; deliver what it leads to in its place"
)
LEADS_NOWHERE = "is a link that leads nowhere or in a circle; deliver the file itself"
TOO_LARGE_FILE = (
    f"is larger than {LARGEST_FILE // 2**30} GiB, "
    "which no single image, contour or mask file is; export it again"
)
TOO_LARGE_TABLE = (
    f"is larger than {LARGEST_TABLE // 2**20} MiB, which no table of a site is; export it again"
)
TOO_LARGE_EXPORT = (
    f"is larger than {LARGEST_EXPORT // 2**20} MiB, which no case report is; "
    "export it as ODM 1.3 without the audit trail"
)
TOO_LARGE_LOCK = "is larger than a file that holds one time; write the time alone"

_TOO_LARGE = {
    LARGEST_TABLE: TOO_LARGE_TABLE,
    LARGEST_EXPORT: TOO_LARGE_EXPORT,
    LARGEST_LOCK: TOO_LARGE_LOCK,
}

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PIECE = 2**20


class NotOpenedError(OSError):
    """A file of the delivery folder that is not opened or not read; `reason` names no path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def open_delivered(path: Path, root: Path | None = None, *, most: int = LARGEST_FILE) -> BinaryIO:
    """Open a regular file of a delivery folder for reading.

    1. Links are followed to their end, which lies inside `root`.
    2. The end is a regular file of at most `most` bytes; it is looked at before it is opened, since
       to open a device may do something, and after, since it may have been exchanged meanwhile.
    3. It is opened without following a link and without waiting.

    Parameters
    ----------
    root
        The site's folder, which may be a link itself; by default that of the delivery
        specification for tables.

    Raises
    ------
    NotOpenedError
        Saying why.
    """
    real = _end_of(path)
    if not is_inside(real, _site_folder(path) if root is None else root):
        raise NotOpenedError(LEADS_OUT)
    try:
        _check(os.lstat(real), most)
        descriptor = os.open(real, _FLAGS)
    except NotOpenedError:
        raise
    except OSError:
        raise NotOpenedError(UNREADABLE) from None
    file = os.fdopen(descriptor, "rb")
    try:
        _check(os.fstat(descriptor), most)
    except NotOpenedError:
        file.close()
        raise
    return file


def read_delivered(path: Path, root: Path | None = None, *, most: int = LARGEST_FILE) -> bytes:
    """The bytes of a regular file of a delivery folder; one that grows while it is read is refused.

    Raises
    ------
    NotOpenedError
        Saying why.
    """
    with open_delivered(path, root, most=most) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            data = file.read(size + 1)
        except OSError:
            raise NotOpenedError(UNREADABLE) from None
    if len(data) > most:
        raise NotOpenedError(_too_large(most))
    if len(data) > size:
        raise NotOpenedError(STILL_WRITTEN)
    return data


def read_beginning(path: Path, root: Path, count: int) -> bytes:
    """The first bytes of a regular file of a landing.

    Raises
    ------
    NotOpenedError
        Saying why.
    """
    with open_delivered(path, root) as file:
        try:
            return file.read(count)
        except OSError:
            raise NotOpenedError(UNREADABLE) from None


def read_table_file(path: Path, *, most: int = LARGEST_TABLE) -> bytes:
    """The bytes of a table, workbook or export of a study database.

    Raises
    ------
    NotOpenedError
        Saying why.
    """
    return read_delivered(path, most=most)


def file_digest(path: Path, root: Path | None = None) -> str:
    """SHA-256 of a file, read in pieces; empty where it is not opened or cannot be read."""
    digest, count = hashlib.sha256(), 0
    try:
        with open_delivered(path, root) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                count += len(piece)
                if count > LARGEST_FILE:
                    return ""
    except OSError:
        return ""
    return digest.hexdigest()


def is_inside(real: str, root: Path) -> bool:
    """Whether a path without links lies in a folder, which may be given by a link."""
    base = os.path.realpath(root)
    return real == base or real.startswith(base.rstrip("/") + "/")


def _end_of(path: Path) -> str:
    try:
        return os.path.realpath(path, strict=True)
    except OSError:
        # os.path, since Path raises where the path is too long
        reason = LEADS_NOWHERE if os.path.islink(path) else UNREADABLE  # noqa: PTH114
        raise NotOpenedError(reason) from None


def _check(facts: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise NotOpenedError(NO_FILE)
    if facts.st_size > most:
        raise NotOpenedError(_too_large(most))


def _too_large(most: int) -> str:
    return _TOO_LARGE.get(most, TOO_LARGE_FILE)


def _site_folder(path: Path) -> Path:
    """The site folder of a table by the delivery specification, else the table's own folder."""
    if path.parent.name in {"clinical", "arbitration", "board"}:
        return path.parent.parent
    return path.parents[2] if path.parent.parent.name == "reads" else path.parent
