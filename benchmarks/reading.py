"""What it costs to read a series of slices as one image in Hounsfield units.

Our reading, SimpleITK's and pydicom's are interleaved.

    OMP_NUM_THREADS=1 python benchmarks/reading.py FOLDER_OF_A_CT_SERIES [--slices 400] [--rounds 3]

The series is made of one slice of the folder, written again at 1 mm steps. CPU seconds of one
process, the least of the rounds.

- ours: `read_series`, which looks at every header (one series, one orientation, spacing, gaps,
  duplicates) and stacks int16.
- SimpleITK: ImageSeriesReader with GDCM, names sorted by GDCM; what it returns is used as it is.
- pydicom: dcmread and pixel_array of every slice, sorted by position, rescaled, stacked; nothing is
  looked at.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.uid import generate_uid

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dagster_project.domain.imaging.series import read_series


def write_slices(source, folder, slices):
    dataset = pydicom.dcmread(next(iter(sorted(source.glob("*.dcm")))))
    for number in range(slices):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(
            entropy_srcs=[str(number)]
        )
        dataset.InstanceNumber, dataset.ImagePositionPatient = (
            number + 1,
            [-250, -250, float(number)],
        )
        dataset.save_as(folder / f"{number:04}.dcm")
    return dataset.Rows, dataset.Columns


def ours(folder):
    return read_series(folder).image


def simpleitk(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def plain_pydicom(folder):
    slices = sorted(
        (pydicom.dcmread(file) for file in folder.glob("*.dcm")),
        key=lambda d: float(d.ImagePositionPatient[2]),
    )
    return np.stack(
        [
            (d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept)).astype(np.int16)
            for d in slices
        ]
    )


def timed(read, folder):
    start = time.process_time()
    found = read(folder)
    return time.process_time() - start, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("series", type=Path, help="folder of a CT series")
    parser.add_argument("--slices", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows, columns = write_slices(given.series, folder, given.slices)
        seconds = {read: [] for read in (ours, simpleitk, plain_pydicom)}
        for _ in range(given.rounds):
            images = []
            for read, spent in seconds.items():
                took, image = timed(read, folder)
                spent.append(took)
                images.append(
                    sitk.GetArrayFromImage(image) if isinstance(image, sitk.Image) else image
                )
            if not all(np.array_equal(images[0], other) for other in images[1:]):
                sys.exit("the ways differ in their voxels")
    print(
        f"| {given.slices} slices | ours, CPU s | SimpleITK, CPU s | pydicom, CPU s | voxels |\n"
        "|---|---|---|---|---|"
    )
    print(
        f"| {rows} × {columns} | "
        + " | ".join(f"{min(spent):.2f}" for spent in seconds.values())
        + " | the same |"
    )


if __name__ == "__main__":
    main()
