"""Several byte strings by name in one: a line of JSON with names and sizes, then the bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dagster_project.federated.refusals import UnreadableMessage

LARGEST_HEADER = 2**16
ANSWER, REFUSED = "answer", "refused"


def pack(contents: Mapping[str, bytes]) -> bytes:
    """One byte string of several.

    Examples
    --------
    >>> unpack(pack({"BJCH": b"one", "GZSM": b""}))
    {'BJCH': b'one', 'GZSM': b''}
    """
    header = [[name, len(content)] for name, content in contents.items()]
    return json.dumps(header).encode() + b"\n" + b"".join(contents.values())


def unpack(data: bytes) -> dict[str, bytes]:
    """What `pack` was given.

    Raises
    ------
    UnreadableMessage
        Where names are twice, or sizes are not those of the bytes.
    """
    line, _, rest = data.partition(b"\n")
    contents: dict[str, bytes] = {}
    start = 0
    for name, size in _header(line):
        contents[name] = rest[start : start + size]
        start += size
    if start != len(rest):
        raise UnreadableMessage
    return contents


def _header(line: bytes) -> list[tuple[str, int]]:
    if len(line) > LARGEST_HEADER:
        raise UnreadableMessage
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        raise UnreadableMessage from None
    if not isinstance(header, list) or not all(_sound(entry) for entry in header):
        raise UnreadableMessage
    if len({name for name, _ in header}) < len(header):
        raise UnreadableMessage
    return [(name, size) for name, size in header]


def _sound(entry: Any) -> bool:
    if not isinstance(entry, list) or len(entry) != 2:
        return False
    name, size = entry
    return isinstance(name, str) and type(size) is int and size >= 0
