"""What intake did, line by line, each line sealed by the hash of the one before: a line that is taken out shows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

START = "0" * 64


class Manifest:
    """An append-only file of JSON lines; it holds digests, counts and reasons, never an identifier."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(mode=0o600)
        self._drop_torn_line()
        self.count, self.head = _tail(path)

    def _drop_torn_line(self) -> None:
        """A process that was killed while writing leaves half a line, which was never acknowledged."""
        with self._path.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 2**20))
            tail = file.read()
            if tail and not tail.endswith(b"\n"):
                file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write records; they are on disk when this returns."""
        lines = []
        for record in records:
            self.head = _chained(self.head, record)
            self.count += 1
            lines.append(json.dumps({**record, "n": self.count, "hash": self.head}, sort_keys=True, ensure_ascii=False) + "\n")
        if lines:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())


def _chained(previous: str, record: Mapping[str, Any]) -> str:
    return hashlib.sha256((previous + json.dumps(record, sort_keys=True, ensure_ascii=False)).encode()).hexdigest()


def _tail(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**20))
        lines = file.read().splitlines()
    if not lines:
        return 0, START
    last = json.loads(lines[-1])
    return last["n"], last["hash"]


def audit_manifest(path: Path) -> int | None:
    """The number of the first line that does not follow from the one before; None where the chain is whole.

    A chain that was cut at its end is whole: compare its last hash with the one the run reported.
    """
    previous = START
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            record = json.loads(line)
            count, said = record.pop("n"), record.pop("hash")
            previous = _chained(previous, record)
            if said != previous or count != number:
                return number
    return None
