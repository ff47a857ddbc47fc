"""DICOM files that claim what they do not hold, or hold more than anybody can read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.hostile.setting import GOOD, SERIES, Setting, slice_bytes
from dagster_project.intake.identity.pseudonyms import new_pseudonym
from tests.intake.builders import ct, plant, rtstruct, seg, to_bytes

EXPLICIT, DEFLATED, RLE, JPEG, J2K = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.90",
)


def _put(make: Callable[[], bytes], setting: Setting) -> None:
    setting.put("dicom/hostile.dcm", make())


def _meta(syntax: str) -> bytes:
    def element(number: int, vr: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", 2, number, vr, len(value)) + value

    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(0x10, b"UI", value)
    return bytes(128) + b"DICM" + element(0, b"UL", struct.pack("<I", len(meta))) + meta


def _long(group: int, number: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHI", group, number, vr, 0, length)


def _body() -> bytes:
    """The elements of a good slice, without what stands before them."""
    data = slice_bytes()
    return data[data.index(struct.pack("<HH2s", 8, 8, b"CS")) :]


def _nested(levels: int) -> bytes:
    return (
        _meta(EXPLICIT)
        + (
            _long(0x0008, 0x1115, b"SQ", 0xFFFFFFFF)
            + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        )
        * levels
    )


def _nested_and_closed(levels: int) -> bytes:
    ends = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return _nested(levels) + ends * levels + _body()


def _deflated(size: int) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = packer.compress(_long(0x0008, 0x0100, b"UT", size))
    piece = bytes(2**20)
    packed += b"".join(packer.compress(piece) for _ in range(size // 2**20))
    return _meta(DEFLATED) + packed + packer.flush()


def _with_syntax(syntax: str, pixels: bytes) -> bytes:
    ds = ct(7)
    ds.file_meta.TransferSyntaxUID = syntax
    fragments = (
        struct.pack("<HHI", 0xFFFE, 0xE000, 0) + pixels + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )
    del ds.PixelData
    return to_bytes(ds) + _long(0x7FE0, 0x0010, b"OB", 0xFFFFFFFF) + fragments


def _fragment(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def _jpeg_of(side: int) -> bytes:
    return (
        b"\xff\xd8\xff\xc0"
        + struct.pack(">HBHHB", 11, 8, side, side, 1)
        + b"\1\x11\0"
        + b"\xff\xda"
        + struct.pack(">HB", 8, 1)
        + b"\1\0\0\x3f\0"
        + bytes(64)
        + b"\xff\xd9"
    )


def _jpeg_2000_of(side: int) -> bytes:
    size = struct.pack(">HHIIIIIIIIH", 41, 0, side, side, 0, 0, side, side, 0, 0, 1) + b"\x0b\1\1"
    return b"\xff\x4f\xff\x51" + size + b"\xff\x93" + bytes(64) + b"\xff\xd9"


def _claims(**elements: Any) -> bytes:
    return to_bytes(ct(7, **elements))


def _private(count: int) -> bytes:
    elements = b"".join(
        struct.pack("<HH2sH", 0x0009, 0x1000 + n % 0xEFFF, b"LO", 0) for n in range(count)
    )
    start = _meta(EXPLICIT)
    return start + elements + _body()


def _long_text() -> bytes:
    ds = ct(7)
    plant(ds, 0x00204000, "UT", b"Murong " * (100 * 2**20 // 7))
    return to_bytes(ds)


def _bytes_at(keyword: str, vr: str, value: bytes) -> bytes:
    ds = ct(7)
    plant(ds, keyword, vr, value)
    return to_bytes(ds)


def _contours(figures: str, count: int = 1) -> bytes:
    ds = rtstruct(instance=f"{SERIES}.5.77", patient=GOOD)
    item = ds.ROIContourSequence[0].ContourSequence[0]
    plant(item, "ContourData", "DS", figures.encode())
    item.NumberOfContourPoints = count
    return to_bytes(ds)


def _segmentation_of(frames: int) -> bytes:
    ds = seg(instance=f"{SERIES}.6.78")
    ds.NumberOfFrames = frames
    return to_bytes(ds)


def _two_patients(setting: Setting) -> None:
    """A series of which nobody can say whose it is."""
    for index, patient in enumerate(("ZY7", "ZY8")):
        setting.put(f"dicom/{patient}", to_bytes(ct(index, patient=patient, series=f"{SERIES}.9")))


FILES: Mapping[str, Callable[[Setting], Any]] = {
    name: partial(_put, make)
    for name, make in {
        "empty": lambda: b"",
        "one byte": lambda: b"\0",
        "preamble alone": lambda: bytes(128) + b"DICM",
        "a MiB of zeros": lambda: bytes(2**20),
        "meta alone": lambda: _meta(EXPLICIT),
        "length of 4 GiB": lambda: (
            _meta(EXPLICIT) + _long(0x0008, 0x0100, b"UT", 0xFFFFFFFE) + b"x"
        ),
        "length of the meta information of 4 GiB": lambda: (
            bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, 0xFFFFFFF0)
        ),
        "undefined length without an end": lambda: (
            _meta(EXPLICIT) + _long(0x7FE0, 0x0010, b"OB", 0xFFFFFFFF) + b"\0" * 10**6
        ),
        "ten thousand nested sequences": lambda: _nested(10_000),
        "ten thousand nested sequences that end": lambda: _nested_and_closed(10_000),
        "a million nested sequences": lambda: _nested(1_000_000),
        "deflated bomb": lambda: _deflated(3 * 2**30),
        "deflated garbage": lambda: _meta(DEFLATED) + b"\xff" * 1000,
        "pixels of 4 GiB": lambda: (
            to_bytes(ct(7))[:-400] + _long(0x7FE0, 0x0010, b"OW", 0xFFFFFFFE)
        ),
        "65,535 rows and columns": lambda: _claims(Rows=65535, Columns=65535),
        "a thousand million frames": lambda: _claims(NumberOfFrames=10**9),
        "negative frames": lambda: _claims(NumberOfFrames=-1),
        "no rows": lambda: _claims(Rows=0),
        "a million empty fragments": lambda: _with_syntax(RLE, _fragment(b"") * 1_000_000),
        "RLE of wrong lengths": lambda: _with_syntax(
            RLE, _fragment(struct.pack("<16I", 15, *[0xFFFFFFF0] * 15) + b"\x81\0" * 100)
        ),
        "JPEG of 65,535 rows": lambda: _with_syntax(JPEG, _fragment(_jpeg_of(65535))),
        "JPEG 2000 of 2^31 columns": lambda: _with_syntax(J2K, _fragment(_jpeg_2000_of(2**31))),
        "million private elements": lambda: _private(1_000_000),
        "text of 100 MiB": _long_text,
        "position of infinity": lambda: _bytes_at("ImagePositionPatient", "DS", b"inf\\-inf\\nan "),
        "spacing of 1e308": lambda: _bytes_at("PixelSpacing", "DS", b"1e308\\1e308 "),
        "slope of 400 digits": lambda: _bytes_at("RescaleSlope", "DS", b"9" * 400),
        "date of year 0": lambda: _bytes_at("AcquisitionDate", "DA", b"00000000"),
        "date of year 9999": lambda: _bytes_at("AcquisitionDate", "DA", b"99991231"),
        "UID of 10,000 digits": lambda: _bytes_at("SOPInstanceUID", "UI", b"1." * 5000),
        "patient number of 1 MiB in an image": lambda: _bytes_at("PatientID", "UT", b"7" * 2**20),
        "name in unfinished escapes": lambda: _bytes_at(
            "PatientName", "PN", b"\x1b$B\x1b(I\x1b$)A\x1b" * 50
        ),
        "contours of NaN": lambda: _contours("\\".join(["nan"] * 12), 4),
        "contours of 5,000 points at one place": lambda: _contours(
            "\\".join(["1.5"] * 15_000), 5000
        ),
        "segmentation of a thousand million frames": lambda: _segmentation_of(10**9),
        "pseudonym of another site in an image": lambda: _claims(
            patient=new_pseudonym("CD"), series=f"{SERIES}.9"
        ),
    }.items()
} | {"series of two patients": _two_patients}
