"""One slice of a CT series as it is read from its file: Hounsfield units, place and header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset

from dagster_project.domain.imaging.headers import HeaderError, floats, whole_number
from dagster_project.domain.imaging.hounsfield import HounsfieldError, hounsfield

Floats = npt.NDArray[np.float64]
Hounsfield = npt.NDArray[np.int16]

UNREADABLE = "a slice cannot be decoded (damaged, cut off or not DICOM); send the series again"
NOT_A_SLICE = (
    "an object is not a single-frame CT slice, (0008,0060) Modality; "
    "export CT as single-frame images"
)


class SeriesError(ValueError):
    """Slices that cannot be stacked into one image; the message says why and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Slice:
    """A slice: header without pixels, HU, place and order in time.

    HU are (rows, columns); the place is that of the first pixel, in mm.
    """

    dataset: Dataset
    hu: Hounsfield
    corner: Floats
    order: tuple[int, int, str]

    @property
    def uid(self) -> str:
        """SOPInstanceUID."""
        return self.order[2]


def read_slice(file: Path) -> Slice:
    """Decode one file.

    Raises
    ------
    SeriesError
        Where it is no CT slice, has no place, or its values are no Hounsfield units.
    """
    dataset = _parsed(file)
    if dataset.get("Modality") != "CT" or (whole_number(dataset, "NumberOfFrames") or 1) > 1:
        raise SeriesError(NOT_A_SLICE)
    hu = _decoded(dataset)
    try:
        corner = np.array(floats(dataset, "ImagePositionPatient", 3))
    except HeaderError as error:
        raise SeriesError(
            f"{error}; the slice cannot be placed, send the original images"
        ) from error
    del dataset.PixelData
    return Slice(dataset, hu, corner, _order(dataset))


def _parsed(file: Path) -> Dataset:
    try:
        return pydicom.dcmread(file)
    except Exception as error:
        raise SeriesError(UNREADABLE) from error


def _decoded(dataset: Dataset) -> Hounsfield:
    try:
        hu = hounsfield(dataset)
    except HounsfieldError as error:
        raise SeriesError(str(error)) from error
    except Exception as error:
        raise SeriesError(UNREADABLE) from error
    if hu.ndim != 2:
        raise SeriesError(NOT_A_SLICE)
    return hu


def _order(dataset: Dataset) -> tuple[int, int, str]:
    numbers = (whole_number(dataset, k) or 0 for k in ("AcquisitionNumber", "InstanceNumber"))
    acquisition, instance = numbers
    return acquisition, instance, str(dataset.get("SOPInstanceUID", ""))
