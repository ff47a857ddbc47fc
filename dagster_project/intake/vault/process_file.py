"""One file of the delivery folder, from its bytes to its de-identified copy.

This is what a worker does, and all that a worker needs for it.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

from pydicom.tag import Tag

from dagster_project.intake.case_report.other_formats import other_format
from dagster_project.intake.dicom.deidentification import Clean, Source, deidentify, open_source
from dagster_project.intake.dicom.dicom_writer import Person, keyed_uid
from dagster_project.intake.dicom.examination import NO_EXAMINATION, Examination
from dagster_project.intake.dicom.identifiers import Needles, plain_text
from dagster_project.intake.dicom.mask_files import (
    MaskName,
    clean_mask,
    is_mask_file,
    read_mask_name,
)
from dagster_project.intake.dicom.numbering import HEAD_BYTES, NO_NUMBERS, Head, Numbers, read_head
from dagster_project.intake.dicom.text_allowlist import clean_label
from dagster_project.intake.dicom.text_in_pixels import TEXT
from dagster_project.intake.identity.keys import Keys
from dagster_project.intake.identity.person import NOTHING, Statement, state
from dagster_project.intake.identity.pseudonyms import (
    PSEUDONYM,
    SCIENTIFIC,
    TOO_LONG,
    Crosswalk,
    IssuerConflictError,
    canonical_number,
    number_fault,
    shift_days,
)
from dagster_project.intake.identity.session import Session
from dagster_project.intake.opening import (
    NotOpenedError,
    file_digest,
    read_beginning,
    read_delivered,
)
from dagster_project.intake.refusals import RefusedError

TOO_MUCH = "damaged: reading it takes too long or too much memory; export the file again"

CONSENT_CONTRADICTORY = (
    "consent is given in one row of the case report and withdrawn in another; "
    "correct one of them, or run lakehouse withdraw"
)

DATE_TAGS = (Tag(0x00080022), Tag(0x00080021), Tag(0x00080020))
"""AcquisitionDate, else SeriesDate, else StudyDate: the date of a scan."""

SEX, AGE, STUDY_DATE = Tag(0x00100040), Tag(0x00101010), Tag(0x00080020)


@dataclass(frozen=True)
class Task:
    """One file: its path, its place of delivery, and its keyed digest when it was last read.

    `root` is the site's folder, out of which no link leads; by default the file's own folder.

    `number_only` requests nothing but the patient number that it bears, `head_only` for its place
    in its study. `numbers` are those that it gets in place of its own SeriesNumber and
    AcquisitionNumber.

    What came by the network lies nowhere: `data` are its bytes, and nobody writes them.
    """

    path: str
    place: str
    known_digest: str = ""
    root: str = ""
    data: bytes | None = field(default=None, repr=False)
    number_only: bool = False
    head_only: bool = False
    numbers: Numbers = NO_NUMBERS

    def digest(self) -> str:
        """SHA-256; empty where the file cannot be read."""
        return (
            file_digest(Path(self.path), self.folder)
            if self.data is None
            else hashlib.sha256(self.data).hexdigest()
        )

    @property
    def folder(self) -> Path:
        """The folder that the file has to lie in."""
        return Path(self.root) if self.root else Path(self.path).parent

    @property
    def reader(self) -> str:
        """The reader whose folder it lies in; empty for dicom/."""
        return self.place.removeprefix("reads/") if self.place.startswith("reads/") else ""


@dataclass(frozen=True)
class Outcome:
    """What came of one file: a copy in the incoming folder, or the reason why there is none.

    `failure` says that nothing can be written here (no space left): no verdict on the file, and the
    run ends. `is_stranger` says that the session lacks the patient of `number`: no verdict either.
    """

    digest: str
    keyed_digest: str
    unchanged: bool = False
    reason: str = ""
    waits_for: str = ""
    failure: str = ""
    patient: str = ""
    kind: str = ""
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    referenced_series: tuple[str, ...] = ()
    lesion: str = ""
    content_digest: str = ""
    incoming: str = ""
    output_digest: str = ""
    has_text: bool = False
    person: Statement = field(default=NOTHING, repr=False)
    examination: Examination = NO_EXAMINATION
    actions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    number: str = field(default="", repr=False)
    is_stranger: bool = False
    head: Head | None = field(default=None, repr=False)


def scan_name(keyed_series_uid: str) -> str:
    """Short name of a CT series: S and 16 characters, from its keyed SeriesInstanceUID.

    >>> scan_name("2.25.1")
    'SJGY3ANOCZ55KOU26'
    """
    return "S" + base64.b32encode(hashlib.sha256(keyed_series_uid.encode()).digest()[:10]).decode()


def take_file(session: Session, task: Task) -> Outcome:
    """Read, judge and de-identify one file; a file that is refused leaves nothing behind.

    1. Bytes that were read before under this name are not looked at again.
    2. The patient is that of the header (issuer | PatientID); of a mask, or of a contour without
       PatientID, that of its series.
    3. The copy is written to the incoming folder; the caller gives it its place.

    For a task that needs the number alone nothing else is done, and the number stays in memory.
    """
    if task.head_only:
        return Outcome("", "", head=_head(session, task))
    try:
        data = read_delivered(Path(task.path), task.folder) if task.data is None else task.data
    except NotOpenedError as fault:
        return Outcome("", "", reason=fault.reason, waits_for="next_run")
    return _taken(session, task, data)


def _taken(session: Session, task: Task, data: bytes) -> Outcome:
    path = Path(task.path)
    if task.number_only:
        return Outcome("", "", number=_number_in(data))
    digest = hashlib.sha256(data).hexdigest()
    keyed_digest = session.keys.digest("file", digest)
    if keyed_digest == task.known_digest:
        return Outcome(digest, keyed_digest, unchanged=True)
    try:
        if task.reader and is_mask_file(path.name):
            return _mask(session, path, digest, keyed_digest)
        other = other_format(path.name, data, mask=is_mask_file(path.name))
        if other is not None:
            raise RefusedError(other)
        return _dicom(session, data, digest, keyed_digest, task.numbers)
    except MemoryError:
        raise
    except Exception as error:
        return _fault(error, digest, keyed_digest)


def _head(session: Session, task: Task) -> Head | None:
    """Of a DICOM image alone; a head that is longer than usual is looked for in the whole file."""
    if task.reader and is_mask_file(Path(task.path).name):
        return None
    keyed = partial(keyed_uid, key=session.keys.uid)
    try:
        data = (
            read_beginning(Path(task.path), task.folder, HEAD_BYTES)
            if task.data is None
            else task.data
        )
        head = read_head(data, keyed)
        longer = head is None and task.data is None and len(data) == HEAD_BYTES
        return read_head(read_delivered(Path(task.path), task.folder), keyed) if longer else head
    except NotOpenedError:
        return None


def _number_in(data: bytes) -> str:
    """The patient number of a file that was taken in before, in its canonical spelling.

    Empty where it bears none.
    """
    try:
        return canonical_number(open_source(data).identity.number)
    except MemoryError:
        raise
    except Exception:  # what cannot be read any more bears no number
        return ""


def _fault(error: Exception, digest: str, keyed_digest: str) -> Outcome:
    """A refusal with its reason, or a failure where it is not the file that is at fault."""
    if isinstance(error, RefusedError):
        return Outcome(digest, keyed_digest, reason=error.reason, waits_for=error.waits_for)
    if isinstance(error, _StrangerError):
        return Outcome(digest, keyed_digest, number=error.number, is_stranger=True)
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return Outcome(digest, keyed_digest, reason=TOO_MUCH, waits_for="next_run")
    if isinstance(error, (OSError, sqlite3.Error)):
        return Outcome(
            digest,
            keyed_digest,
            failure=(
                f"vault or crosswalk cannot be written ({type(error).__name__}); "
                "free space or mend the disk, then run again"
            ),
        )
    if isinstance(error, RecursionError):
        return Outcome(
            digest,
            keyed_digest,
            reason="damaged: sequences are nested too deep; export the file again",
        )
    return Outcome(
        digest,
        keyed_digest,
        reason=f"damaged: cannot be read ({type(error).__name__}); export the file again",
    )


def _dicom(
    session: Session, data: bytes, digest: str, keyed_digest: str, numbers: Numbers
) -> Outcome:
    source = open_source(data)
    _check_date(session, source)
    patient = _patient(session, source)
    clean = deidentify(source, _person(session, patient, numbers))
    if clean.has_text:
        return _with_text(clean, patient, digest, keyed_digest)
    name = f"{secrets.token_hex(16)}.dcm"
    _write(Path(session.incoming) / name, clean.data)
    stated = _statement(session, source, patient)
    return replace(_accepted(clean, patient, digest, keyed_digest, name), person=stated)


def _statement(session: Session, source: Source, patient: str) -> Statement:
    """What a file states of its patient beside the number; nothing without a number of its own."""
    if not source.identity.number:
        return NOTHING
    return state(
        session.keys,
        patient,
        name=source.identity.name,
        birth_date=source.identity.birth_date,
        sex=plain_text(source.dataset, SEX),
        age=plain_text(source.dataset, AGE),
        day=plain_text(source.dataset, STUDY_DATE),
    )


def _with_text(clean: Clean, patient: str, digest: str, keyed_digest: str) -> Outcome:
    """The outcome of a slice with text in its pixels.

    No copy is written, and its series is named, since no slice of it stays.
    """
    return Outcome(
        digest,
        keyed_digest,
        reason=TEXT,
        has_text=True,
        patient=patient,
        kind=clean.kind,
        sop_instance_uid=clean.sop_instance_uid,
        series_instance_uid=clean.series_instance_uid,
    )


def _accepted(clean: Clean, patient: str, digest: str, keyed_digest: str, name: str) -> Outcome:
    return Outcome(
        digest,
        keyed_digest,
        patient=patient,
        kind=clean.kind,
        sop_instance_uid=clean.sop_instance_uid,
        series_instance_uid=clean.series_instance_uid,
        referenced_series=clean.referenced_series,
        content_digest=clean.content_digest,
        incoming=name,
        output_digest=hashlib.sha256(clean.data).hexdigest(),
        examination=clean.examination,
        actions=clean.actions,
    )


def _mask(session: Session, path: Path, digest: str, keyed_digest: str) -> Outcome:
    named: MaskName = read_mask_name(path.name)
    series = keyed_uid(named.series_instance_uid, session.keys.uid)
    patient = session.series_patients.get(series)
    if patient is None:
        raise RefusedError(
            "the CT series of this mask is not in the vault; send its images under dicom/",
            waits_for="series",
        )
    _check_consent(session, patient)
    data, content_digest = clean_mask(path, named.lesion)
    lesion = clean_label(named.lesion, key=session.keys.uid, target=session.target).replace(
        "/", "-"
    )
    name = f"{secrets.token_hex(16)}.nii.gz"
    _write(Path(session.incoming) / name, data)
    return Outcome(
        digest,
        keyed_digest,
        patient=patient,
        kind="MASK",
        referenced_series=(series,),
        lesion=lesion,
        content_digest=content_digest,
        incoming=name,
        output_digest=hashlib.sha256(data).hexdigest(),
    )


def _check_date(session: Session, source: Source) -> None:
    """Refuse an image of a day after the data cut-off.

    A clock that is wrong would become the date of a visit.
    """
    stated = (
        [plain_text(source.dataset, tag).replace(".", "") for tag in DATE_TAGS]
        if source.kind == "CT"
        else []
    )
    filled = [text for text in stated if re.fullmatch(r"\d{8}", text)]
    if filled and filled[0] > session.cut_off.strftime("%Y%m%d"):
        raise RefusedError(
            "is dated after the data cut-off; "
            "correct its dates where it was made, and export it again",
            waits_for="next_run",
        )


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _person(session: Session, patient: str, numbers: Numbers) -> Person:
    needles = session.needles.get(patient, Needles())
    return Person(
        patient,
        shift_days(session.keys, patient),
        session.keys.uid,
        session.target,
        needles,
        numbers,
    )


class _StrangerError(Exception):
    """The session does not know of the patient with this number."""

    def __init__(self, number: str) -> None:
        super().__init__()
        self.number = number


def _patient(session: Session, source: Source) -> str:
    number = canonical_number(source.identity.number)
    if session.numbers is not None and number not in session.numbers:
        raise _StrangerError(number)
    patient = _by_number(session, source) if source.identity.number else _by_series(session, source)
    _check_consent(session, patient)
    return patient


def _check_consent(session: Session, patient: str) -> None:
    if patient in session.withdrawn:
        raise RefusedError(
            "consent is withdrawn; take the patient's files out of the delivery folder",
            waits_for="consent",
        )
    if patient in session.unclear:
        raise RefusedError(CONSENT_CONTRADICTORY, waits_for="consent")


def _by_number(session: Session, source: Source) -> str:
    fault = number_fault(source.identity.number)
    if fault in {SCIENTIFIC, PSEUDONYM, TOO_LONG}:
        raise RefusedError(f"PatientID (0010,0020) {fault}")
    try:
        patient = _pseudonym(
            session.run,
            session.crosswalk,
            session.keys,
            session.site,
            source.identity.number,
            source.identity.issuer,
        )
    except IssuerConflictError as error:
        raise RefusedError(str(error), waits_for="next_run") from error
    if patient not in session.withdrawn:
        _remember(
            session.run,
            session.crosswalk,
            session.keys,
            patient,
            source.identity.name,
            source.identity.birth_date,
        )
    return patient


def _by_series(session: Session, source: Source) -> str:
    """The patient of a contour without PatientID: the one whose series it refers to."""
    if source.kind == "CT":
        raise RefusedError(
            "PatientID (0010,0020) is empty: nobody can say whose image this is; "
            "export it with its patient"
        )
    referenced = _referenced(source, session)
    patients = {
        session.series_patients[uid] for uid in referenced if uid in session.series_patients
    }
    if len(patients) != 1:
        raise RefusedError(
            "PatientID (0010,0020) is empty and the CT series that it refers to is not in the "
            "vault; send the series",
            waits_for="series",
        )
    return patients.pop()


def _referenced(source: Source, session: Session) -> set[str]:
    """Keyed UIDs of the series a contour refers to (RT Referenced Series, Referenced Series)."""
    dataset = source.dataset
    series = [
        s
        for f in dataset.get("ReferencedFrameOfReferenceSequence") or []
        for study in f.get("RTReferencedStudySequence") or []
        for s in study.get("RTReferencedSeriesSequence") or []
    ] + list(dataset.get("ReferencedSeriesSequence") or [])
    return {keyed_uid(str(s.get("SeriesInstanceUID", "")), session.keys.uid) for s in series}


@lru_cache(maxsize=4096)
def _pseudonym(_run: str, crosswalk: str, keys: Keys, site: str, number: str, issuer: str) -> str:
    """The patient of a hospital number."""
    return Crosswalk(Path(crosswalk), keys).find_or_create(site, number, issuer)


@lru_cache(maxsize=4096)
def _remember(
    _run: str, crosswalk: str, keys: Keys, patient: str, name: str, birth_date: str
) -> None:
    if name or birth_date:
        Crosswalk(Path(crosswalk), keys).remember(patient, {"name": name, "birth_date": birth_date})
