"""Settings of the protocol, real scans with their outlines, and lesions of known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dagster_project.radiomics.phantoms import Lesion, Scan, scan_lesion
from dagster_project.study import load_study

LESION = Lesion(volume_ml=3.0, seed=11)


@pytest.fixture(scope="session")
def radiomics_settings() -> dict[str, Any]:
    return dict(load_study().section("radiomics"))


@pytest.fixture(scope="session")
def dhi_settings() -> dict[str, Any]:
    return dict(load_study().section("dhi"))


@pytest.fixture(scope="session")
def first_scan() -> Scan:
    return scan_lesion(LESION, 0)


@pytest.fixture(scope="session")
def second_scan() -> Scan:
    return scan_lesion(LESION, 1)


@pytest.fixture(scope="session")
def two_readers(shared_data: Path) -> tuple[sitk.Image, dict[str, np.ndarray]]:
    """LIDC-IDRI-0314: CT of 1 mm slices, and two readers' outlines of one nodule (DICOM SEG)."""
    image = read_ct(shared_data / "two_readers" / "ct")
    return image, {
        str(k): read_seg(shared_data / "two_readers" / f"reader_{k}.seg.dcm", image) for k in (1, 2)
    }


def read_ct(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def read_seg(path: Path, image: sitk.Image) -> np.ndarray:
    dataset = pydicom.dcmread(path)
    mask = np.zeros(tuple(reversed(image.GetSize())), dtype=bool)
    for frame, pixels in zip(
        dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True
    ):
        position = [float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient]
        mask[round(image.TransformPhysicalPointToContinuousIndex(position)[2])] |= pixels.astype(
            bool
        )
    return mask


def as_ct(
    values: np.ndarray, spacing_zyx: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> sitk.Image:
    image = sitk.GetImageFromArray(np.rint(values).astype(np.int16))
    image.SetSpacing(tuple(reversed(spacing_zyx)))
    return image


def ball(
    shape: tuple[int, int, int], radius: float, centre: tuple[float, float, float] | None = None
) -> np.ndarray:
    middle = centre or tuple((n - 1) / 2 for n in shape)
    return (
        sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), middle, strict=True)) <= radius**2
    )
