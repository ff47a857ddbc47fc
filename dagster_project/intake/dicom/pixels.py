"""Decodes pixels and writes them again in one encoding that every program reads.

Nothing but the image leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import Tag
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    JPEG2000MC,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dagster_project.intake.refusals import RefusedError

PIXEL_DATA = Tag(0x7FE00010)

PLAIN = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
"""Transfer syntaxes without compressed pixels."""

NATIVE = tuple(syntax for syntax in PLAIN if syntax.is_little_endian)
"""Transfer syntaxes whose pixel bytes are already what is written here."""

HIGH_THROUGHPUT = (HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)

LOSSY = frozenset(
    {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, JPEG2000MC, HTJ2K}
)
"""Transfer syntaxes that may lose."""

DECODERS: dict[UID, str] = {
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    JPEGLSLossless: "gdcm",
    JPEGLSNearLossless: "gdcm",
    JPEGBaseline8Bit: "gdcm",
    JPEGExtended12Bit: "gdcm",
    RLELossless: "pylibjpeg",
    **dict.fromkeys(HIGH_THROUGHPUT, "pylibjpeg"),
}
"""The decoder of each compressed transfer syntax: pixels do not depend on what else is installed.

GDCM for JPEG and JPEG-LS, OpenJPEG (by pylibjpeg) for JPEG 2000, pylibjpeg's own for RLE; none is
under the GPL. Lossless JPEG comes first: of several syntaxes that a sender offers for one object
the listener takes the first.
"""

MOST_BYTES = 2**29
"""Half a gibibyte: the largest segmentation of a whole chest.

A file that declares more is refused before anything is allocated.
"""


@dataclass(frozen=True)
class Geometry:
    """The shape of the pixels, as the header declares it."""

    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def bits(self) -> int:
        """Bits of all frames."""
        return self.rows * self.columns * self.frames * self.bits_allocated

    @property
    def length(self) -> int:
        """Bytes of all frames, without padding."""
        return (self.bits + 7) // 8

    def check(self) -> None:
        """Refuse what is not a grey image, or too large."""
        if not self.rows or not self.columns or not self.frames:
            raise RefusedError(
                "undecodable pixels: the geometry of the header is empty; export the file again"
            )
        if (
            self.bits_allocated not in {1, 8, 16}
            or not 0 < self.bits_stored <= self.bits_allocated
            or self.high_bit != self.bits_stored - 1
        ):
            raise RefusedError(
                "undecodable pixels: bits allocated, bits stored and high bit do not fit; "
                "export the file again"
            )
        if self.length > MOST_BYTES:
            raise RefusedError(
                "undecodable pixels: the header declares more than 512 MiB; "
                "send one series per file"
            )


def clean_pixels(dataset: Dataset, geometry: Geometry) -> bytes:
    """Pixel bytes, little endian, of exactly the declared length.

    Bits beyond BitsStored (old overlays) are cleared; in signed pixels they repeat the sign.

    Raises
    ------
    RefusedError
        Where the pixels cannot be decoded, or are not as many as the header declares.
    """
    geometry.check()
    transfer_syntax = dataset.file_meta.TransferSyntaxUID
    data = _native(dataset, geometry) if transfer_syntax in NATIVE else _decoded(dataset, geometry)
    if len(data) != geometry.length:
        raise RefusedError(
            "undecodable pixels: their length is not that of the geometry; export the file again"
        )
    return _masked(data, geometry)


def stored_values(data: bytes, geometry: Geometry) -> npt.NDArray[np.integer]:
    """What `clean_pixels` gave as an array, shape (frames, rows, columns)."""
    shape = (geometry.frames, geometry.rows, geometry.columns)
    if geometry.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return bits[: geometry.bits].reshape(shape)
    kind = f"<{'i' if geometry.signed else 'u'}{geometry.bits_allocated // 8}"
    return np.frombuffer(data, kind).reshape(shape)


def _native(dataset: Dataset, geometry: Geometry) -> bytes:
    raw = dataset.get_item(PIXEL_DATA)
    if (
        not isinstance(raw, RawDataElement)
        or raw.value is None
        or raw.length == 0xFFFFFFFF
        or len(raw.value) != raw.length
    ):
        raise RefusedError("undecodable pixels: truncated; export the file again")
    return (
        raw.value[: geometry.length]
        if len(raw.value) == geometry.length + geometry.length % 2
        else raw.value
    )


def _decoded(dataset: Dataset, geometry: Geometry) -> bytes:
    syntax = dataset.file_meta.TransferSyntaxUID
    _refuse_unread(syntax, geometry)
    try:
        array, _ = get_decoder(syntax).as_array(
            dataset, raw=True, decoding_plugin=DECODERS.get(syntax, "")
        )
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        raise RefusedError(
            "undecodable pixels: the stream is broken; export the file again, uncompressed"
        ) from error
    if array.size != geometry.rows * geometry.columns * geometry.frames:
        raise RefusedError(
            "undecodable pixels: their number is not that of the geometry; export the file again"
        )
    return _as_bytes(array, geometry)


def _refuse_unread(syntax: UID, geometry: Geometry) -> None:
    if syntax == JPEGExtended12Bit and geometry.bits_stored > 8:
        raise RefusedError(
            "undecodable pixels: lossy JPEG of 12 bits (JPEG Extended) is not read; "
            "export uncompressed"
        )
    if syntax not in DECODERS and syntax not in PLAIN:
        raise RefusedError(
            "undecodable pixels: their transfer syntax is not read; export uncompressed"
        )


def _as_bytes(array: np.ndarray, geometry: Geometry) -> bytes:
    if geometry.bits_allocated == 1:
        return np.packbits(array.astype(bool).ravel(), bitorder="little").tobytes()
    return array.astype({8: "|u1", 16: "<u2"}[geometry.bits_allocated]).tobytes()


def _masked(data: bytes, geometry: Geometry) -> bytes:
    unused = geometry.bits_allocated - geometry.bits_stored
    if geometry.bits_allocated == 1:
        spare = -geometry.bits % 8
        return data if not spare else data[:-1] + bytes([data[-1] & (0xFF >> spare)])
    if not unused:
        return data
    if geometry.signed:
        values = np.frombuffer(data, {8: "|i1", 16: "<i2"}[geometry.bits_allocated])
        return ((values << unused) >> unused).astype(values.dtype).tobytes()
    values = np.frombuffer(data, {8: "|u1", 16: "<u2"}[geometry.bits_allocated])
    return (values & ((1 << geometry.bits_stored) - 1)).astype(values.dtype).tobytes()
