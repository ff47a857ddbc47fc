"""Milliseconds of CPU to decode one 512 × 512 slice of 12 bits.

The decoder that intake uses is compared with every other that is installed. DCMTK encodes a noisy
gradient; what comes out is compared with what went in.

    python -m benchmarks.decoding [--repeats 20]
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEG2000Lossless

from dagster_project.intake.dicom.pixels import DECODERS
from tests.intake.builders import ct, to_bytes
from tests.intake.peers import of_dcmtk

SIDE, BITS = 512, 12
ENCODERS = {
    "JPEG Lossless": ("dcmcjpeg", "+e1"),
    "JPEG-LS": ("dcmcjpls", "+el"),
    "JPEG 2000": (),
    "RLE": ("dcmcrle",),
}


def slice_of_noise() -> pydicom.Dataset:
    """A gradient with noise, as a CT."""
    random = np.random.default_rng(0)
    values = np.add.outer(np.arange(SIDE), np.arange(SIDE)) + random.normal(0, 20, (SIDE, SIDE))
    return ct(
        pixels=values.clip(0, 2**BITS - 1).astype(np.uint16),
        Rows=SIDE,
        Columns=SIDE,
        BitsStored=BITS,
        HighBit=BITS - 1,
    )


def encoded(plain: pydicom.Dataset, command: tuple[str, ...], folder: Path) -> pydicom.Dataset:
    """The slice as DCMTK encodes it; JPEG 2000, which DCMTK does not write, by OpenJPEG."""
    source, target = folder / "plain.dcm", folder / "encoded.dcm"
    source.write_bytes(to_bytes(plain))
    if not command:
        dataset = pydicom.dcmread(source)
        dataset.compress(JPEG2000Lossless)
        return dataset
    tool, *options = command
    subprocess.run([of_dcmtk(tool), *options, source, target], check=True)
    return pydicom.dcmread(target)


def rows(repeats: int) -> Iterator[str]:
    """A line of the table per encoding and decoder."""
    plain = slice_of_noise()
    with tempfile.TemporaryDirectory() as folder:
        for name, command in ENCODERS.items():
            dataset = encoded(plain, command, Path(folder))
            syntax = dataset.file_meta.TransferSyntaxUID
            decoder = get_decoder(syntax)
            for plugin in decoder.available_plugins:
                start = time.process_time()
                for _ in range(repeats):
                    found, _ = decoder.as_array(dataset, raw=True, decoding_plugin=plugin)
                spent = 1000 * (time.process_time() - start) / repeats
                off = int(np.abs(found.astype(int) - plain.pixel_array).max())
                yield (
                    f"| {name} | {plugin}{' (ours)' if plugin == DECODERS[syntax] else ''} "
                    f"| {spent:.1f} | {off} |"
                )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    print("| encoding | decoder | ms a slice | largest difference |\n|---|---|---|---|")
    for row in rows(parser.parse_args().repeats):
        print(row, flush=True)


if __name__ == "__main__":
    main()
