"""NIfTI and NRRD masks, written again with nothing but geometry and voxels: their headers have room for any text."""

from __future__ import annotations

import gzip
import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_project.intake.refusals import RefusedError

NAME = re.compile(r"(?P<series>[0-9.]{3,64})__(?P<lesion>.+?)\.(nii\.gz|nii|nrrd)", re.IGNORECASE)
"""<SeriesInstanceUID>__<lesion>.nii.gz, .nii or .nrrd"""

ENDINGS = (".nii.gz", ".nii", ".nrrd")

_TEXT_FIELDS = ((4, 14), (14, 32), (148, 228), (228, 252), (328, 344))
"""Bytes of a NIfTI-1 header that hold text: data_type, db_name, descrip, aux_file, intent_name."""


@dataclass(frozen=True)
class MaskName:
    """What a mask file's name says: the CT series it lies on, and the lesion."""

    series_instance_uid: str
    lesion: str


def is_mask_file(name: str) -> bool:
    """True for a file that ends as a NIfTI or NRRD does."""
    return name.lower().endswith(ENDINGS)


def read_mask_name(name: str) -> MaskName:
    """Series and lesion of a mask file.

    Raises
    ------
    RefusedError
        Where the name is not as the landing contract has it.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise RefusedError("mask file is not named <SeriesInstanceUID>__<lesion>.nii.gz (.nii, .nrrd); rename it")
    return MaskName(match["series"], match["lesion"])


def clean_mask(path: Path) -> tuple[bytes, str]:
    """A mask as gzipped NIfTI bytes of 0 and 1, and the digest of what is in it.

    Raises
    ------
    RefusedError
        Where it cannot be read, is not three-dimensional, or holds more than one value beside 0.
    """
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise RefusedError("mask file cannot be read; export it again as NIfTI or NRRD") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise RefusedError("mask is not one three-dimensional volume; export one volume a lesion")
    voxels = sitk.GetArrayViewFromImage(image)
    largest = voxels.max()
    if ((voxels != 0) & (voxels != largest)).any():
        raise RefusedError("mask holds more than one value beside 0; export one file a lesion, 0 outside and 1 inside")
    clean = sitk.GetImageFromArray((voxels != 0).astype("uint8"))
    clean.CopyInformation(image)
    return _nifti(clean)


def _nifti(image: Any) -> tuple[bytes, str]:
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "mask.nii"
        try:
            sitk.WriteImage(image, str(target))
        except RuntimeError as error:
            raise RefusedError("mask's axes are not at right angles; export it on the grid of its CT series") from error
        data = bytearray(target.read_bytes())
    for start, end in _TEXT_FIELDS:
        data[start:end] = bytes(end - start)
    return gzip.compress(bytes(data), compresslevel=6, mtime=0), hashlib.sha256(data).hexdigest()
