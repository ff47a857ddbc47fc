"""Masks of a reader that claim what they do not hold, or lead elsewhere."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.hostile.setting import SERIES, Setting
from tests.intake.builders import write_mask

NAME = f"reads/R1/{SERIES}__L1"


def _put(ending: str, make: Callable[[], bytes], setting: Setting) -> None:
    setting.put(NAME + ending, make())


def _nifti(
    dims: tuple[int, int, int], *, start: float = 352.0, code: int = 2, bits: int = 8
) -> bytes:
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *dims, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, 1, 0.75, 0.75, 1, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, start, 1, 0)
    header[344:348] = b"n+1\0"
    return bytes(header) + bytes(4)


def _zeros(start: bytes, size: int) -> bytes:
    """A gzip file of zeros behind a beginning; a thousandth of its size."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    piece = bytes(2**24)
    return (
        packer.compress(start)
        + b"".join(packer.compress(piece) for _ in range(size // 2**24))
        + packer.flush()
    )


def _nrrd(*lines: str, data: bytes = b"", end: bytes = b"\n\n") -> bytes:
    head = [
        "NRRD0005",
        "type: uint8",
        "dimension: 3",
        "space: left-posterior-superior",
        "space directions: (0.75,0,0) (0,0.75,0) (0,0,1)",
        "space origin: (-10.5,-20.25,0)",
        *lines,
    ]
    return "\n".join(head).encode() + end + data


def _mha(*lines: str) -> bytes:
    return "\n".join(
        [
            "ObjectType = Image",
            "NDims = 3",
            "ElementSpacing = 0.75 0.75 1",
            "ElementType = MET_UCHAR",
            *lines,
            "ElementDataFile = LOCAL",
            "",
        ]
    ).encode()


def _voxels(value: float, dtype: Any, setting: Setting) -> None:
    path = setting.put(NAME + ".nii.gz", b"")
    write_mask(path, np.full((3, 16, 12), value, dtype))


MASKS: Mapping[str, Callable[[Setting], Any]] = {
    **{
        name: partial(_put, ending, make)
        for name, (ending, make) in {
            "gz bomb": (".nii.gz", lambda: _zeros(_nifti((1500, 1500, 1400)), 3 * 2**30)),
            "gz that claims 32,767 cubed": (
                ".nii.gz",
                lambda: gzip.compress(_nifti((32767, 32767, 32767)) + bytes(1000)),
            ),
            "gz of doubles": (
                ".nii.gz",
                lambda: _zeros(_nifti((1500, 1500, 1000), code=64, bits=64), 4 * 2**30),
            ),
            "gz cut off": (".nii.gz", lambda: gzip.compress(_nifti((12, 16, 3)) + bytes(576))[:60]),
            "gz within gz": (
                ".nii.gz",
                lambda: gzip.compress(gzip.compress(_nifti((12, 16, 3)) + bytes(576))),
            ),
            "negative size": (".nii", lambda: _nifti((-12, 16, 3)) + bytes(576)),
            "voxels begin at 1e30": (".nii", lambda: _nifti((12, 16, 3), start=1e30) + bytes(576)),
            "voxels begin at NaN": (
                ".nii",
                lambda: _nifti((12, 16, 3), start=float("nan")) + bytes(576),
            ),
            "NRRD that names another file": (
                ".nrrd",
                lambda: _nrrd("sizes: 12 16 3", "encoding: raw", "data file: /etc/passwd"),
            ),
            "NRRD that names a device": (
                ".nrrd",
                lambda: _nrrd("sizes: 12 16 3", "encoding: raw", "data file: /dev/zero"),
            ),
            "NRRD of a million cubed": (
                ".nrrd",
                lambda: _nrrd("sizes: 1000000 1000000 1000000", "encoding: raw", data=bytes(100)),
            ),
            "NRRD gz bomb": (
                ".nrrd",
                lambda: _nrrd(
                    "sizes: 2000 2000 2000", "encoding: gzip", data=_zeros(b"", 3 * 2**30)
                ),
            ),
            "NRRD header without an end": (
                ".nrrd",
                lambda: _nrrd("sizes: 12 16 3", *("# x" * 30 for _ in range(10**6)), end=b""),
            ),
            "NRRD of negative sizes": (
                ".nrrd",
                lambda: _nrrd("sizes: -12 16 3", "encoding: raw", data=bytes(576)),
            ),
            "MHA of negative sizes": (".mha", lambda: _mha("DimSize = -12 16 3") + bytes(576)),
            "MHA of 10^18 voxels": (".mha", lambda: _mha("DimSize = 1000000 1000000 1000000")),
            "MHA that is a pattern of files": (
                ".mha",
                lambda: _mha("DimSize = 12 16 3").replace(b"LOCAL", b"/etc/pass%s 0 9 1"),
            ),
        }.items()
    },
    "mask of infinities": partial(_voxels, float("inf"), np.float32),
    "mask of everything": partial(_voxels, 1, np.uint8),
}
