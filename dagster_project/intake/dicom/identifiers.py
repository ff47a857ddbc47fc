"""What identifies a patient in a file, and the search for it in the bytes that leave."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from dagster_project.intake.dicom.text_allowlist import load_texts

ENCODINGS = ("utf-8", "gb18030", "gbk")
"""Encodings that a name may have in the bytes.

It is also searched for as it is written in the file, ISO 2022 escapes included.
"""

SHORTEST_WORD = 3
"""Letters of the shortest Latin word that is searched for.

Shorter ones ("Li", "An") are in every second word of a header; none of them can come through, since
texts are from a list.
"""

SHORTEST_CHINESE = 2
"""Characters of the shortest Chinese text that is searched for: a full name.

A single character is in too many words.
"""

SHORTEST_NUMBER = 6
"""Digits of the shortest number that is searched for.

Shorter numbers are slice numbers and spacings too, and cannot be distinguished from a measurement.
"""

SHORTEST_IN_PIXELS = 6
"""Bytes of the shortest text that is searched for among pixels.

Pixel values spell any four bytes now and then, six by chance less than once in ten million slices.
"""

WRITTEN_HERE = (
    "yes modified iso_ir 192 structures segmentation removed algorithm dcm "
    "basic application confidentiality profile clean descriptors option "
    "retain longitudinal temporal information modified dates patient characteristics "
    "ps3.15 allowlist lakehouse_1"
)
"""Texts that this project writes into every file itself."""

_IDENTIFYING = (
    "PatientID",
    "OtherPatientIDs",
    "PatientBirthDate",
    "AccessionNumber",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "MedicalRecordLocator",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "AdmissionID",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "DeviceSerialNumber",
    "StationName",
    "InstitutionName",
    "InstitutionAddress",
    "IssuerOfPatientID",
    "StudyID",
    "PerformedProcedureStepID",
    "RequestedProcedureID",
    "ScheduledProcedureStepID",
    "ResponsiblePerson",
)
_NAME_TAGS = frozenset(Tag(tag) for tag, entry in DicomDictionary.items() if entry[0] == "PN")


def _tags_of(keywords: Iterable[str]) -> frozenset[BaseTag]:
    """The tags of those keywords that the dictionary has."""
    return frozenset(Tag(tag) for tag in map(tag_for_keyword, keywords) if tag is not None)


_DROPPED_SEQUENCES = _tags_of(
    (
        "OtherPatientIDsSequence",
        "RequestAttributesSequence",
        "ReferencedPatientSequence",
        "ReferringPhysicianIdentificationSequence",
        "OperatorIdentificationSequence",
        "OriginalAttributesSequence",
        "ModifiedAttributesSequence",
        "PerformingPhysicianIdentificationSequence",
        "AuthorObserverSequence",
        "IssuerOfPatientIDQualifiersSequence",
    )
)
_IDENTIFYING_TAGS = _NAME_TAGS | _tags_of(_IDENTIFYING)
_WHO = tuple(Tag(number) for number in (0x00100020, 0x00100021, 0x00100010, 0x00100030))
_READ_TAGS = _IDENTIFYING_TAGS | _DROPPED_SEQUENCES | {Tag(0x00080005)}
_KNOWN_AT_MOST = 64
_SPLIT = re.compile(r"[\^=\\\s,;:/()_\-.]+")
_OWN_UID = re.compile(rb"2\.25\.\d{1,39}")
_NUMBER_LIST = re.compile(rb"[\d.eE+\-\\ ]{40,}")
_DEEPEST = 8


@dataclass(frozen=True)
class Needles:
    """Byte strings to search for: words in lower case, numbers, and both as found among pixels."""

    words: tuple[bytes, ...] = ()
    numbers: tuple[bytes, ...] = ()
    in_pixels: tuple[bytes, ...] = ()

    def joined(self, other: Needles) -> Needles:
        """Both sets."""
        return Needles(
            self.words + other.words, self.numbers + other.numbers, self.in_pixels + other.in_pixels
        )


@dataclass(frozen=True)
class Identity:
    """Who a file says that it is of, and every text of it that identifies somebody."""

    number: str
    issuer: str
    name: str
    birth_date: str
    texts: tuple[str | bytes, ...]


_known: OrderedDict[tuple[tuple[int, bytes], ...], Identity] = OrderedDict()
"""Identities already read, by the bytes they were read from.

The slices of a series have the same bytes.
"""


def read_identity(dataset: Dataset) -> Identity:
    """Patient number, issuer, name and birth date, and every other text that identifies.

    The others are every person name, number, date and place of patient and order.

    The sequences that repeat them (other patient IDs, request attributes …) are read too, to a
    depth of eight.
    """
    tags = sorted(dataset.keys() & _READ_TAGS)
    items = ((int(tag), dataset.get_item(tag).value) for tag in tags)
    key = tuple((tag, raw) for tag, raw in items if isinstance(raw, bytes))
    if len(key) == len(tags) and key in _known:
        return _known[key]
    identity = _read_identity(dataset)
    if len(key) == len(tags):
        _known[key] = identity
        while len(_known) > _KNOWN_AT_MOST:
            _known.popitem(last=False)
    return identity


def _read_identity(dataset: Dataset) -> Identity:
    texts = tuple(_identifiers(dataset, 0))
    number, issuer, name, birth_date = (decoded_text(dataset, tag) for tag in _WHO)
    return Identity(number, issuer, name, birth_date, texts)


def plain_text(dataset: Dataset, tag: BaseTag) -> str:
    """A text element as written, for comparisons; never written."""
    element = dataset.get_item(tag)
    value = element.value if element is not None else None
    return (
        value.decode("latin-1").strip(" \0")
        if isinstance(value, bytes)
        else str(value or "").strip()
    )


def decoded_text(dataset: Dataset, tag: BaseTag) -> str:
    """A text element in its own character set."""
    try:
        return str(dataset[tag].value or "").strip() if tag in dataset else ""
    except Exception:  # an unreadable text is compared as written
        return plain_text(dataset, tag)


def _identifiers(dataset: Dataset, depth: int) -> Iterable[str | bytes]:
    for tag in sorted(dataset.keys() & _READ_TAGS):
        if tag not in _DROPPED_SEQUENCES:
            yield from _texts(dataset, tag)
        elif depth < _DEEPEST:
            for item in _items(dataset, tag):
                yield from _identifiers(item, depth + 1)


def _texts(dataset: Dataset, tag: BaseTag) -> Iterable[str | bytes]:
    raw = dataset.get_item(tag)
    if isinstance(raw, RawDataElement) and raw.value:
        yield bytes(raw.value)
    try:
        value = dataset[tag].value
    except Exception:  # an unreadable name is searched for as the bytes that it is
        return
    yield from (
        str(part)
        for part in (value if isinstance(value, MultiValue) else [value])
        if part is not None
    )


def _items(dataset: Dataset, tag: BaseTag) -> Iterable[Dataset]:
    try:
        value = dataset[tag].value
    except Exception:  # a sequence that cannot be parsed is dropped whole
        return ()
    return value if isinstance(value, Sequence) else ()


def make_needles(texts: Iterable[str | bytes]) -> Needles:
    """Everything to search for: each text and each of its parts, in every encoding.

    1. A part that this project's own texts contain (MARY in PRIMARY) is left out: finding it would
       say nothing.
    2. Words of fewer than 3 Latin letters, fewer than 2 Chinese characters, and numbers of fewer
       than 6 digits are left out.
    3. Among pixels only what has at least 6 bytes is searched.
    """
    words: set[bytes] = set()
    numbers: set[bytes] = set()
    for text in texts:
        for part in _parts(text):
            (numbers if part.isdigit() else words).update(_encoded(part))
    in_pixels = tuple(
        sorted(n for n in words | numbers if len(n) >= SHORTEST_IN_PIXELS + 2 * n.isdigit())
    )
    return Needles(tuple(sorted(n.lower() for n in words)), tuple(sorted(numbers)), in_pixels)


def _parts(text: str | bytes) -> set[str | bytes]:
    if isinstance(text, bytes):
        text = text.strip(b" \0")
        return {text} if len(text) >= SHORTEST_IN_PIXELS and not text.isascii() else set()
    whole = text.strip()
    spaceless = re.sub(r"[\^\s]+", "", whole)
    pieces = {whole, spaceless, *_SPLIT.split(whole), *_date_spellings(whole)}
    return {piece for piece in pieces if _worth_searching(piece)}


def _date_spellings(text: str) -> set[str]:
    match = re.fullmatch(r"(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})", text)
    return (
        {"".join(match.groups()), "-".join(match.groups()), "/".join(match.groups())}
        if match
        else set()
    )


def _worth_searching(piece: str) -> bool:
    if piece.isdigit():
        return len(piece) >= SHORTEST_NUMBER
    if len(piece) < (SHORTEST_WORD if piece.isascii() else SHORTEST_CHINESE):
        return False
    return piece.casefold() not in _own_texts()


def _own_texts() -> str:
    return load_texts().everything + WRITTEN_HERE


def _encoded(part: str | bytes) -> set[bytes]:
    if isinstance(part, bytes):
        return {part}
    return {part.encode(encoding, errors="ignore") for encoding in ENCODINGS} - {b""}


def holds_identifier(header: bytes, pixels: bytes, needles: Needles, made_here: bytes) -> bool:
    """True where a needle is in what leaves.

    In the header everything is searched but what was made here (the pseudonym, keyed UIDs); numbers
    not within lists of coordinates, whose digits spell any number.
    """
    searched = _OWN_UID.sub(b"", header).lower().replace(made_here, b"")
    figures = _NUMBER_LIST.sub(b"", searched)
    return (
        any(word in searched for word in needles.words)
        or any(number in figures for number in needles.numbers)
        or _holds_any(pixels, needles.in_pixels)
    )


def _holds_any(pixels: bytes, needles: tuple[bytes, ...]) -> bool:
    """True where a needle stands in pixels, at whatever byte.

    Its pairs of bytes then are pixels, from its first byte on or from its second. A needle that has
    a pair in both that is larger than any pixel is nowhere and is not searched for: two characters
    are more than the largest pixel of twelve bits.
    """
    if not needles or not pixels:
        return False
    largest = _pairs(pixels + b"\0" * (len(pixels) % 2)).max()
    return any(
        min(_pairs(needle).max(), _pairs(needle[1:]).max()) <= largest and needle in pixels
        for needle in needles
    )


def _pairs(data: bytes) -> npt.NDArray[np.uint16]:
    """The pairs of bytes of a text from its first byte on; an odd last byte is left out."""
    return np.frombuffer(data, "<u2", len(data) // 2)
