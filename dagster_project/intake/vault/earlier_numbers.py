"""Gives a vault of an earlier version the numbers that intake gives now.

Such a vault was filled before SeriesNumber and AcquisitionNumber were counted anew.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dagster_project.intake.dicom.allowlists import CT
from dagster_project.intake.dicom.dicom_writer import PLACING, digest_of_values, is_count
from dagster_project.intake.dicom.numbering import (
    ACQUISITION_NUMBER,
    INSTANCE_NUMBER,
    NO_NUMBERS,
    SERIES_NUMBER,
    Head,
    Numbers,
    count_anew,
    read_head,
    values_of,
    with_numbers,
)
from dagster_project.intake.vault.file_index import ObjectRow, Register
from dagster_project.intake.vault.manifest import Manifest
from dagster_project.intake.vault.vault_placement import move_into_place
from dagster_project.lake.durable import sync_file, sync_folder
from dagster_project.lake.interruption import uninterrupted

COUNTED, COUNTED_UP_TO = "numbers", "numbers_up_to"
"""Facts of the register: by which rule the vault's numbers are counted, up to which object."""

RULE = "1"
OBJECTS_AT_ONCE = 200


def count_earlier(
    register: Register, vault: Path, incoming: Path, manifest: Manifest, key: bytes
) -> int:
    """Give every file of the vault the numbers that it would get if it came now.

    Returns how many files are written anew.

    1. Nothing is read where it was done before, or the vault is empty.
    2. Images are numbered by the numbers that stand in their files, contours as any contour.
    3. So many objects at once go by the incoming folder, as new ones do: what is cut short is
       finished by the next run, from the object where it ended.
    """
    if register.fact(COUNTED) == RULE:
        return 0
    done = register.fact(COUNTED_UP_TO)
    waiting = [
        row
        for row in register.images_and_contours()
        if row.key > done and (vault / row.output).is_file()
    ]
    scans = ((row.key, _head(vault / row.output)) for row in waiting if row.kind == "CT")
    heads: dict[Hashable, Head] = {key: head for key, head in scans if head is not None}
    with register.transaction():
        numbers = count_anew(register, heads, key)
    for start in range(0, len(waiting), OBJECTS_AT_ONCE):
        part = waiting[start : start + OBJECTS_AT_ONCE]
        with uninterrupted():
            made = [
                _written(row, numbers.get(row.key, NO_NUMBERS), vault, incoming) for row in part
            ]
            sync_folder(incoming)
            _exchange(register, manifest, part, made)
            move_into_place(register, vault, incoming)
            register.settle()
    register.remember(COUNTED, RULE)
    return len(waiting)


def _exchange(
    register: Register, manifest: Manifest, former: Sequence[ObjectRow], made: Sequence[ObjectRow]
) -> None:
    """Write the manifest first, then the register.

    A line of what was not exchanged in the end is written once more, the same.
    """
    pairs = zip(former, made, strict=True)
    manifest.append(
        {"event": "renumbered", "former": old.output_digest, "output": new.output_digest}
        for old, new in pairs
    )
    with register.transaction():
        for row in made:
            register.put_object(row)
        register.remember(COUNTED_UP_TO, former[-1].key)


def _head(file: Path) -> Head | None:
    """UIDs of the vault are keyed already."""
    return read_head(file.read_bytes(), str)


def _written(row: ObjectRow, numbers: Numbers, vault: Path, incoming: Path) -> ObjectRow:
    data = (vault / row.output).read_bytes()
    new = with_numbers(
        data, dict(_values(row.kind, numbers, values_of(data).get("InstanceNumber", b"")))
    )
    name = f"{secrets.token_hex(16)}.dcm"
    (incoming / name).write_bytes(new)
    (incoming / name).chmod(0o600)
    sync_file(incoming / name)
    content = row.content.split()
    if row.kind == "CT" and len(content) > 1:
        content = [content[0], digest_of_values(values_of(new), PLACING[CT])]
    return replace(
        row, content=" ".join(content), output_digest=hashlib.sha256(new).hexdigest(), incoming=name
    )


def _values(kind: str, numbers: Numbers, instance: bytes) -> Iterator[tuple[int, bytes]]:
    if kind == "CT":
        yield SERIES_NUMBER, b"" if numbers.series is None else str(numbers.series).encode()
        yield (
            ACQUISITION_NUMBER,
            b"" if numbers.acquisition is None else str(numbers.acquisition).encode(),
        )
        yield INSTANCE_NUMBER, instance if instance and is_count(int(instance)) else b""
    else:
        yield SERIES_NUMBER, b"1" if kind == "SEG" else b""
        yield INSTANCE_NUMBER, b"1"
