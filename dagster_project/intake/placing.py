"""Where an accepted file goes in the vault, and what is a duplicate, a contradiction or a newer version of what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dagster_project.intake.files import Outcome, Task, scan_name
from dagster_project.intake.landing import LandingFile
from dagster_project.intake.register import ACCEPTED, DUPLICATE, REFUSED, FileRow, ObjectRow, Register

SITE_READER = "SITE"
"""The reader that contours found under dicom/ count as."""


@dataclass(frozen=True)
class Delivered:
    """A file of the landing with its task and what came of it."""

    file: LandingFile
    key: str
    task: Task
    outcome: Outcome
    before: FileRow | None
    basis: str


@dataclass
class Placed:
    """What one batch changed: records for the manifest, files to remove, counts."""

    records: list[dict[str, Any]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    accepted: int = 0
    unchanged: int = 0
    duplicates: int = 0
    superseded: int = 0


def place_batch(register: Register, delivered: Sequence[Delivered]) -> Placed:
    """Note a batch in the register, within the caller's transaction.

    1. A file that is refused is noted with its reason.
    2. An object that is there with the same content is a duplicate, however the file was re-exported.
    3. A reader's file that changed in its place, or a mask that was renamed, is a newer version: it takes the place of the older.
    4. Any other object with the same identity and other content, or a series of another patient, is refused.
    5. Else the file gets its place; `incoming` says that its copy has not been moved there yet.
    """
    placed = Placed()
    for one in delivered:
        if one.outcome.unchanged and one.before is not None:
            placed.unchanged += 1
            register.put_file(_row(one, one.before.state, one.before.object))
        elif one.outcome.reason:
            _refuse(register, placed, one, one.outcome.reason)
        else:
            _place(register, placed, one)
    return placed


def same_content(noted: str, found: str) -> bool:
    """Whether two digests of content are of one object: an object noted by an earlier version has no second part.

    >>> same_content("aa bb", "aa bb"), same_content("aa", "aa bb"), same_content("aa bb", "aa cc")
    (True, True, False)
    """
    return found == noted or found.partition(" ")[0] == noted


def _row(one: Delivered, state: str, key: str | None, item: str | None = None, reason: str | None = None) -> FileRow:
    return FileRow(one.key, one.file.size, one.file.modified, one.outcome.keyed_digest, state, key, item, reason, one.basis if reason else None)


def _refuse(register: Register, placed: Placed, one: Delivered, reason: str) -> None:
    item = one.file.item(one.outcome.digest)
    register.put_file(_row(one, REFUSED, one.before.object if one.before else None, item, reason))
    placed.records.append({"event": "refused", "input": one.outcome.digest, "reason": reason})


def _place(register: Register, placed: Placed, one: Delivered) -> None:
    key = _object_key(one)
    contradiction = _contradiction(register, one.outcome)
    there = register.object(key)
    older = _older(register, one)
    if contradiction:
        _refuse(register, placed, one, contradiction)
    elif there is not None and same_content(there.content, one.outcome.content_digest):
        placed.duplicates += 1
        register.put_file(_row(one, DUPLICATE, key))
        placed.records.append({"event": "duplicate", "input": one.outcome.digest})
    elif there is not None and key != older:
        _refuse(register, placed, one, "same identity (SOPInstanceUID, or series and lesion), other content than a file taken in before; send the right one alone")
    else:
        _accept(register, placed, one, key, older)


def _older(register: Register, one: Delivered) -> str | None:
    """The contour that a reader's file held before it changed; images are never replaced, since exports use names again.

    A mask whose file left the landing and that comes again under another lesion's name was renamed.
    """
    if not one.task.reader:
        return None
    key = one.before.object if one.before else _renamed(register, one)
    return None if key is None or key.startswith("CT ") else key


def _renamed(register: Register, one: Delivered) -> str | None:
    if one.outcome.kind != "MASK":
        return None
    return register.without_file(f"MASK {one.task.reader} {one.outcome.referenced_series[0]} ", one.outcome.content_digest)


def _contradiction(register: Register, outcome: Outcome) -> str:
    series = (outcome.series_instance_uid,) if outcome.kind == "CT" else outcome.referenced_series
    others = {register.series_patient(uid) for uid in series} - {None, outcome.patient}
    if not others:
        return ""
    return ("its series belongs to another patient number; correct the number" if outcome.kind == "CT"
            else "it refers to a CT series of another patient number; correct the number")


def _accept(register: Register, placed: Placed, one: Delivered, key: str, older: str | None) -> None:
    outcome = one.outcome
    if older is not None and register.sources(older) <= 1:
        _supersede(register, placed, older)
    output = _output(register, one)
    series = outcome.series_instance_uid if outcome.kind == "CT" else None
    register.put_object(ObjectRow(key, outcome.patient, outcome.kind, series, outcome.content_digest, output, outcome.output_digest, outcome.incoming))
    register.put_file(_row(one, ACCEPTED, key))
    placed.accepted += 1
    placed.records.append({"event": "accepted", "kind": outcome.kind, "input": outcome.digest, "output": outcome.output_digest})


def _supersede(register: Register, placed: Placed, key: str) -> None:
    old = register.object(key)
    if old is not None:
        register.drop_object(key)
        placed.superseded += 1
        placed.removed.append(old.output)
        placed.records.append({"event": "superseded", "output": old.output_digest})


def _object_key(one: Delivered) -> str:
    outcome, reader = one.outcome, one.task.reader or SITE_READER
    if outcome.kind == "CT":
        return f"CT {outcome.sop_instance_uid}"
    identity = f"{outcome.referenced_series[0]} {outcome.lesion}" if outcome.kind == "MASK" else outcome.sop_instance_uid
    return f"{outcome.kind} {reader} {identity}"


def _output(register: Register, one: Delivered) -> str:
    outcome, reader = one.outcome, one.task.reader or SITE_READER
    if outcome.kind == "CT":
        number = register.next_slice(outcome.series_instance_uid, outcome.patient)
        return f"{outcome.patient}/{scan_name(outcome.series_instance_uid)}/{number:04d}.dcm"
    name = f"{outcome.referenced_series[0]}__{outcome.lesion}.nii.gz" if outcome.kind == "MASK" else f"{outcome.sop_instance_uid}.dcm"
    return f"{outcome.patient}/contours/{reader}/{name}"


def move_into_place(register: Register, vault: Path, incoming: Path, removed: Sequence[str] = ()) -> None:
    """Move every noted copy to its place; after a crash the same call finishes what was begun.

    A copy that is neither incoming nor in place was lost with the crash: it is forgotten, and its file is read again.
    """
    for output in removed:
        (vault / output).unlink(missing_ok=True)
    lost = []
    for row in register.pending():
        source, target = incoming / str(row.incoming), vault / row.output
        if source.exists():
            _make_folder(vault, target.parent)
            source.replace(target)
        elif not target.exists():
            lost.append(row.key)
    with register.transaction():
        for key in lost:
            register.drop_object(key)
        register.settle()


def _make_folder(vault: Path, folder: Path) -> None:
    if not folder.is_dir():
        if folder != vault:
            _make_folder(vault, folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
