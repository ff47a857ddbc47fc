"""Parts and sums of a round as bytes: a line of JSON, then the ciphertexts one after another."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from dagster_project.federated.refusals import UnreadableMessage
from dagster_project.federated.secure_sum import Part, Total

LARGEST_HEADER = 2**16
LARGEST_CIPHERTEXT = 2**20
"""Bytes; a ciphertext of 8,192 slots takes less than half of it."""


def part_to_bytes(part: Part) -> bytes:
    """A hospital's part as it is sent."""
    return _to_bytes({"hospital": part.hospital}, part)


def total_to_bytes(total: Total) -> bytes:
    """The sum of a round as it is sent."""
    return _to_bytes({}, total)


def part_from_bytes(data: bytes) -> Part:
    """A part as it was sent.

    Raises
    ------
    UnreadableMessage
    """
    header, ciphertexts = _split(data, {"hospital", "run", "number", "length", "sizes"})
    if not isinstance(header["hospital"], str):
        raise UnreadableMessage
    empty = Part(header["hospital"], header["run"], header["number"], header["length"], ())
    return replace(empty, ciphertexts=ciphertexts)


def total_from_bytes(data: bytes) -> Total:
    """A sum as it was sent.

    Raises
    ------
    UnreadableMessage
    """
    header, ciphertexts = _split(data, {"run", "number", "length", "sizes"})
    return Total(header["run"], header["number"], header["length"], ciphertexts)


def _to_bytes(more: dict[str, Any], message: Part | Total) -> bytes:
    sizes = [len(block) for block in message.ciphertexts]
    header = {
        "run": message.run,
        "number": message.number,
        "length": message.length,
        "sizes": sizes,
        **more,
    }
    return json.dumps(header, sort_keys=True).encode() + b"\n" + b"".join(message.ciphertexts)


def _split(data: bytes, keys: set[str]) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    """Header and ciphertexts, which have exactly the sizes that the header states."""
    line, _, rest = data.partition(b"\n")
    header = _header(line, keys)
    sizes = header["sizes"]
    if sum(sizes) != len(rest):
        raise UnreadableMessage
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    blocks = (rest[start : start + size] for start, size in zip(starts, sizes, strict=True))
    return header, tuple(blocks)


def _header(line: bytes, keys: set[str]) -> dict[str, Any]:
    if len(line) > LARGEST_HEADER:
        raise UnreadableMessage
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        raise UnreadableMessage from None
    if not isinstance(header, dict) or header.keys() != keys or not _sound(header):
        raise UnreadableMessage
    return header


def _sound(header: dict[str, Any]) -> bool:
    sizes = header["sizes"]
    numbers = [header["number"], header["length"]]
    return (
        isinstance(header["run"], str)
        and isinstance(sizes, list)
        and all(_whole(number, 2**31) for number in numbers)
        and all(_whole(size, LARGEST_CIPHERTEXT) for size in sizes)
    )


def _whole(value: object, largest: int) -> bool:
    """A whole number from 0; true and false are none."""
    return type(value) is int and 0 <= value <= largest
