"""De-identification by allowlist (PS3.15 Annex E).

A file is written anew from what may stay, never cleaned of what may not.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import pydicom
from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag

from dagster_project.domain.imaging.hounsfield import NOT_HOUNSFIELD, is_hounsfield
from dagster_project.intake.dicom.allowlists import (
    CT,
    LABEL_MAP_SEG,
    RTSTRUCT,
    SEG,
    Allowlist,
    load_allowlists,
)
from dagster_project.intake.dicom.dicom_writer import Person, Writer
from dagster_project.intake.dicom.elements import TooLongError, encode_element
from dagster_project.intake.dicom.examination import NO_EXAMINATION, Examination
from dagster_project.intake.dicom.identifiers import (
    Identity,
    Needles,
    holds_identifier,
    make_needles,
    plain_text,
    read_identity,
)
from dagster_project.intake.dicom.text_in_pixels import holds_text
from dagster_project.intake.refusals import RefusedError

IMPLEMENTATION_CLASS_UID = "2.25.283590472153098723410098563271154207361"
IMPLEMENTATION_VERSION = "LAKEHOUSE_1"

REFUSED_IMAGE_WORDS = (
    "LOCALIZER",
    "SECONDARY",
    "DERIVED",
    "SCREEN",
    "DOSE",
    "PROJECTION",
    "MPR",
    "MIP",
    "REFORMATTED",
    "CSA",
)
"""No value of ImageType may contain one of these."""

KINDS: Mapping[str, str] = {CT: "CT", RTSTRUCT: "RTSTRUCT", SEG: "SEG", LABEL_MAP_SEG: "SEG"}

MATERIAL_WORDS = re.compile(r"IODINE|Z_?EFF|EFF_ATOMIC|ELECTRON_DENSITY|RHO|MAT_|MD_")
"""Beginnings of values of ImageType by which a multi-energy CT names an image that is not in HU."""

MATERIAL = (
    "ImageType names a map of a material, which is not in Hounsfield units; "
    "send the series in Hounsfield units"
)

WAYS_OUT: Mapping[str, str] = {
    "1.2.840.10008.5.1.4.1.1.2.1": "export the series as classic CT, one file per slice",
    "1.2.840.10008.5.1.4.1.1.2.2": "export the original classic CT, one file per slice",
}
"""What to do with objects that hold a CT series of another class.

The classes are Enhanced CT and Legacy Converted Enhanced CT.
"""

_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


@dataclass(frozen=True)
class Source:
    """An opened file: parsed once, judged by its header, not yet de-identified."""

    dataset: Dataset
    allowlist: Allowlist
    kind: str
    identity: Identity


@dataclass(frozen=True)
class Clean:
    """A de-identified file: its bytes, the keyed UIDs it is filed under, and what was done.

    What was done is counted by action and tag.
    """

    data: bytes
    kind: str
    sop_instance_uid: str
    series_instance_uid: str
    referenced_series: tuple[str, ...]
    content_digest: str
    actions: Mapping[tuple[str, str], int]
    has_text: bool = False
    examination: Examination = NO_EXAMINATION


def open_source(data: bytes) -> Source:
    """Parse a file and judge it by its header.

    1. It is DICOM with a preamble, names its transfer syntax, and nothing is cut off.
    2. Its SOP class is CT, RTSTRUCT or SEG, as segments or as a label map.
    3. No burned-in annotation; a CT image is ORIGINAL, PRIMARY and AXIAL and nothing in ImageType
       says otherwise; it is in HU.
    4. The elements that the allowlist requires are there.

    Raises
    ------
    RefusedError
        With the first of these that does not hold.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _judged(_parsed(data))


def _judged(dataset: Dataset) -> Source:
    allowlist = _allowlist(dataset)
    _judge_image(dataset, allowlist.sop_class)
    missing = [
        rule.keyword
        for rule in allowlist.rules
        if rule.keyword in allowlist.required and not _filled(dataset, rule.tag)
    ]
    if missing:
        raise RefusedError(
            f"required element {missing[0]} is missing or empty; export the file again"
        )
    return Source(dataset, allowlist, KINDS[allowlist.sop_class], read_identity(dataset))


def _parsed(data: bytes) -> Dataset:
    try:
        dataset = pydicom.dcmread(BytesIO(data))
    except InvalidDicomError as error:
        raise RefusedError(
            "not a DICOM file; leave it out, or export it as DICOM part 10"
        ) from error
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise RefusedError(
            "damaged: the structure of the file cannot be read; export it again"
        ) from error
    if "TransferSyntaxUID" not in dataset.file_meta:
        raise RefusedError(
            "damaged: the file meta information names no transfer syntax; export the file again"
        )
    return dataset


def _allowlist(dataset: Dataset) -> Allowlist:
    sop_class = plain_text(dataset, Tag(0x00080016))
    allowlist = load_allowlists().get(sop_class)
    if allowlist is None:
        known = UID_dictionary.get(sop_class)
        kind = known[0] if known else "missing or unknown"
        way_out = WAYS_OUT.get(
            sop_class, "send CT Image Storage, RT Structure Set Storage or Segmentation Storage"
        )
        raise RefusedError(f"SOP class is not taken in ({kind}); {way_out}")
    return allowlist


def _judge_image(dataset: Dataset, sop_class: str) -> None:
    if plain_text(dataset, Tag(0x00280301)).upper().startswith("YES"):
        raise RefusedError(
            "BurnedInAnnotation is YES: names may stand in the pixels; send the original series"
        )
    if sop_class != CT:
        return
    values = [value.strip().upper() for value in plain_text(dataset, Tag(0x00080008)).split("\\")]
    if values[:3] != ["ORIGINAL", "PRIMARY", "AXIAL"]:
        raise RefusedError(
            "ImageType is not ORIGINAL\\PRIMARY\\AXIAL "
            "(localiser, secondary capture or derived image); send the axial original"
        )
    if any(word in value for value in values for word in REFUSED_IMAGE_WORDS):
        raise RefusedError(
            "ImageType names a localiser or a derived image; send the axial original"
        )
    if any(MATERIAL_WORDS.match(value) for value in values):
        raise RefusedError(MATERIAL)
    if not is_hounsfield(plain_text(dataset, Tag(0x00281054))):
        raise RefusedError(NOT_HOUNSFIELD)


def _filled(dataset: Dataset, tag: BaseTag) -> bool:
    element = dataset.get_item(tag)
    value = element.value if element is not None else None
    return len(value) > 0 if hasattr(value, "__len__") else value is not None


def deidentify(source: Source, person: Person) -> Clean:
    """Write a file anew from what its allowlist lets stay.

    1. Elements of the allowlist are checked and written, at every depth; everything else is dropped
       and counted.
    2. Fresh preamble and file meta information; explicit VR little endian (implicit where a contour
       is too long for it).
    3. The bytes are searched for the file's own identifiers and those of the case report.
    4. The pixels of a CT are searched for text that is drawn into them.

    Raises
    ------
    RefusedError
        Where an element is damaged, the pixels are not those of the geometry, or an identifier
        would leave.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            writer = Writer(source.dataset, source.allowlist, person, explicit=True)
            body = writer.body()
        except TooLongError:
            writer = Writer(source.dataset, source.allowlist, person, explicit=False)
            body = writer.body()
    sop_instance_uid = writer.values["SOPInstanceUID"].decode()
    data = _file(source.allowlist.sop_class, sop_instance_uid, body, explicit=writer.explicit)
    _search(data, writer.values.get("PixelData", b""), source, person)
    return Clean(
        data,
        source.kind,
        sop_instance_uid,
        writer.values["SeriesInstanceUID"].decode(),
        tuple(dict.fromkeys(writer.referenced_series)),
        writer.content_digest(),
        Counter(writer.actions),
        has_text=source.kind == "CT"
        and any(holds_text(frame, *writer.rescale()) for frame in writer.frames()),
        examination=Examination.of(writer.values),
    )


def _search(data: bytes, pixels: bytes, source: Source, person: Person) -> None:
    header = data[: len(data) - len(pixels) - len(pixels) % 2] if pixels else data
    needles = _needles(source.identity.texts).joined(person.needles)
    if holds_identifier(header, pixels, needles, person.pseudonym.lower().encode()):
        raise RefusedError(
            "an identifier of the patient would stand in the output; "
            "report this file's digest to the data manager"
        )


@lru_cache(maxsize=256)
def _needles(texts: tuple[str | bytes, ...]) -> Needles:
    return make_needles(texts)


def _file(sop_class: str, sop_instance_uid: str, body: bytes, *, explicit: bool) -> bytes:
    meta = b"".join(
        encode_element(0x00020000 + element, vr, value, explicit=True)
        for element, vr, value in (
            (0x01, "OB", b"\0\1"),
            (0x02, "UI", sop_class.encode()),
            (0x03, "UI", sop_instance_uid.encode()),
            (0x10, "UI", (_EXPLICIT if explicit else _IMPLICIT).encode()),
            (0x12, "UI", IMPLEMENTATION_CLASS_UID.encode()),
            (0x13, "SH", IMPLEMENTATION_VERSION.encode()),
        )
    )
    return (
        bytes(128)
        + b"DICM"
        + encode_element(0x00020000, "UL", struct.pack("<I", len(meta)), explicit=True)
        + meta
        + body
    )
