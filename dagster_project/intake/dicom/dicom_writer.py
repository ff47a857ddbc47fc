"""Writes one de-identified file: each action that an allowlist may name is a method here."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from dagster_project.intake.dicom.allowlists import (
    CT,
    FILES,
    LABEL_MAP_SEG,
    RTSTRUCT,
    SEG,
    Allowlist,
    Rule,
)
from dagster_project.intake.dicom.elements import (
    BINARY,
    SHORT_VALUE,
    clean_number,
    clean_words,
    encode_element,
    encode_item,
)
from dagster_project.intake.dicom.identifiers import Needles, decoded_text, plain_text
from dagster_project.intake.dicom.numbering import NO_NUMBERS, Numbers
from dagster_project.intake.dicom.pixels import LOSSY, Geometry, clean_pixels, stored_values
from dagster_project.intake.dicom.plausible_dates import is_plausible
from dagster_project.intake.dicom.text_allowlist import (
    TEXTS,
    clean_label,
    contrast_word,
    is_model,
    is_word,
    known_code,
)
from dagster_project.intake.refusals import DamagedError, RefusedError

METHOD = "PS3.15 ANNEX E BASIC PROFILE BY ALLOWLIST"
"""(0012,0063)"""

OPTIONS: Mapping[str, str] = {
    "113100": "Basic Application Confidentiality Profile",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
}
"""(0012,0064): the profile and the possible options; each allowlist names those that it applies."""

OLDEST_AGE_TOLD = 89
"""Ages above are given as 90: among few patients a higher age is a name."""

CONTENT: Mapping[str, tuple[str, ...]] = {
    CT: (
        "Rows",
        "Columns",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
        "PixelData",
    ),
    RTSTRUCT: ("StructureSetROISequence", "ROIContourSequence"),
    SEG: (
        "SegmentSequence",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "PixelData",
    ),
    LABEL_MAP_SEG: (
        "SegmentSequence",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "PixelData",
    ),
}
"""Elements that make two files of one SOPInstanceUID the same object, together with `PLACING`.

It does not matter how the rest was re-exported.
"""

_SEG_PLACING = (
    "FrameOfReferenceUID",
    "ReferencedSeriesSequence",
    "SegmentationType",
    "MaximumFractionalValue",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
)

PLACING: Mapping[str, tuple[str, ...]] = {
    CT: (
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "StudyDate",
        "SeriesDate",
        "AcquisitionDate",
        "ContentDate",
        "SliceThickness",
        "ConvolutionKernel",
        "AcquisitionNumber",
    ),
    RTSTRUCT: ("FrameOfReferenceUID", "ReferencedFrameOfReferenceSequence"),
    SEG: _SEG_PLACING,
    LABEL_MAP_SEG: _SEG_PLACING,
}
"""What decides the visit, series or patient coordinates of an object, or the meaning of its pixels.

An object with a corrected reference is another object.
"""

COUNTED = ("SeriesNumber", "AcquisitionNumber")
"""What is counted anew within a study, in the order of `Numbers`."""

LARGEST_COUNT = 9999
"""No series has as many slices; a number that is larger may be a date or a hospital number."""

DISPLAY = frozenset({"WindowCenter", "WindowWidth"})
"""How an image is shown: a viewer may write these anew."""

LEFT_OUT_WHERE_DAMAGED = frozenset({"ContourData"})
"""Elements that are left out where they are damaged.

A damaged contour leaves its file without its figures: reading it then refuses its own structure,
and no other.
"""


@dataclass(frozen=True)
class Person:
    """The patient that a file is written for.

    Pseudonym, shift of the dates, keys of the mapping, what else to search for in the output, and
    the file's numbers in its study.
    """

    pseudonym: str
    shift_days: int
    uid_key: bytes
    target: re.Pattern[str]
    needles: Needles
    numbers: Numbers = NO_NUMBERS


class Raw(NamedTuple):
    """An element's bytes as they stand in the file."""

    value: bytes
    little_endian: bool


def keyed_uid(uid: str, key: bytes) -> str:
    """`2.25.` and 128 keyed bits: the same UID maps to the same UID in every file, run and process.

    UIDs of the standard itself (SOP classes, well-known frames of reference) stay: membership of
    the registry is tested, not the prefix, since vendors use the prefix too. The SOP classes that
    are taken in stay, also where they are newer than the registry.
    """
    plain = uid.strip(" \0")
    return plain if plain in UID_dictionary or plain in CONTENT else _keyed(plain, key)


@lru_cache(maxsize=65536)
def _keyed(uid: str, key: bytes) -> str:
    drawn = hmac.new(
        key, b"uid\0" + uid.encode("utf-8", "surrogateescape"), hashlib.sha256
    ).digest()[:16]
    return f"2.25.{int.from_bytes(drawn, 'big')}"


@cache
def _rules() -> str:
    """Digest of what decides which texts of a header stay.

    By other rules the same file has another header.
    """
    digest = hashlib.sha256(b"1")
    for path in (*FILES, TEXTS):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def is_count(number: int) -> bool:
    """Whether a number can be that of a slice in its series."""
    return abs(number) <= LARGEST_COUNT


def digest_of_values(values: Mapping[str, bytes], keywords: Sequence[str]) -> str:
    """SHA-256 of some elements, figures in one spelling; a missing one counts as an empty one."""
    digest = hashlib.sha256()
    for keyword in keywords:
        value = values.get(keyword, b"")
        digest.update(
            keyword.encode() + (value if keyword == "PixelData" else _same_figures(value))
        )
    return digest.hexdigest()


class Writer:
    """Writes one file; ACTIONS names the methods by which an element is treated."""

    def __init__(
        self, dataset: Dataset, allowlist: Allowlist, person: Person, *, explicit: bool
    ) -> None:
        self.dataset, self.allowlist, self.person, self.explicit = (
            dataset,
            allowlist,
            person,
            explicit,
        )
        self.actions: Counter[tuple[str, str]] = Counter()
        self.values: dict[str, bytes] = {}
        self.referenced_series: list[str] = []

    def body(self) -> bytes:
        rules = self.allowlist.rules
        written = [self._element(rule, self.dataset, top=True) for rule in rules]
        missing = next(
            (
                rule.keyword
                for rule in rules
                if rule.keyword in self.allowlist.required and rule.keyword not in self.values
            ),
            None,
        )
        if missing:
            raise RefusedError(
                f"required element {missing} is not plausible; export the file again"
            )
        self._count_dropped(self.dataset, rules)
        return b"".join(written)

    def content_digest(self) -> str:
        """Digests of `CONTENT`, of `PLACING`, of the rest without `DISPLAY`, and of the rules.

        The rules are those by which that was written.
        """
        content, placing = CONTENT[self.allowlist.sop_class], PLACING[self.allowlist.sop_class]
        rest = sorted(self.values.keys() - {*content, *placing, *DISPLAY})
        digests = (digest_of_values(self.values, some) for some in (content, placing, rest))
        return " ".join([*digests, _rules()])

    def _items(self, rules: tuple[Rule, ...], dataset: Dataset) -> bytes:
        self._count_dropped(dataset, rules)
        return b"".join(self._element(rule, dataset, top=False) for rule in rules)

    def _count_dropped(self, dataset: Dataset, rules: tuple[Rule, ...]) -> None:
        dropped = dataset.keys() - _tags(rules)
        self.actions.update(("dropped", f"{int(tag):08X}") for tag in dropped)

    def _element(self, rule: Rule, dataset: Dataset, *, top: bool) -> bytes:
        value = self._value(rule, dataset)
        if value is None:
            if rule.keyword in self.allowlist.vital and _raw(rule, dataset) is not None:
                raise DamagedError(rule.number, rule.keyword, "is not plausible")
            if rule.keyword not in self.allowlist.type_2:
                return b""
            value = b""
        self.actions[rule.action, f"{rule.number:08X}"] += 1
        if top:
            self.values[rule.keyword] = value
        elif rule.keyword == "SeriesInstanceUID":
            self.referenced_series.append(value.decode())
        return encode_element(rule.number, self._vr(rule), value, explicit=self.explicit)

    def _value(self, rule: Rule, dataset: Dataset) -> bytes | None:
        if rule.action in OF_AN_ELEMENT and rule.tag not in dataset:
            return None
        try:
            return ACTIONS[rule.action](self, rule, dataset)
        except DamagedError:
            if rule.keyword in LEFT_OUT_WHERE_DAMAGED:
                return None
            raise

    def _vr(self, rule: Rule) -> str:
        if rule.vrs == ("US", "SS"):
            return "SS" if self._integer("PixelRepresentation") else "US"
        if rule.vrs == ("OB", "OW"):
            return "OW" if self._integer("BitsAllocated") > 8 else "OB"
        return rule.vrs[0]

    def _integer(self, keyword: str) -> int:
        return struct.unpack("<H", self.values[keyword])[0] if keyword in self.values else 0

    # ── actions: the value's bytes, or None where the element is left out ──

    def keep(self, rule: Rule, dataset: Dataset) -> bytes | None:
        raw = _raw(rule, dataset)
        if raw is None:
            return None
        return clean_number(
            rule.number,
            rule.keyword,
            self._vr(rule),
            raw.value,
            multiplicity=rule.multiplicity,
            little_endian=raw.little_endian,
        )

    def counted(self, rule: Rule, dataset: Dataset) -> bytes | None:
        number = self.person.numbers[COUNTED.index(rule.keyword)]
        return None if number is None or _raw(rule, dataset) is None else str(number).encode()

    def count(self, rule: Rule, dataset: Dataset) -> bytes | None:
        number = self.keep(rule, dataset)
        return number if number is not None and is_count(int(number)) else None

    def words(self, rule: Rule, dataset: Dataset) -> bytes | None:
        raw = _raw(rule, dataset)
        words = clean_words(raw.value) if raw is not None else None
        known = [word for word in words or [] if word and is_word(rule.argument, word)]
        return "\\".join(known).encode() or None

    def model(self, rule: Rule, dataset: Dataset) -> bytes | None:
        raw = _raw(rule, dataset)
        words = clean_words(raw.value) if raw is not None else None
        return (
            words[0].encode()
            if words and len(words) == 1 and words[0] and is_model(words[0])
            else None
        )

    def contrast(self, rule: Rule, dataset: Dataset) -> bytes | None:
        raw = _raw(rule, dataset)
        word = (
            contrast_word(raw.value.decode("utf-8", "replace").strip(" \0"))
            if raw is not None
            else None
        )
        return word.encode() if word else None

    def label(self, rule: Rule, dataset: Dataset) -> bytes | None:
        if _raw(rule, dataset) is None:
            return None
        text = decoded_text(dataset, rule.tag)
        return (
            clean_label(text, key=self.person.uid_key, target=self.person.target).encode()
            if text
            else None
        )

    def uid(self, rule: Rule, dataset: Dataset) -> bytes | None:
        raw = _raw(rule, dataset)
        if raw is None:
            return None
        if b"\\" in raw.value or len(raw.value) > 66:
            raise DamagedError(rule.number, rule.keyword, "is not one UID")
        text = raw.value.decode("latin-1").strip(" \0")
        return keyed_uid(text, self.person.uid_key).encode() if text else None

    def date(self, rule: Rule, dataset: Dataset) -> bytes | None:
        raw = _raw(rule, dataset)
        date = _date(raw.value) if raw is not None else None
        if date is None and rule.keyword == "AcquisitionDate":
            date = _date(plain_text(dataset, Tag(0x0008002A)).encode("latin-1")[:8])
        if date is not None and is_plausible(date):  # the shift is negative
            shifted = date + dt.timedelta(days=self.person.shift_days)
            if is_plausible(shifted):
                return f"{shifted:%Y%m%d}".encode()
        return b"" if rule.keyword in {"StudyDate", "StructureSetDate"} else None

    def age(self, rule: Rule, dataset: Dataset) -> bytes | None:
        raw = _raw(rule, dataset)
        match = (
            re.fullmatch(rb"(\d{3})([YMWD])", raw.value.strip(b" \0")) if raw is not None else None
        )
        if match is None:
            return None
        above = match[2] == b"Y" and int(match[1]) > OLDEST_AGE_TOLD
        return b"090Y" if above else match[0]

    def pseudonym(self, _rule: Rule, _dataset: Dataset) -> bytes:
        return self.person.pseudonym.encode()

    def empty(self, _rule: Rule, _dataset: Dataset) -> bytes:
        return b""

    def fixed(self, rule: Rule, _dataset: Dataset) -> bytes:
        return rule.argument.encode()

    def fixed_if_there(self, rule: Rule, dataset: Dataset) -> bytes | None:
        return rule.argument.encode() if _raw(rule, dataset) is not None else None

    def method(self, rule: Rule, _dataset: Dataset) -> bytes:
        if rule.argument != "codes":
            return METHOD.encode()
        codes = ("113100", *self.allowlist.options)
        return b"".join(encode_item(self._code(code, "DCM", OPTIONS[code])) for code in codes)

    def code(self, rule: Rule, dataset: Dataset) -> bytes | None:
        items = _sequence(rule, dataset)
        if not items:
            return None
        stated = (plain_text(items[0], Tag(0x00080100)), plain_text(items[0], Tag(0x00080102)))
        return encode_item(self._code(*known_code(rule.argument, *stated)))

    def _code(self, value: str, scheme: str, meaning: str) -> bytes:
        parts = ((0x00080100, "SH", value), (0x00080102, "SH", scheme), (0x00080104, "LO", meaning))
        return b"".join(
            encode_element(tag, vr, text.encode(), explicit=self.explicit)
            for tag, vr, text in parts
        )

    def items(self, rule: Rule, dataset: Dataset) -> bytes | None:
        items = _sequence(rule, dataset)
        return (
            b"".join(encode_item(self._items(rule.items, item)) for item in items)
            if items
            else None
        )

    def lossy(self, _rule: Rule, dataset: Dataset) -> bytes | None:
        stated = plain_text(dataset, Tag(0x00282110))
        if stated == "01" or (dataset.file_meta.TransferSyntaxUID in LOSSY and stated != "00"):
            return b"01"
        return b"00" if stated == "00" else None

    def pixels(self, _rule: Rule, dataset: Dataset) -> bytes:
        return clean_pixels(dataset, self._geometry())

    def frames(self) -> npt.NDArray[np.integer]:
        """Stored values as they are written, shape (frames, rows, columns)."""
        return stored_values(self.values["PixelData"], self._geometry())

    def rescale(self) -> tuple[float, float]:
        """RescaleSlope and RescaleIntercept; 1 and 0 where there is none."""
        return float(self.values.get("RescaleSlope", b"1")), float(
            self.values.get("RescaleIntercept", b"0")
        )

    def _geometry(self) -> Geometry:
        rows, columns, allocated, stored, high, signed = (
            self._integer(k)
            for k in (
                "Rows",
                "Columns",
                "BitsAllocated",
                "BitsStored",
                "HighBit",
                "PixelRepresentation",
            )
        )
        if self._integer("SamplesPerPixel") != 1 or "PhotometricInterpretation" not in self.values:
            raise RefusedError("undecodable pixels: not a grey image; send the original series")
        return Geometry(
            rows,
            columns,
            int(self.values.get("NumberOfFrames", b"1")),
            allocated,
            stored,
            high,
            bool(signed),
        )


ACTIONS: Mapping[str, Callable[[Writer, Rule, Dataset], bytes | None]] = {
    "keep": Writer.keep,  # a number, checked against its VR, multiplicity and a plausible size
    "counted": Writer.counted,  # a number of the study, counted anew
    "count": Writer.count,  # a count of slices; a number that is larger is none
    "words": Writer.words,  # texts of one list of dicom_texts.toml; others are left out
    "model": Writer.model,  # a scanner's model name, of known tokens
    "contrast": Writer.contrast,  # whether a contrast agent was given
    "label": Writer.label,  # a lesion's label; a keyed neutral one where it is not plain
    "uid": Writer.uid,  # keyed
    "date": Writer.date,  # shifted
    "age": Writer.age,  # 090Y above 89
    "pseudonym": Writer.pseudonym,
    "empty": Writer.empty,  # type 2: there, without a value
    "fixed": Writer.fixed,
    "fixed_if_there": Writer.fixed_if_there,
    "method": Writer.method,  # what was done, as text or as codes
    "code": Writer.code,  # a coded concept of a list; its first where it is not on it
    "items": Writer.items,  # a sequence, by the rules of its section
    "lossy": Writer.lossy,  # 01 where the image was ever compressed with loss
    "pixels": Writer.pixels,  # decoded, length checked, unused bits cleared
}
"""What an allowlist may say of an element."""

OF_AN_ELEMENT = frozenset(
    {"keep", "counted", "count", "words", "model", "label", "uid", "age", "fixed_if_there"}
)
"""Actions that write nothing where the file has no such element."""


@lru_cache(maxsize=64)
def _tags(rules: tuple[Rule, ...]) -> frozenset[BaseTag]:
    return frozenset(rule.tag for rule in rules)


def _raw(rule: Rule, dataset: Dataset) -> Raw | None:
    """The element as written in the file; None where it is absent or empty.

    Raises
    ------
    DamagedError
        Where its VR is not the dictionary's, or it is shorter than it says.
    """
    element = dataset.get_item(rule.tag)
    if element is None or element.value is None or element.value == b"":
        return None
    if element.VR is not None and element.VR not in (*rule.vrs, "UN"):
        raise DamagedError(
            rule.number, rule.keyword, "has a value representation other than the dictionary's"
        )
    if isinstance(element, DataElement):
        return Raw(_bytes_again(rule, element), little_endian=True)
    if element.length not in {0xFFFFFFFF, len(element.value)}:
        raise DamagedError(rule.number, rule.keyword, "is shorter than it says")
    return Raw(element.value, element.is_little_endian)


def _bytes_again(rule: Rule, element: DataElement) -> bytes:
    """The bytes of an element that pydicom has already converted.

    PixelRepresentation is one, or a text that was read.
    """
    values = (
        list(element.value) if isinstance(element.value, (list, MultiValue)) else [element.value]
    )
    if element.VR in BINARY:
        try:
            return b"".join(struct.pack("<" + BINARY[element.VR], value) for value in values)
        except struct.error as error:
            raise DamagedError(rule.number, rule.keyword, "is not a number of its type") from error
    return "\\".join(map(str, values)).encode("utf-8", "replace")


def _sequence(rule: Rule, dataset: Dataset) -> list[Dataset]:
    if rule.tag not in dataset:
        return []
    try:
        element = dataset[rule.tag]
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise DamagedError(rule.number, rule.keyword, "cannot be read as a sequence") from error
    if element.VR != "SQ":
        raise DamagedError(rule.number, rule.keyword, "is not a sequence")
    return list(element.value or [])


def _date(value: bytes) -> dt.date | None:
    digits = value.strip(b" \0").replace(b".", b"")
    try:
        return (
            dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
            if len(digits) == 8 and digits.isdigit()
            else None
        )
    except ValueError:
        return None


def _same_figures(value: bytes) -> bytes:
    """One spelling of a list of figures, since `1.0` and `1` are the same slice."""
    return _spelled(value) if len(value) > SHORT_VALUE else _short_spelled(value)


def _spelled(value: bytes) -> bytes:
    try:
        return b"\\".join(repr(float(part)).encode() for part in value.split(b"\\"))
    except ValueError:
        return value


_short_spelled = lru_cache(maxsize=4096)(_spelled)
