"""Masks outside DICOM, written again with nothing but geometry and voxels.

Their headers have room for any text.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dagster_project.domain.imaging.outlines import BorderRule
from dagster_project.intake.dicom.mask_headers import (
    SEVERAL_SEGMENTS,
    TILTED,
    check_header,
    check_place,
    segment_of,
)
from dagster_project.intake.dicom.nifti_planes import TOO_LARGE, write_binary
from dagster_project.intake.refusals import RefusedError

NAME = re.compile(
    r"""
    (?P<series>[0-9.]{3,64}) __ (?P<lesion>.+?)
    (?:[._\- ] (?:seg|segmentation|label|labelmap|mask))*
    \. (?:nii\.gz|nii|nrrd|mha)""",
    re.IGNORECASE | re.VERBOSE,
)
"""<SeriesInstanceUID>__<lesion>.nii.gz, .nii, .nrrd or .mha.

What programs append to a lesion's name is no part of it (.seg.nrrd, -label.nrrd).
"""

NIFTI = (".nii.gz", ".nii")
ENDINGS = (*NIFTI, ".nrrd", ".mha")

RULES = "2"
"""Version of the rules; raise it when the same file would give another mask.

Masks that were taken in are then read again where they still lie in the landing.
"""

UNREADABLE = "mask file cannot be read; export it again as NIfTI-1 (.nii.gz) or NRRD (.nrrd)"
NOT_A_VOLUME = (
    "mask is not one three-dimensional volume; "
    "export one volume per lesion, or all lesions as one DICOM SEG"
)

_TEXT_FIELDS = ((4, 14), (14, 32), (148, 228), (228, 252), (328, 344))
"""Bytes of a NIfTI-1 header that hold text: data_type, db_name, descrip, aux_file, intent_name."""

_INTENT_P1 = 56
"""Byte of a NIfTI-1 header at which intent_p1 begins."""


@dataclass(frozen=True)
class MaskName:
    """What a mask file's name says: the CT series it lies on, and the lesion."""

    series_instance_uid: str
    lesion: str


def is_mask_file(name: str) -> bool:
    """True for a file that ends as a mask does."""
    return name.lower().endswith(ENDINGS)


def read_mask_name(name: str) -> MaskName:
    """Series and lesion of a mask file.

    Raises
    ------
    RefusedError
        Where the name is not as the delivery specification has it.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise RefusedError(
            "mask file is not named <SeriesInstanceUID>__<lesion>.nii.gz (.nii, .nrrd, .mha); "
            "rename it"
        )
    return MaskName(match["series"], match["lesion"])


def clean_mask(path: Path, lesion: str = "") -> tuple[bytes, str]:
    """A mask as gzipped NIfTI bytes of 0 and 1, and the digest of what is in it.

    1. One file that holds its own voxels; of a 3D Slicer segmentation the segment that the file is
       named after.
    2. Which voxels are inside: `domain.imaging.mask_values.mask_of_values`. Whether they were
       fractions is noted in `intent_p1`.

    Parameters
    ----------
    lesion
        What the file's name calls the lesion.

    Raises
    ------
    RefusedError
        Where it cannot be read, is not three-dimensional, or its values are no mask.
    """
    from dagster_project.domain.imaging.outlines import MaskError

    check_header(path)
    try:
        clean, rule = _binary(path, lesion)
    except MaskError as error:
        raise RefusedError(f"mask {error.reason}") from error
    return _nifti(clean, thresholded=rule == "fraction_at_least_half")


def _binary(path: Path, lesion: str) -> tuple[Any, BorderRule]:
    """The mask as an image of 0 and 1, and how its border was decided."""
    import SimpleITK as sitk

    from dagster_project.domain.imaging.mask_values import mask_of_values

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "binary.nii"
        rule = write_binary(path, made) if path.name.lower().endswith(NIFTI) else None
        image = _read(path if rule is None else made)
    if rule is not None:
        return image, rule.border_rule
    mask, border_rule = mask_of_values(_voxels(image, lesion))
    clean = sitk.GetImageFromArray(mask.astype("uint8"))
    clean.SetOrigin(image.GetOrigin())
    clean.SetSpacing(image.GetSpacing())
    clean.SetDirection(image.GetDirection())
    return clean, border_rule


def _read(path: Path) -> Any:
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise RefusedError(_why_unreadable(str(error))) from None
    if image.GetDimension() != 3:
        raise RefusedError(NOT_A_VOLUME)
    check_place(image)
    return image


def _why_unreadable(message: str) -> str:
    """The reader's own message holds the path."""
    if "orthonormal" in message:
        return TILTED
    return (
        TOO_LARGE if re.search("allocate|bad_alloc|memory", message, re.IGNORECASE) else UNREADABLE
    )


def _voxels(image: Any, lesion: str) -> npt.NDArray[Any]:
    """The voxels of the segment that the file is named after, or all of a file without segments."""
    import SimpleITK as sitk

    values = sitk.GetArrayViewFromImage(image)
    segment = segment_of(image, lesion)
    if segment is None:
        if image.GetNumberOfComponentsPerPixel() != 1:
            raise RefusedError(NOT_A_VOLUME)
        return values
    layer = values if values.ndim == 3 else values[..., segment.layer]
    if segment.alone and ((layer != 0) & (layer != segment.value)).any():
        raise RefusedError(SEVERAL_SEGMENTS)
    return np.equal(layer, segment.value).astype(np.uint8)


def _nifti(image: Any, *, thresholded: bool) -> tuple[bytes, str]:
    import SimpleITK as sitk

    from dagster_project.domain.imaging.volumes import THRESHOLD

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "mask.nii"
        try:
            sitk.WriteImage(image, str(target))
        except RuntimeError:
            raise RefusedError(TILTED) from None
        data = bytearray(target.read_bytes())
    for start, end in _TEXT_FIELDS:
        data[start:end] = bytes(end - start)
    struct.pack_into("<f", data, _INTENT_P1, THRESHOLD if thresholded else 0.0)
    return gzip.compress(bytes(data), compresslevel=6, mtime=0), hashlib.sha256(data).hexdigest()
