"""How much space is left on the disk of a home, and how much a run needs to begin."""

from __future__ import annotations

import os
import re
import shutil

from dagster_project.lake.errors import DiskFull, LakeError, name_fault
from dagster_project.lake.home import Home

FLOOR = "LAKEHOUSE_MIN_FREE"
"""Environment variable that names the least free space with which a run begins."""

DEFAULT_FLOOR = "2G"

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str) -> int:
    """Bytes of a size with a unit of 1024.

    >>> parse_size("50G"), parse_size("1.5 MiB"), parse_size("0")
    (53687091200, 1572864, 0)

    Raises
    ------
    ValueError
        Where it is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text)
    if not found:
        raise ValueError(text)
    return int(float(found[1]) * UNITS[found[2]])


def in_bytes(size: float) -> str:
    """A size in words.

    >>> in_bytes(1536), in_bytes(3 * 2**30)
    ('1.5 KiB', '3.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def free_bytes(home: Home) -> int:
    """Bytes that are free where the home lies."""
    return shutil.disk_usage(home.root).free


HARDLY_ANY = 2**20
"""Bytes below which SQLite can no longer extend its files."""


def fault_of(error: Exception, home: Home) -> LakeError | None:
    """What an error says of the lake or its disk; None where it says nothing of them."""
    return error if isinstance(error, LakeError) else fault_in(str(error), home)


def fault_in(message: str, home: Home) -> LakeError | None:
    """What the message of an error says of the lake or its disk."""
    return name_fault(message) or full_disk(message, home)


def full_disk(message: str, home: Home) -> DiskFull | None:
    """The error of a full disk, where SQLite reports another one.

    It says "disk I/O error" where it cannot extend a journal or its shared memory.
    """
    is_full = "disk i/o error" in message.lower() and free_bytes(home) < HARDLY_ANY
    return DiskFull() if is_full else None


def refuse_little_space(home: Home) -> None:
    """Look before a run begins.

    Raises
    ------
    DiskFull
        Where less is free than LAKEHOUSE_MIN_FREE says.
    LakeError
        Where that is no size.
    """
    floor = os.environ.get(FLOOR) or DEFAULT_FLOOR
    try:
        least = parse_size(floor)
    except ValueError:
        raise LakeError(f"{FLOOR} is a size such as 50G\n{FLOOR} 应为容量，如 50G") from None
    free = free_bytes(home)
    if free < least:
        raise DiskFull(in_bytes(free), in_bytes(least))
