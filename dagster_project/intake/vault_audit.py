"""An independent look at the vault: bytes are walked by code that shares nothing with what wrote them, and everything that could tell a person is reported."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import struct
import subprocess
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
KNOWN = LONG | {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
TEXTS = frozenset({b"AE", b"CS", b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UR", b"UT"})
NUMBERS = frozenset({b"DS", b"IS"})
UNDEFINED = 0xFFFFFFFF
IMPLICIT = b"1.2.840.10008.1.2"
DEEPEST = 16
PIXELS = 0x7FE00010

NEVER = {
    0x00080014: "InstanceCreatorUID", 0x00080080: "InstitutionName", 0x00080081: "InstitutionAddress", 0x00080092: "ReferringPhysicianAddress",
    0x00081010: "StationName", 0x00081030: "StudyDescription", 0x0008103E: "SeriesDescription", 0x00081048: "PhysiciansOfRecord",
    0x00081050: "PerformingPhysicianName", 0x00081070: "OperatorsName", 0x00101000: "OtherPatientIDs", 0x00101001: "OtherPatientNames",
    0x00101040: "PatientAddress", 0x00102154: "PatientTelephoneNumbers", 0x00104000: "PatientComments", 0x00181000: "DeviceSerialNumber",
    0x00181030: "ProtocolName", 0x00204000: "ImageComments", 0x00400275: "RequestAttributesSequence", 0x30060004: "StructureSetName",
    0x300600A6: "ROIInterpreter",
}
"""Elements that no file of a vault may hold with a value; a second list, kept apart from the allowlists on purpose."""

EMPTY = {0x00080050: "AccessionNumber", 0x00080090: "ReferringPhysicianName", 0x00100030: "PatientBirthDate", 0x00200010: "StudyID", 0x00080030: "StudyTime"}
"""Elements that stand in a file only without a value."""

PERSON = {0x00100010: "PatientName", 0x00100020: "PatientID"}
IDENTITY_REMOVED, DATES_MODIFIED = 0x00120062, 0x00280303
OWN_UIDS = {0x00080018, 0x0020000D, 0x0020000E, 0x00200052}

OWN_WORDS = frozenset({
    "yes", "no", "modified", "original", "primary", "axial", "derived", "iso_ir", "annex", "basic", "profile", "allowlist", "application", "confidentiality",
    "option", "retain", "longitudinal", "temporal", "information", "dates", "patient", "characteristics", "clean", "descriptors", "by",
})

_WORD = re.compile(r"[A-Za-z]+|[\u4e00-\u9fff]+")

VOCABULARIES = Path(__file__).with_name("dicom_texts.toml")
"""The words that may stay in a header: read here as data, by none of the code that writes."""

MODEL = 0x00081090
LABELS = frozenset({0x30060026, 0x30060085, 0x00620005, 0x00620020})
"""ROIName, ROIObservationLabel, SegmentLabel, TrackingID."""

NAME = re.compile(r"[A-Z][a-z]+\^[A-Z]?[A-Za-z]*|\b[A-Z][a-z]{2,} [A-Z][a-z]{2,}(?: [A-Z][a-z]+)?\b|[\u4e00-\u9fff]{2,}")
"""Two capitalised words, a caret, or Chinese characters."""

LONG_NUMBER = re.compile(r"(?<![\d.])\d{7,18}[Xx]?(?![\d.])")
"""Hospital, accession, telephone and identity numbers."""

CODES = frozenset({
    "49755003", "4147007", "27925004", "108369006", "86049000", "126713003", "39607008", "123037004", "113100", "113105", "113107", "113108", "85756007", "52988006",
    "91723000", "14799000", "59441001", "10200004", "272673000", "421060004",
})
"""SNOMED CT and DCM codes that lesions and the profile are coded with; any other long number in a code is told."""

EARLIEST = dt.date(1990, 1, 1)
MOST_YEARS_APART = 15
"""Visits of one patient lie within a few years; dates that were shifted by different amounts do not."""

DATES_OF_VISITS = {0x00080020: "StudyDate", 0x00080022: "AcquisitionDate"}
"""Dates that are compared: an outline may be drawn, and a slice written anew, decades after the visit."""

WORD_IN_PIXELS = re.compile(r"[A-Za-z\u4e00-\u9fff]{4,}|\d{6,}")
OCR_CONFIDENCE = 80.0


class Element(NamedTuple):
    """An element as it lies in the bytes."""

    path: str
    tag: int
    vr: bytes
    value: bytes


class UnwalkableError(Exception):
    """The bytes are not a sequence of elements."""


@dataclass
class Audit:
    """What was looked at, and what was found: finding, place in the vault, element."""

    files: int = 0
    elements: int = 0
    pictures: int = 0
    ocr: bool = False
    findings: list[tuple[str, str, str]] = field(default_factory=list)

    def find(self, what: str, where: str, element: str = "") -> None:
        """Note a finding; never with the value."""
        self.findings.append((what, where, element))

    def counts(self) -> Counter[str]:
        """Findings by kind."""
        return Counter(what for what, _, _ in self.findings)


@dataclass
class _Seen:
    """What is compared over files."""

    owner: dict[bytes, str] = field(default_factory=dict)
    dates: dict[str, set[dt.date]] = field(default_factory=lambda: defaultdict(set))


def audit_vault(vault: Path, *, ocr: bool = True, site: str = "*", since: int = 0) -> Audit:
    """Re-read every file of a vault; of one site, and changed after a moment (nanoseconds), where they are given.

    1. Every file walks from its first element to its last byte; group 2 is fresh and the preamble zero; no private element.
    2. None of the elements that must not be there is there; those that must be empty are; PatientName = PatientID = the folder's name.
    3. No UID belongs to two patients, and none has the root of anybody but the standard and 2.25.
    4. Dates are days of the calendar, not in the future, and a patient's visits lie within a few years.
    5. No text looks like a name or a long number.
    6. Where tesseract is installed: no words stand in the pixels of three slices a series.
    """
    audit, seen = Audit(ocr=ocr and shutil.which("tesseract") is not None), _Seen()
    for file in (f for f in sorted(vault.glob(f"{site}/*/**/*.dcm")) if f.stat().st_ctime_ns > since):
        patient = file.relative_to(vault).parts[1]
        audit.files += 1
        _audit_file(audit, seen, file, patient, str(file.relative_to(vault)))
    for patient, dates in sorted(seen.dates.items()):
        if (max(dates) - min(dates)).days > 365 * MOST_YEARS_APART:
            audit.find("dates far apart", patient)
    if audit.ocr:
        _audit_pictures(audit, vault, site)
    return audit


def _audit_file(audit: Audit, seen: _Seen, file: Path, patient: str, where: str) -> None:
    data = file.read_bytes()
    try:
        elements = list(walk(data))
    except UnwalkableError:
        audit.find("cannot be walked", where)
        return
    audit.elements += len(elements)
    if any(data[:128]):
        audit.find("preamble is not empty", where)
    top = {e.tag: e for e in elements if "." not in e.path}
    for tag in PERSON:
        if tag not in top or _text(top[tag]) != patient:
            audit.find("is not of the folder's patient", where, _name(tag))
    if IDENTITY_REMOVED not in top or _text(top[IDENTITY_REMOVED]) != "YES" or DATES_MODIFIED not in top:
        audit.find("does not say that it is de-identified", where)
    for element in elements:
        _audit_element(audit, seen, element, patient, where)


def _audit_element(audit: Audit, seen: _Seen, element: Element, patient: str, where: str) -> None:
    if (element.tag >> 16) % 2:
        audit.find("private element", where, element.path)
    if element.value.strip(b" \0") not in {b"", b"REMOVED"} and element.tag in {**NEVER, **EMPTY}:
        audit.find("element that must not be there", where, element.path)
    if element.vr == b"UI":
        _audit_uid(audit, seen, element, patient, where)
    elif element.vr == b"DA":
        _audit_date(audit, seen, element, patient, where)
    elif element.vr in TEXTS or element.vr in NUMBERS:
        _audit_text(audit, element, patient, where)


def _audit_uid(audit: Audit, seen: _Seen, element: Element, patient: str, where: str) -> None:
    uid = element.value.strip(b" \0")
    if uid.startswith(b"2.25."):
        if element.tag in OWN_UIDS and seen.owner.setdefault(uid, patient) != patient:
            audit.find("UID of two patients", where, element.path)
    elif uid and not re.fullmatch(rb"1\.2\.840\.10008\.[\d.]+", uid):
        audit.find("UID of somebody's root", where, element.path)


def _audit_date(audit: Audit, seen: _Seen, element: Element, patient: str, where: str) -> None:
    text = _text(element)
    if not text:
        return
    try:
        date = dt.datetime.strptime(text, "%Y%m%d").replace(tzinfo=dt.UTC).date()
    except ValueError:
        audit.find("date that is no day", where, element.path)
        return
    if not EARLIEST <= date <= dt.datetime.now(dt.UTC).date():
        audit.find("date that is not plausible", where, element.path)
    elif element.tag in DATES_OF_VISITS:
        seen.dates[patient].add(date)


def _audit_text(audit: Audit, element: Element, patient: str, where: str) -> None:
    text = _text(element)
    if text == patient or not text:
        return
    if element.vr in NUMBERS:
        if len(text) < 1024 and any(abs(float(part)) >= 1e7 for part in text.split("\\") if re.fullmatch(r"[+-]?\d+(\.\d*)?", part.strip())):
            audit.find("number too long for a measurement", where, element.path)
        return
    if LONG_NUMBER.search(text) and text not in CODES:
        audit.find("text with a long number", where, element.path)
    if NAME.search(text) and not _is_plain(element.tag, text):
        audit.find("text like a name", where, element.path)


class Vocabularies(NamedTuple):
    """Phrases of the lists of dicom_texts.toml, and the words that models and labels are made of."""

    phrases: frozenset[str]
    models: frozenset[str]
    labels: frozenset[str]
    labels_zh: re.Pattern[str]


@cache
def _vocabularies() -> Vocabularies:
    raw = tomllib.loads(VOCABULARIES.read_text(encoding="utf-8"))
    phrases = [phrase for words in raw["words"].values() for phrase in words]
    phrases += [meaning for codes in raw["codes"].values() for *_, meaning in codes]
    phrases += raw["contrast"]["agents"]
    return Vocabularies(
        frozenset(phrase.casefold() for phrase in phrases),
        frozenset(word.casefold() for name in raw["model"]["tokens"] for word in _WORD.findall(name)),
        frozenset(word.casefold() for word in raw["label"]["words"]),
        re.compile(f"(?:{'|'.join(raw['label']['words_zh'])})+"))


def _is_plain(tag: int, text: str) -> bool:
    """True where a text is of our own words: they are the name of no person.

    1. Every value of it is a phrase of a vocabulary.
    2. Or every word is one that this project writes into each file.
    3. Or, of a model or a label, every word is one that its kind is made of, or a single letter.
    """
    known = _vocabularies()
    if all(part.strip().casefold() in known.phrases for part in text.split("\\")):
        return True
    if set(re.split(r"[\W_]+", text.casefold())) <= OWN_WORDS:
        return True
    words = [word for word in _WORD.findall(text) if len(word) > 1 or not word.isascii()]
    if tag == MODEL:
        return all(word.casefold() in known.models for word in words)
    return tag in LABELS and all(
        word.casefold() in known.labels or known.labels_zh.fullmatch(word) for word in words)


def _text(element: Element) -> str:
    return element.value.decode("utf-8", "replace").strip(" \0")


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def walk(data: bytes) -> Iterator[Element]:
    """Every element of a file, of its meta information and of the items of its sequences, in the order of the bytes.

    Raises
    ------
    UnwalkableError
        Where a length does not fit, a value representation is unknown, or sequences are nested too deep.
    """
    if data[128:132] != b"DICM":
        raise UnwalkableError
    implicit, start = False, 132
    while start < len(data) and data[start:start + 2] == b"\2\0":
        element, start = _read(data, start, len(data), implicit=False)
        implicit = implicit or (element.tag == 0x00020010 and element.value.strip(b" \0") == IMPLICIT)
        yield element
    yield from _walk(data, start, len(data), "", implicit=implicit)


def _read(data: bytes, start: int, end: int, *, implicit: bool) -> tuple[Element, int]:
    if start + 8 > end:
        raise UnwalkableError
    group, number = struct.unpack_from("<HH", data, start)
    vr, length, value = _header(data, start, end, implicit=implicit)
    if length == UNDEFINED or value + length > end:  # intake writes known lengths alone
        raise UnwalkableError
    tag = group << 16 | number
    return Element(_name(tag), tag, vr, data[value:value + length]), value + length


def _header(data: bytes, start: int, end: int, *, implicit: bool) -> tuple[bytes, int, int]:
    if implicit:
        return b"", struct.unpack_from("<I", data, start + 4)[0], start + 8
    vr = data[start + 4:start + 6]
    if vr not in KNOWN or (vr in LONG and start + 12 > end):
        raise UnwalkableError
    if vr in LONG:
        return vr, struct.unpack_from("<I", data, start + 8)[0], start + 12
    return vr, struct.unpack_from("<H", data, start + 6)[0], start + 8


def _walk(data: bytes, start: int, end: int, path: str, *, implicit: bool) -> Iterator[Element]:
    if path.count(".") > DEEPEST:
        raise UnwalkableError
    while start < end:
        found, after = _read(data, start, end, implicit=implicit)
        element = found._replace(path=path + found.path, vr=found.vr or _vr_of(found.tag))
        yield element if element.vr != b"SQ" else element._replace(value=b"")
        if element.vr == b"SQ":
            yield from _items(data, after - len(found.value), after, element.path, implicit=implicit)
        start = after


def _items(data: bytes, start: int, end: int, path: str, *, implicit: bool) -> Iterator[Element]:
    while start < end:
        if start + 8 > end or data[start:start + 4] != b"\xfe\xff\x00\xe0":
            raise UnwalkableError
        length = struct.unpack_from("<I", data, start + 4)[0]
        if length == UNDEFINED or start + 8 + length > end:
            raise UnwalkableError
        yield from _walk(data, start + 8, start + 8 + length, path + ".", implicit=implicit)
        start += 8 + length


def _vr_of(tag: int) -> bytes:
    """The dictionary's value representation, which implicit encoding leaves out."""
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag)[:2].encode()
    except KeyError:
        return b"UN"


def _audit_pictures(audit: Audit, vault: Path, site: str) -> None:
    for folder in sorted({file.parent for file in vault.glob(f"{site}/*/*/*.dcm") if file.parent.name != "contours"}):
        slices = sorted(folder.glob("*.dcm"))
        for file in {slices[0], slices[len(slices) // 2], slices[-1]}:  # text burned in is in all
            audit.pictures += 1
            if _words_in(file):
                audit.find("words in the pixels", str(file.relative_to(vault)))


def _words_in(file: Path) -> bool:
    """Words that tesseract is sure of, of a slice twice its size."""
    import numpy as np

    top = {e.tag: e.value for e in walk(file.read_bytes()) if "." not in e.path}
    rows, columns, allocated = (struct.unpack("<H", top[tag])[0] for tag in (0x00280010, 0x00280011, 0x00280100))
    values = np.frombuffer(top[PIXELS], "<u2" if allocated == 16 else "u1")[: rows * columns].reshape(rows, columns).astype(float)
    if np.ptp(values) == 0:
        return False
    grey = np.clip((values - values.min()) / np.ptp(values) * 255, 0, 255).astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "slice.pgm"
        picture.write_bytes(b"P5 %d %d 255\n" % (columns * 2, rows * 2) + grey.tobytes())
        told = subprocess.run([shutil.which("tesseract") or "tesseract", str(picture), "-", "--psm", "11", "tsv"], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "OMP_THREAD_LIMIT": "1"})
    cells = (line.split("\t") for line in told.stdout.splitlines()[1:])
    return any(float(c[10]) >= OCR_CONFIDENCE and WORD_IN_PIXELS.search(c[11]) for c in cells if len(c) == 12)
