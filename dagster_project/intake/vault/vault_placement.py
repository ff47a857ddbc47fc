"""Gives accepted files their place in the vault.

Finds what is a duplicate, a contradiction or a newer version of what is already there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from dagster_project.intake.dicom.examination import Examination
from dagster_project.intake.dicom.plausible_dates import MOST_DAYS_WITHIN_A_SERIES, MOST_YEARS_APART
from dagster_project.intake.dicom.text_in_pixels import TEXT_IN_SERIES
from dagster_project.intake.identity.person import (
    NOT_THE_SAME_PERSON,
    NOTHING,
    SEVERAL_PEOPLE,
    Statement,
    are_two_people,
)
from dagster_project.intake.vault.file_index import (
    ACCEPTED,
    DUPLICATE,
    RECEIVED_KEY,
    REFUSED,
    FileRow,
    ObjectRow,
    Register,
    Twin,
)
from dagster_project.intake.vault.landing import LandingFile
from dagster_project.intake.vault.process_file import Outcome, Task, scan_name
from dagster_project.lake.durable import sync_folders

SITE_READER = "SITE"
"""The reader that contours found under dicom/ count as."""

TWINS = (
    "has the identity (SOPInstanceUID, or series and lesion) of another file of this delivery "
    "and other content, and nobody can say which of them is right: none is taken in; "
    "send the right one alone"
)

TAKEN_BEFORE = (
    "has the identity (SOPInstanceUID, or series and lesion) of a file that was taken in before "
    "and other content; the earlier one stays. "
    "Take this one out, or export it anew under a UID of its own"
)


SEVERAL_PATIENTS = (
    "is of a series that this delivery brings under several patient numbers, "
    "and nobody can say whose it is: none of its images is taken in; correct the number"
)


SEVERAL_PATIENTS_OF_A_STUDY = (
    "is of a study that this delivery brings under several patient numbers, "
    "and nobody can say whose it is: none of its images is taken in; correct the number, "
    "or export each patient's study with a StudyInstanceUID of its own"
)

ANOTHER_PATIENTS_STUDY = (
    "its study belongs to another patient number; correct the number, "
    "or join the two with lakehouse keys merge where they are one person"
)

SEVERAL_DAYS = (
    f"is of a series whose images are dated more than {MOST_DAYS_WITHIN_A_SERIES} days apart, "
    "and nobody can say which belong together: none of them is taken in; "
    "send each scan as its own series, or correct the dates"
)

DATES_CONTRADICT = (
    f"(0008,0020) StudyDate and (0008,0022) AcquisitionDate lie more than {MOST_YEARS_APART} years "
    "apart, and nobody can say which is right; correct the dates and export it again"
)

OTHER_DAY = (
    f"is dated more than {MOST_DAYS_WITHIN_A_SERIES} days from the images of its series that came "
    "before; those stay. Send each scan as its own series, or correct the date"
)

TOO_OLD = (
    f"is dated more than {MOST_YEARS_APART} years before other images of its patient, "
    "so that it is no visit of the study; correct the date, or take it out"
)


@dataclass(frozen=True)
class Delivery:
    """What is being taken in: its name, and the basis for refusing files that contradict."""

    name: str
    basis: str


@dataclass(frozen=True)
class Delivered:
    """A file of the delivery folder with its task and what came of it."""

    file: LandingFile
    key: str
    task: Task
    outcome: Outcome
    before: FileRow | None
    basis: str


@dataclass
class Placed:
    """What one batch changed: records for the manifest, counts."""

    records: list[dict[str, Any]] = field(default_factory=list)
    accepted: int = 0
    unchanged: int = 0
    duplicates: int = 0
    superseded: int = 0


def place_batch(register: Register, delivered: Sequence[Delivered], delivery: Delivery) -> Placed:
    """Note a batch in the register, within the caller's transaction.

    1. A file that is refused is noted with its reason.
    2. Files of one delivery that have one identity and different content are refused, all of them,
       in whatever order they come: the first has already been taken in, and leaves the vault.
    3. So are all images of a series that one delivery brings under several patient numbers; else a
       file of a series of another patient.
       Likewise all images of a study under several patient numbers, and of a series whose dates
       lie far apart; a series that is too old beside other images of its patient leaves the vault.
    4. An object that is there with the same content is a duplicate, however the file was
       re-exported.
    5. A reader's file that changed in its place, or a mask that was renamed, is a newer version: it
       takes the place of the older.
    6. Any other object with the identity of one that an earlier delivery brought, and other
       content, is refused.
    7. Else the file gets its place; `incoming` says that its copy has not been moved there yet.
    8. So are all images of a patient number where one delivery brings those of several people
       under it, by birth date, sex, age or name; else a file of somebody else than the images that
       are there (person.py).
    9. A slice with text in its pixels refuses its series: what was taken in of it before leaves the
       vault, and what comes later is refused, for as long as the slice is what it is. When that has
       changed, the others are judged again.
    """
    placed = Placed()
    cleared = [_note_text(register, one) for one in delivered]
    if any(cleared):
        judge_series_again(register)
    for one in delivered:
        if one.outcome.unchanged and one.before is not None:
            placed.unchanged += 1
            register.put_file(_row(one, one.before.state, one.before.object))
        elif one.outcome.reason:
            _refuse(register, placed, one, one.outcome.reason)
        else:
            _place(register, placed, one, delivery)
    for series, basis in {
        one.outcome.series_instance_uid: one.basis for one in delivered if one.outcome.has_text
    }.items():
        refuse_series(register, placed, series, basis)
    return placed


def series_item(series: str, patient: str) -> str:
    """How a series is named where it is refused: by its patient and its name in every table."""
    return f"patient {patient} series {scan_name(series)}"


def judge_series_again(register: Register) -> None:
    """Slices of series in which no text is left are judged again."""
    register.judge_again(
        TEXT_IN_SERIES, [series_item(*one) for one in register.series_with_text().items()]
    )


def _note_text(register: Register, one: Delivered) -> bool:
    """Whether text that was noted of a file or its object is there no more."""
    outcome = one.outcome
    if outcome.has_text:
        register.mark_text(one.key, outcome.series_instance_uid, outcome.patient)
        return False
    return register.unmark_text(one.key, outcome.sop_instance_uid)


def refuse_series(register: Register, placed: Placed, series: str, basis: str) -> None:
    """What was taken in of a series leaves the vault."""
    item = series_item(series, register.series_with_text()[series])
    for gone in register.objects_of_series(series):
        _retract(register, placed, gone, TEXT_IN_SERIES, basis, item)


def _retract(
    register: Register,
    placed: Placed,
    gone: ObjectRow,
    reason: str,
    basis: str,
    item: str | None = None,
) -> None:
    placed.accepted -= int(register.is_fresh(gone.key))
    register.retract(gone, reason, basis, item)
    placed.records.append({"event": "retracted", "output": gone.output_digest, "reason": reason})


def same_content(noted: str, found: str) -> bool:
    """Whether two digests of content are of one object.

    1. The first part, and the second where both have one: earlier versions noted the first alone.
    2. The third, of the rest of the header, where both were written by the same rules (the fourth).

    >>> same_content("aa bb", "aa bb"), same_content("aa", "aa bb"), same_content("aa bb", "aa cc")
    (True, True, False)
    >>> same_content("aa bb c1 r1", "aa bb c2 r1"), same_content("aa bb c1 r1", "aa bb c2 r2")
    (False, True)
    """
    one, other = noted.split(), found.split()
    compared = 3 if one[3:] == other[3:] else 2
    return all(a == b for a, b in zip(one[:compared], other[:compared], strict=False))


def _row(
    one: Delivered,
    state: str,
    key: str | None,
    reason: str | None = None,
    basis: str = "",
    item: str = "",
) -> FileRow:
    item = item or one.file.item(one.outcome.digest)
    basis = basis or one.basis
    return FileRow(
        one.key,
        one.file.size,
        one.file.modified,
        one.outcome.keyed_digest,
        state,
        key,
        item,
        reason,
        basis if reason else None,
    )


def _refuse(
    register: Register, placed: Placed, one: Delivered, reason: str, item: str = ""
) -> None:
    register.put_file(
        _row(one, REFUSED, one.before.object if one.before else None, reason, item=item)
    )
    placed.records.append({"event": "refused", "input": one.outcome.digest, "reason": reason})


def _place(register: Register, placed: Placed, one: Delivered, delivery: Delivery) -> None:
    dispute = _dispute(register, one, delivery)
    if dispute:
        _refuse_all(register, placed, one, dispute, delivery)
        return
    key = _object_key(one)
    there, older = register.object(key), _older(register, one)
    contradiction = (
        _contradiction(register, one.outcome)
        or _another_day(register, one.outcome)
        or _another_person(register, one.outcome)
    )
    if contradiction:
        _refuse(register, placed, one, contradiction)
    elif one.outcome.kind == "CT" and register.has_text(one.outcome.series_instance_uid):
        _refuse(
            register,
            placed,
            one,
            TEXT_IN_SERIES,
            series_item(one.outcome.series_instance_uid, one.outcome.patient),
        )
    elif there is not None and _is_same(register, one, there):
        placed.duplicates += 1
        register.put_file(_row(one, DUPLICATE, key))
        _note_person(register, one.outcome)
        placed.records.append({"event": "duplicate", "input": one.outcome.digest})
    elif there is not None and key != older:
        _refuse(register, placed, one, TAKEN_BEFORE)
    else:
        _accept(register, placed, one, key, older)


def _is_same(register: Register, one: Delivered, there: ObjectRow) -> bool:
    """The bytes decide first: what they become hangs on the vocabulary of the day."""
    if register.came_from(there.key, one.outcome.keyed_digest):
        return True
    return same_content(there.content, one.outcome.content_digest)


@dataclass(frozen=True)
class Dispute:
    """What a file contradicts of its own delivery.

    The disputed identity, the reason, and the objects that had been made of that identity.
    """

    identity: str
    reason: str
    made: Sequence[ObjectRow] = ()


def _dispute(register: Register, one: Delivered, delivery: Delivery) -> Dispute | None:
    """The dispute that a file is part of, already known or new.

    None where it contradicts nothing of its delivery.
    """
    return (
        _dispute_about_series(register, one, delivery)
        or _dispute_about_study(register, one, delivery)
        or _dispute_about_object(register, one, delivery)
        or _dispute_about_person(register, one, delivery)
    )


def _is_of_another_patient(register: Register, outcome: Outcome) -> bool:
    """Whether a CT series that a file is of, or refers to, is another patient's."""
    series = (outcome.series_instance_uid,) if outcome.kind == "CT" else outcome.referenced_series
    return bool({register.series_patient(uid) for uid in series} - {None, outcome.patient})


def _contradicts_itself(_: Register, outcome: Outcome) -> bool:
    """Whether a file bears two dates of which one is none of its visit."""
    return not outcome.examination.is_of_one_patient()


def _is_of_another_day(register: Register, outcome: Outcome) -> bool:
    """Whether an image is dated far from those of its series."""
    before = register.examination(outcome.series_instance_uid)
    return before is not None and not before.joined(outcome.examination).is_of_one_series()


class SeriesRule(NamedTuple):
    """What the images of one series may not do: all of them are refused with the reason."""

    name: str
    reason: str
    is_broken: Callable[[Register, Outcome], bool]


SERIES_RULES = (
    SeriesRule("SERIES", SEVERAL_PATIENTS, _is_of_another_patient),
    SeriesRule("CLOCK", DATES_CONTRADICT, _contradicts_itself),
    SeriesRule("DAYS", SEVERAL_DAYS, _is_of_another_day),
)


def _dispute_about_series(register: Register, one: Delivered, delivery: Delivery) -> Dispute | None:
    """Images of one series that cannot all be right, by the first rule that one breaks."""
    if one.outcome.kind != "CT":
        return None
    found = (_series_dispute(register, one.outcome, delivery, rule) for rule in SERIES_RULES)
    return next((dispute for dispute in found if dispute), None)


def _series_dispute(
    register: Register, outcome: Outcome, delivery: Delivery, rule: SeriesRule
) -> Dispute | None:
    series = outcome.series_instance_uid
    dispute = Dispute(f"{rule.name} {series}", rule.reason)
    if _is_disputed(register, dispute.identity, delivery):
        return dispute
    if not rule.is_broken(register, outcome):
        return None
    made = register.fresh_series(series)
    # of a series that an earlier delivery brought, its images stay: _contradiction
    of_this_delivery = made or not register.objects_of_series(series)
    return replace(dispute, made=made) if of_this_delivery else None


def _dispute_about_study(register: Register, one: Delivered, delivery: Delivery) -> Dispute | None:
    """Images of one study under two patient numbers."""
    outcome = one.outcome
    if outcome.kind != "CT" or not outcome.examination.study:
        return None
    dispute = Dispute(f"STUDY {outcome.examination.study}", SEVERAL_PATIENTS_OF_A_STUDY)
    if _is_disputed(register, dispute.identity, delivery):
        return dispute
    held = register.series_of_study(outcome.examination.study)
    if not set(held.values()) - {outcome.patient}:
        return None
    fresh = [register.fresh_series(series) for series in held]
    # of a study with an earlier delivery's series, that one stays: _contradiction
    return replace(dispute, made=[row for rows in fresh for row in rows]) if all(fresh) else None


def _dispute_about_object(register: Register, one: Delivered, delivery: Delivery) -> Dispute | None:
    key = _object_key(one)
    if _is_disputed(register, key, delivery):
        return Dispute(key, TWINS)
    there = (
        register.object(key) if register.is_fresh(key) and key != _older(register, one) else None
    )
    return None if there is None or _is_same(register, one, there) else Dispute(key, TWINS, [there])


def _dispute_about_person(register: Register, one: Delivered, delivery: Delivery) -> Dispute | None:
    """Images of one delivery that name two people under one patient number."""
    outcome = one.outcome
    if outcome.kind != "CT":
        return None
    dispute = Dispute(f"PERSON {outcome.patient}", SEVERAL_PEOPLE.format(patient=outcome.patient))
    if _is_disputed(register, dispute.identity, delivery):
        return dispute
    others = _of_others(register, outcome)
    if not others:
        return None
    fresh = register.fresh_images(outcome.patient)
    # with an image of an earlier delivery among the others, that one stays: _another_person
    came = {row.series for row in fresh}
    return replace(dispute, made=fresh) if others <= came else None


def is_one_person(register: Register, patient: str) -> bool:
    """Whether the hospital has confirmed that all statements of a number are of one person."""
    return bool(register.fact(f"one person {patient}"))


def _of_others(register: Register, outcome: Outcome) -> set[str]:
    """The patient's series whose images name another person than this file.

    A series that is exported again with a corrected statement is not compared with itself, and one
    that states what was noted of it has been compared with the others.
    """
    persons = register.persons(outcome.patient)
    noted = persons.get(outcome.series_instance_uid)
    if outcome.person == NOTHING or outcome.person.stored() == noted:
        return set()
    if is_one_person(register, outcome.patient):
        return set()
    return {
        series
        for series, stated in persons.items()
        if series != outcome.series_instance_uid
        and are_two_people(Statement.of_stored(stated), outcome.person)
    }


def _another_person(register: Register, outcome: Outcome) -> str:
    """The reason where the images that are there name another person."""
    others = _of_others(register, outcome)
    return NOT_THE_SAME_PERSON.format(patient=outcome.patient) if others else ""


def _note_person(register: Register, outcome: Outcome) -> None:
    """Note what a series states; a correction lets what it contradicted be judged again."""
    series, stated = outcome.series_instance_uid, outcome.person.stored()
    if outcome.kind != "CT" or outcome.person == NOTHING:
        return
    before = register.persons(outcome.patient).get(series)
    if before == stated:
        return
    register.note_person(series, outcome.patient, stated)
    if before is not None:
        again = NOT_THE_SAME_PERSON.format(patient=outcome.patient)
        register.judge_persons_again(outcome.patient, again)


def _is_disputed(register: Register, identity: str, delivery: Delivery) -> bool:
    """Whether files contradict each other about an identity.

    Those of an earlier association lie nowhere: what comes now settles it.
    """
    twins = register.twins(identity)
    if twins and all(
        t.path.startswith(RECEIVED_KEY) and t.delivery != delivery.name for t in twins
    ):
        register.settle_twins(identity)
        return False
    return bool(twins)


def _refuse_all(
    register: Register, placed: Placed, one: Delivered, dispute: Dispute, delivery: Delivery
) -> None:
    twin = Twin(one.key, dispute.identity, one.outcome.patient, delivery.name)
    for made in dispute.made:
        register.put_twins_of(made, twin)
        _retract(register, placed, made, dispute.reason, delivery.basis)
    register.put_file(_row(one, REFUSED, None, dispute.reason, delivery.basis))
    register.put_twin(twin)
    placed.records.append(
        {"event": "refused", "input": one.outcome.digest, "reason": dispute.reason}
    )


def _older(register: Register, one: Delivered) -> str | None:
    """The contour that a reader's file held before it changed.

    Images are never replaced, since exports use names again.

    A mask that comes again under another lesion's name, after its file left the delivery folder,
    was renamed.
    """
    if not one.task.reader:
        return None
    key = one.before.object if one.before else _renamed(register, one)
    return None if key is None or key.startswith("CT ") else key


def _renamed(register: Register, one: Delivered) -> str | None:
    if one.outcome.kind != "MASK":
        return None
    return register.without_file(
        f"MASK {one.task.reader} {one.outcome.referenced_series[0]} ", one.outcome.content_digest
    )


def _contradiction(register: Register, outcome: Outcome) -> str:
    if _is_of_another_patient(register, outcome):
        return (
            "its series belongs to another patient number; correct the number"
            if outcome.kind == "CT"
            else "it refers to a CT series of another patient number; correct the number"
        )
    study = outcome.examination.study
    if study and set(register.series_of_study(study).values()) - {outcome.patient}:
        return ANOTHER_PATIENTS_STUDY
    return ""


def _another_day(register: Register, outcome: Outcome) -> str:
    """The reason where images that are there show that this date is none of a visit."""
    if _contradicts_itself(register, outcome):
        return DATES_CONTRADICT
    if outcome.kind == "CT" and _is_of_another_day(register, outcome):
        return OTHER_DAY
    others = [day for far in _far_from(register, outcome).values() for day in far.visits()]
    # an image that is newer shows that the others are too old: _retract_older
    is_newer = outcome.kind == "CT" and others and max(outcome.examination.visits()) > max(others)
    return TOO_OLD if others and not is_newer else ""


def _far_from(register: Register, outcome: Outcome) -> dict[str, Examination]:
    """The patient's series whose dates no visits of one patient have together with a file's."""
    return {
        series: other
        for series, other in register.examinations(outcome.patient).items()
        if not outcome.examination.joined(other).is_of_one_patient()
    }


def _retract_older(register: Register, placed: Placed, one: Delivered) -> None:
    """Series that a newer image shows to be too old leave the vault."""
    for series in _far_from(register, one.outcome):
        for gone in register.objects_of_series(series):
            _retract(register, placed, gone, TOO_OLD, one.basis)


def _accept(
    register: Register, placed: Placed, one: Delivered, key: str, older: str | None
) -> None:
    outcome = one.outcome
    if older is not None and register.sources(older) <= 1:
        _supersede(register, placed, older)
    if outcome.kind == "CT":
        _retract_older(register, placed, one)
    output = _output(register, one)
    series = outcome.series_instance_uid if outcome.kind == "CT" else None
    register.put_object(
        ObjectRow(
            key,
            outcome.patient,
            outcome.kind,
            series,
            outcome.content_digest,
            output,
            outcome.output_digest,
            outcome.incoming,
        )
    )
    register.put_file(_row(one, ACCEPTED, key))
    register.note_fresh(key)
    _note_person(register, outcome)
    if series is not None:
        register.note_examination(series, outcome.patient, outcome.examination)
    placed.accepted += 1
    placed.records.append(
        {
            "event": "accepted",
            "kind": outcome.kind,
            "input": outcome.digest,
            "output": outcome.output_digest,
        }
    )


def _supersede(register: Register, placed: Placed, key: str) -> None:
    old = register.object(key)
    if old is not None:
        register.drop_object(key)
        placed.superseded += 1
        register.note_leaving(old.output)
        placed.records.append({"event": "superseded", "output": old.output_digest})


def _object_key(one: Delivered) -> str:
    outcome, reader = one.outcome, one.task.reader or SITE_READER
    if outcome.kind == "CT":
        return f"CT {outcome.sop_instance_uid}"
    identity = (
        f"{outcome.referenced_series[0]} {outcome.lesion}"
        if outcome.kind == "MASK"
        else outcome.sop_instance_uid
    )
    return f"{outcome.kind} {reader} {identity}"


def _output(register: Register, one: Delivered) -> str:
    outcome, reader = one.outcome, one.task.reader or SITE_READER
    if outcome.kind == "CT":
        number = register.next_slice(outcome.series_instance_uid, outcome.patient)
        return f"{outcome.patient}/{scan_name(outcome.series_instance_uid)}/{number:04d}.dcm"
    name = (
        f"{outcome.referenced_series[0]}__{outcome.lesion}.nii.gz"
        if outcome.kind == "MASK"
        else f"{outcome.sop_instance_uid}.dcm"
    )
    return f"{outcome.patient}/contours/{reader}/{name}"


def move_into_place(register: Register, vault: Path, incoming: Path) -> None:
    """Move every noted copy to its place; after a crash the same call finishes what was begun.

    1. A copy that is neither incoming nor in place was lost with the crash: it is forgotten, and
       its file is read again.
    2. The names in each folder are on the disk before the register says that the copies are in
       place. Where nothing left, that it says with the batch that follows, or at the end
       (`Register.settle`): a copy that is in its place already is left there.
    """
    changed, lost, leaving = set[Path](), [], register.leaving()
    for output in leaving:
        changed.add(_remove(vault / output))
    for row in register.pending():
        source, target = incoming / str(row.incoming), vault / row.output
        if source.exists():
            changed |= _make_folder(vault, target.parent)
            source.replace(target)
            changed.add(target.parent)
        elif not target.exists():
            lost.append(row.key)
    sync_folders(changed)
    if lost or leaving:
        with register.transaction():
            for key in lost:
                register.drop_object(key)
            register.settle()


def _remove(file: Path) -> Path:
    """Remove a file, and with the last one the folder of its scan.

    Gives the folder in which a name is gone.
    """
    file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty, or gone before
        file.parent.rmdir()
    return next(folder for folder in file.parents if folder.is_dir())


def _make_folder(vault: Path, folder: Path) -> set[Path]:
    """Make a folder of the vault; the folders in which a name is new."""
    if folder == vault or folder.is_dir():
        return set()
    changed = _make_folder(vault, folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    return {*changed, folder.parent}
