"""An independent audit of the vault, which reports everything that could identify a person.

The code that walks the bytes shares nothing with the code that wrote them.
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
import struct
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydicom._uid_dict import UID_dictionary

from dagster_project.intake.dicom.audit_texts import text_fault
from dagster_project.intake.dicom.plausible_dates import (
    DATES_OF_SLICES,
    DATES_OF_VISITS,
    is_plausible,
    of_one_patient,
    of_one_series,
)
from dagster_project.intake.vault.vault_names import shown

LONG = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
KNOWN = LONG | {
    b"AE",
    b"AS",
    b"AT",
    b"CS",
    b"DA",
    b"DS",
    b"DT",
    b"FL",
    b"FD",
    b"IS",
    b"LO",
    b"LT",
    b"PN",
    b"SH",
    b"SL",
    b"SS",
    b"ST",
    b"TM",
    b"UI",
    b"UL",
    b"US",
}
TEXTS = frozenset({b"AE", b"CS", b"LO", b"LT", b"PN", b"SH", b"ST", b"UC", b"UR", b"UT"})
NUMBERS = frozenset({b"DS", b"IS"})
BYTES = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"})
BINARY = {b"UL": "I", b"SL": "i", b"UV": "Q", b"SV": "q", b"FL": "f", b"FD": "d"}
"""Letters by which `struct` knows what may hold a number as long as a person's."""

TIMES = frozenset({b"TM", b"DT"})
UNDEFINED = 0xFFFFFFFF
IMPLICIT = b"1.2.840.10008.1.2"
DEEPEST = 16
PIXELS, META_VERSION = 0x7FE00010, 0x00020001
NEVER = {
    0x00080014: "InstanceCreatorUID",
    0x00080080: "InstitutionName",
    0x00080081: "InstitutionAddress",
    0x00080092: "ReferringPhysicianAddress",
    0x00081010: "StationName",
    0x00081030: "StudyDescription",
    0x0008103E: "SeriesDescription",
    0x00081048: "PhysiciansOfRecord",
    0x00081050: "PerformingPhysicianName",
    0x00081070: "OperatorsName",
    0x00101000: "OtherPatientIDs",
    0x00101001: "OtherPatientNames",
    0x00101040: "PatientAddress",
    0x00102154: "PatientTelephoneNumbers",
    0x00104000: "PatientComments",
    0x00181000: "DeviceSerialNumber",
    0x00181030: "ProtocolName",
    0x00204000: "ImageComments",
    0x00400275: "RequestAttributesSequence",
    0x30060004: "StructureSetName",
    0x300600A6: "ROIInterpreter",
}
"""Elements that no file of a vault may hold with a value.

A second list, kept apart from the allowlists on purpose.
"""

EMPTY = {
    0x00080050: "AccessionNumber",
    0x00080090: "ReferringPhysicianName",
    0x00100030: "PatientBirthDate",
    0x00200010: "StudyID",
    0x00080030: "StudyTime",
}
"""Elements that stand in a file only without a value."""

PERSON = {0x00100010: "PatientName", 0x00100020: "PatientID"}
IDENTITY_REMOVED, DATES_MODIFIED = 0x00120062, 0x00280303
OWN_UIDS = {0x00080018, 0x0020000D, 0x0020000E}
"""SOPInstanceUID, StudyInstanceUID, SeriesInstanceUID.

Some makers and tools write one FrameOfReferenceUID into the images of all patients.
"""

LONGEST_NUMBER = re.compile(rb"(?<![\d.])[+-]?0*[1-9]\d{5,}")
"""Six digits before the point: no measurement of a scan has as many."""

LARGEST_OF_BYTES = 1e6

A_NUMBER = re.compile(rb"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
AGE = re.compile(r"0(?:[0-8]\d|90)Y|\d{3}[DWM]")
SHORTEST_KEYED_UID = 30
"""Digits behind 2.25.: 128 bits have fewer once in hundred million."""

NEWER_CLASSES = frozenset({b"1.2.840.10008.5.1.4.1.1.66.7"})
"""SOP classes that pydicom's registry does not know yet."""

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
    """What is compared over files: whose a UID is, dates of a patient's visits and of a series."""

    owner: dict[bytes, str] = field(default_factory=dict)
    dates: dict[str, set[dt.date]] = field(default_factory=lambda: defaultdict(set))
    slices: dict[tuple[Path, int], set[dt.date]] = field(default_factory=lambda: defaultdict(set))


@dataclass(frozen=True)
class _Place:
    """A file: its patient, that patient's folder, its name in the vault, a slice's series."""

    patient: str
    folder: str
    where: str
    series: Path | None


def audit_vault(vault: Path, *, ocr: bool = True, site: str = "*", since: int = 0) -> Audit:
    """Re-read every file of a vault.

    Only those of one site, or changed after a moment (`since`, nanoseconds), where they are given.

    1. Every file walks from its first element to its last byte; group 2 is fresh and the preamble
       zero; no private element.
    2. None of the elements that must not be there is there; those that must be empty are;
       PatientName = PatientID = the folder's name.
    3. No UID belongs to two patients, and none has the root of anybody but the standard and 2.25.
    4. Dates are days of the calendar, not in the future; a patient's visits lie within a few years,
       slices of a series within a month. No time of day.
    5. Every text is of a list, every number that of a measurement; nothing but pixels is bytes, and
       there are no more of them than the geometry requires.
    6. Where tesseract is installed: no words stand in the pixels of three slices a series.
    """
    audit, seen = Audit(ocr=ocr and shutil.which("tesseract") is not None), _Seen()
    files = (
        f
        for f in sorted(vault.glob(f"{site}/*/**/*.dcm"))
        if f.relative_to(vault).parts[1] != ".incoming"
    )
    for file in (f for f in files if f.stat().st_ctime_ns > since):
        code, patient, *_ = file.relative_to(vault).parts
        is_slice = file.parent.parent.name != "contours"
        place = _Place(
            patient,
            f"{code}/{patient}",
            shown(str(file.relative_to(vault))),
            file.parent if is_slice else None,
        )
        audit.files += 1
        _audit_file(audit, seen, file, place)
    for folder, dates in sorted(seen.dates.items()):
        if not of_one_patient(dates):
            audit.find("dates far apart", folder)
    for (series, tag), dates in sorted(seen.slices.items()):
        if not of_one_series(dates):
            audit.find("dates of one series far apart", str(series.relative_to(vault)), _name(tag))
    if audit.ocr:
        _audit_pictures(audit, vault, site)
    return audit


def _audit_file(audit: Audit, seen: _Seen, file: Path, place: _Place) -> None:
    data = file.read_bytes()
    try:
        elements = list(walk(data))
    except UnwalkableError:
        audit.find("cannot be walked", place.where)
        return
    audit.elements += len(elements)
    if any(data[:128]):
        audit.find("preamble is not empty", place.where)
    top = {e.tag: e for e in elements if "." not in e.path}
    for tag in PERSON:
        if tag not in top or _text(top[tag]) != place.patient:
            audit.find("is not of the folder's patient", place.where, _name(tag))
    if (
        IDENTITY_REMOVED not in top
        or _text(top[IDENTITY_REMOVED]) != "YES"
        or DATES_MODIFIED not in top
    ):
        audit.find("does not say that it is de-identified", place.where)
    if _has_bytes_behind_the_pixels(top):
        audit.find("bytes behind the pixels", place.where, _name(PIXELS))
    for element in elements:
        _audit_element(audit, seen, element, place)


def _has_bytes_behind_the_pixels(top: dict[int, Element]) -> bool:
    """Whether PixelData is longer than rows, columns and frames ask for, rounded up to even."""
    shape = [top[tag].value for tag in (0x00280010, 0x00280011, 0x00280100) if tag in top]
    if PIXELS not in top or len(shape) < 3 or any(len(value) != 2 for value in shape):
        return PIXELS in top
    rows, columns, bits = (struct.unpack("<H", value)[0] for value in shape)
    frames = _text(top[0x00280008]) if 0x00280008 in top else "1"
    needed = (rows * columns * bits * int(frames) + 7) // 8 if frames.isdigit() else 0
    rest = top[PIXELS].value[needed:]
    return len(rest) > needed % 2 or any(rest)


def _audit_element(audit: Audit, seen: _Seen, element: Element, place: _Place) -> None:
    where = place.where
    if (element.tag >> 16) % 2:
        audit.find("private element", where, element.path)
    value = element.value.strip(b" \0")
    if value not in {b"", b"REMOVED"} and element.tag in {**NEVER, **EMPTY}:
        audit.find("element that must not be there", where, element.path)
    if element.vr == b"UI":
        _audit_uid(audit, seen, element, place.patient, where)
    elif element.vr == b"DA":
        _audit_date(audit, seen, element, place)
    elif element.vr in TEXTS or element.vr in NUMBERS:
        _audit_text(audit, element, place.patient, where)
    elif element.vr in TIMES and value not in {b"", b"000000"}:
        audit.find("time of day", where, element.path)
    elif element.vr == b"AS" and value and not AGE.fullmatch(_text(element)):
        audit.find("age that is none", where, element.path)
    elif element.vr in BYTES and element.tag not in {PIXELS, META_VERSION} and value:
        audit.find("bytes that are no pixels", where, element.path)
    elif element.vr in BINARY and _is_too_large(element):
        audit.find("number too long for a measurement", where, element.path)


def _is_too_large(element: Element) -> bool:
    letter = BINARY[element.vr]
    count, rest = divmod(len(element.value), struct.calcsize(f"<{letter}"))
    if rest:
        return True
    values = struct.unpack(f"<{count}{letter}", element.value)
    return any(abs(value) >= LARGEST_OF_BYTES for value in values)


def _audit_uid(audit: Audit, seen: _Seen, element: Element, patient: str, where: str) -> None:
    uid = element.value.strip(b" \0")
    if uid.startswith(b"2.25."):
        if not re.fullmatch(rb"\d{%d,39}" % SHORTEST_KEYED_UID, uid[5:]):
            audit.find("UID that is no key", where, element.path)
        elif element.tag in OWN_UIDS and seen.owner.setdefault(uid, patient) != patient:
            audit.find("UID of two patients", where, element.path)
    elif uid and uid.decode("latin-1") not in UID_dictionary and uid not in NEWER_CLASSES:
        audit.find("UID of somebody's root", where, element.path)


def _audit_date(audit: Audit, seen: _Seen, element: Element, place: _Place) -> None:
    text = _text(element)
    if not text:
        return
    try:
        date = dt.datetime.strptime(text, "%Y%m%d").replace(tzinfo=dt.UTC).date()
    except ValueError:
        audit.find("date that is no day", place.where, element.path)
        return
    if not is_plausible(date) or date > dt.datetime.now(dt.UTC).date():
        audit.find("date that is not plausible", place.where, element.path)
        return
    if element.tag in DATES_OF_VISITS:
        seen.dates[place.folder].add(date)
    if place.series and element.tag in DATES_OF_SLICES:
        seen.slices[place.series, element.tag].add(date)


def _audit_text(audit: Audit, element: Element, patient: str, where: str) -> None:
    text = _text(element)
    if text == patient or not text:
        return
    fault = _number_fault(element) if element.vr in NUMBERS else text_fault(element.tag, text)
    if fault:
        audit.find(fault, where, element.path)


def _number_fault(element: Element) -> str:
    """What is wrong with numbers that are written as text; empty where they may be measurements."""
    value = element.value.strip(b"\0")
    if any(not A_NUMBER.fullmatch(part) for part in value.split(b"\\") if part.strip()):
        return "number that is none"
    return "number too long for a measurement" if LONGEST_NUMBER.search(value) else ""


def _text(element: Element) -> str:
    return element.value.decode("utf-8", "replace").strip(" \0")


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def walk(data: bytes) -> Iterator[Element]:
    """Every element of a file, in the order of the bytes.

    Those of its meta information and of the items of its sequences are included.

    Raises
    ------
    UnwalkableError
        Where a length does not fit, a value representation is unknown, or sequences are nested too
        deep.
    """
    if data[128:132] != b"DICM":
        raise UnwalkableError
    implicit, start = False, 132
    while start < len(data) and data[start : start + 2] == b"\2\0":
        element, start = _read(data, start, len(data), implicit=False)
        implicit = implicit or (
            element.tag == 0x00020010 and element.value.strip(b" \0") == IMPLICIT
        )
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
    return Element(_name(tag), tag, vr, data[value : value + length]), value + length


def _header(data: bytes, start: int, end: int, *, implicit: bool) -> tuple[bytes, int, int]:
    if implicit:
        return b"", struct.unpack_from("<I", data, start + 4)[0], start + 8
    vr = data[start + 4 : start + 6]
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
            yield from _items(
                data, after - len(found.value), after, element.path, implicit=implicit
            )
        start = after


def _items(data: bytes, start: int, end: int, path: str, *, implicit: bool) -> Iterator[Element]:
    while start < end:
        if start + 8 > end or data[start : start + 4] != b"\xfe\xff\x00\xe0":
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
    for folder in sorted(
        {file.parent for file in vault.glob(f"{site}/*/*/*.dcm") if file.parent.name != "contours"}
    ):
        slices = sorted(folder.glob("*.dcm"))
        for file in {slices[0], slices[len(slices) // 2], slices[-1]}:  # text burned in is in all
            audit.pictures += 1
            if _words_in(file):
                audit.find("words in the pixels", str(file.relative_to(vault)))


def _words_in(file: Path) -> bool:
    """Words that tesseract is sure of, of a slice twice its size."""
    import numpy as np

    top = {e.tag: e.value for e in walk(file.read_bytes()) if "." not in e.path}
    rows, columns, allocated = (
        struct.unpack("<H", top[tag])[0] for tag in (0x00280010, 0x00280011, 0x00280100)
    )
    values = (
        np.frombuffer(top[PIXELS], "<u2" if allocated == 16 else "u1")[: rows * columns]
        .reshape(rows, columns)
        .astype(float)
    )
    if np.ptp(values) == 0:
        return False
    grey = (
        np.clip((values - values.min()) / np.ptp(values) * 255, 0, 255)
        .astype(np.uint8)
        .repeat(2, axis=0)
        .repeat(2, axis=1)
    )
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "slice.pgm"
        picture.write_bytes(b"P5 %d %d 255\n" % (columns * 2, rows * 2) + grey.tobytes())
        listed = subprocess.run(
            [shutil.which("tesseract") or "tesseract", str(picture), "-", "--psm", "11", "tsv"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "OMP_THREAD_LIMIT": "1"},
        )
    cells = (line.split("\t") for line in listed.stdout.splitlines()[1:])
    return any(
        float(c[10]) >= OCR_CONFIDENCE and WORD_IN_PIXELS.search(c[11])
        for c in cells
        if len(c) == 12
    )
