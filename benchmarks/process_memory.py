"""What a process holds: patterns in its writable memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

Name = TypeVar("Name", bound=Hashable)


def held(pid: int, patterns: Mapping[Name, bytes]) -> set[Name]:
    """Which of the patterns are anywhere in a process' memory."""
    found, longest = set(), max(map(len, patterns.values()))
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        for line in maps:
            place, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(edge, 16) for edge in place.split("-"))
            with suppress(OSError, ValueError):
                for block in blocks(memory, start, end, overlap=longest):
                    found |= {name for name, pattern in patterns.items() if pattern in block}
    return found


def blocks(
    memory: BinaryIO, start: int, end: int, *, overlap: int, size: int = 2**20
) -> Iterator[bytes]:
    """A region's memory block by block; those that were never written to are left out.

    Patterns are no longer than the overlap.
    """
    for at in range(start, end, size):
        memory.seek(at)
        block = memory.read(min(size + overlap, end - at))
        if block.strip(b"\0"):
            yield block
