"""Converts NIfTI masks to 8 bits plane by plane, to bound memory.

A mask of 64-bit floats is eight times as large as its voxels in 8 bits, and the memory of intake is
limited on purpose.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dagster_project.domain.imaging.mask_values import MaskRule, mask_rule
from dagster_project.intake.refusals import RefusedError

LARGEST_VOLUME = 2**30
"""Most voxels that a header may claim: four times those of a CT of 1,000 slices.

Each needs a byte of memory and a byte on disk.
"""

TOO_LARGE = (
    "mask is too large for intake as it is; "
    "save it as 8-bit integers (uint8), 0 outside and 1 inside"
)
NO_START = "mask's header does not say where its voxels begin; export it again"
CUT_OFF = "mask file is cut off; copy or export it again"

_HEADER_BYTES = 348
_DATA_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""Codes of single numbers; complex ones and colours are no masks."""
_UINT8 = 2

Stream = IO[bytes] | gzip.GzipFile


@dataclass(frozen=True)
class _Header:
    raw: bytes
    order: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    slope: float
    inter: float
    start: int


def write_binary(source: Path, target: Path) -> MaskRule | None:
    """Write a NIfTI-1 mask again as 0 and 1 in 8 bits, with the header's geometry untouched.

    Returns
    -------
    MaskRule or None
        The rule that decided its values; None, with nothing written, for a file of another kind.

    Raises
    ------
    MaskError, RefusedError
        Where the values are no mask, or the file ends too early.
    """
    header = _header(source)
    if header is None:
        return None
    rule = mask_rule(_planes(source, header))
    head = bytearray(header.raw)
    struct.pack_into(f"{header.order}2h", head, 70, _UINT8, 8)
    struct.pack_into(f"{header.order}3f", head, 108, float(header.start), 1.0, 0.0)
    with target.open("wb") as file:
        file.write(head + bytes(header.start - _HEADER_BYTES))
        for plane in _planes(source, header):
            file.write(rule.inside(plane).astype(np.uint8).tobytes())
    return rule


def _header(source: Path) -> _Header | None:
    try:
        with _opened(source) as file:
            raw = file.read(_HEADER_BYTES)
    except (OSError, EOFError):
        return None
    if len(raw) < _HEADER_BYTES:
        return None
    order = "<" if raw[:4] == struct.pack("<i", _HEADER_BYTES) else ">"
    if struct.unpack_from(f"{order}i", raw)[0] != _HEADER_BYTES or raw[344:348] != b"n+1\0":
        return None
    dims = struct.unpack_from(f"{order}8h", raw, 40)
    kind = _DATA_TYPES.get(struct.unpack_from(f"{order}h", raw, 70)[0])
    start, slope, inter = struct.unpack_from(f"{order}3f", raw, 108)
    single = dims[0] >= 3 and min(dims[1:4]) > 0 and all(n == 1 for n in dims[4 : dims[0] + 1])
    if not np.isfinite(start):
        raise RefusedError(NO_START)
    if kind is None or not single:
        return None
    if dims[1] * dims[2] * dims[3] > LARGEST_VOLUME:
        raise RefusedError(TOO_LARGE)
    scaled = np.isfinite(slope) and slope != 0
    shift = inter if scaled and np.isfinite(inter) else 0.0
    return _Header(
        raw,
        order,
        dims[1:4],
        np.dtype(order + kind),
        slope if scaled else 1.0,
        shift,
        max(int(start), _HEADER_BYTES + 4),
    )


def _planes(source: Path, header: _Header) -> Iterator[npt.NDArray[Any]]:
    """The planes with the scale factor of the header applied."""
    nx, ny, nz = header.shape
    with _opened(source) as file:
        _read(file, header.start)
        for _ in range(nz):
            plane = np.frombuffer(_read(file, nx * ny * header.dtype.itemsize), header.dtype)
            yield (
                plane
                if (header.slope, header.inter) == (1.0, 0.0)
                else plane * header.slope + header.inter
            )
        _read_on(file)


def _read_on(file: Stream) -> None:
    """Read to the end of a packed file, since only that compares the digest of its content."""
    try:
        file.read(1)
    except (OSError, EOFError) as error:
        raise RefusedError(CUT_OFF) from error


def _opened(source: Path) -> Stream:
    with source.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(source) if packed else source.open("rb")


def _read(file: Stream, count: int) -> bytes:
    try:
        found = file.read(count)
    except (OSError, EOFError) as error:
        raise RefusedError(CUT_OFF) from error
    if len(found) < count:
        raise RefusedError(CUT_OFF)
    return found
