"""What intake did, line by line, each line sealed by the hash of the one before.

A line that is taken out shows.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_project.lake.durable import sync_file, sync_folder

START = "0" * 64


class Manifest:
    """An append-only file of JSON lines: digests, counts and reasons, never an identifier."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(mode=0o600)
        self._drop_torn_line()
        self.count, self.head = _tail(path)

    def _drop_torn_line(self) -> None:
        """Drop half a line that a process left when it was killed while writing.

        Such a line was never acknowledged.
        """
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
            lines.append(
                json.dumps(
                    {**record, "n": self.count, "hash": self.head},
                    sort_keys=True,
                    ensure_ascii=False,
                )
                + "\n"
            )
        if lines:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
            sync_file(self._path)
            if len(lines) == self.count:
                sync_folder(self._path.parent)


def _chained(previous: str, record: Mapping[str, Any]) -> str:
    return hashlib.sha256(
        (previous + json.dumps(record, sort_keys=True, ensure_ascii=False)).encode()
    ).hexdigest()


def _tail(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**20))
        lines = file.read().splitlines()
    if not lines:
        return 0, START
    last = json.loads(lines[-1])
    return last["n"], last["hash"]


@dataclass(frozen=True)
class ManifestCheck:
    """What a manifest is worth: its records by event, its head, and the first line that breaks it.

    `broken_line` is 0 where none does; `reason` is why one does.
    """

    events: Mapping[str, int]
    head: str
    broken_line: int = 0
    reason: str = ""


def verify_manifest(path: Path, head: str = "") -> ManifestCheck:
    """Follow the chain from its first line to its last.

    1. Every line is a record with its number and its hash.
    2. The numbers count from 1 without a gap.
    3. Each hash follows from the one before and the record.
    4. `head`, where it is given (a run reports it), is the hash of one of the lines: a chain that
       was cut at its end is whole in itself.
    """
    events: Counter[str] = Counter()
    previous, met = START, head in {"", START}
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            fault, stated, event = _line_fault(line, number, previous)
            if fault:
                return ManifestCheck(events, previous, number, fault)
            previous, met = stated, met or stated == head
            events[event] += 1
    if not met:
        return ManifestCheck(
            events,
            previous,
            sum(events.values()) + 1,
            "the head that was reported is not in the chain: lines are missing at its end",
        )
    return ManifestCheck(events, previous)


def _line_fault(line: str, number: int, previous: str) -> tuple[str, str, str]:
    """What is wrong with a line (empty where nothing is), its hash, its event."""
    try:
        record = json.loads(line)
        count, stated, event = record.pop("n"), record.pop("hash"), str(record["event"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return "is not a record with event, number and hash", "", ""
    if count != number:
        return (
            f"is numbered {int(count) if isinstance(count, int) else '?'}: "
            "a line was taken out or put in before it",
            "",
            "",
        )
    if stated != _chained(previous, record):
        return (
            "its hash does not follow from the line before it and its content: "
            "one of the two was changed",
            "",
            "",
        )
    return "", stated, event


def audit_manifest(path: Path) -> int | None:
    """Number of the first line that does not follow from the one before.

    None where the chain is whole.
    """
    return verify_manifest(path).broken_line or None
