"""Mask volumes outside DICOM (NIfTI, NRRD), whose file name alone gives series and lesion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from dagster_project.domain.imaging.grids import affine_of, place_voxels
from dagster_project.domain.imaging.mask_values import mask_of_values
from dagster_project.domain.imaging.outlines import CUT, WRONG_SERIES, MaskError, Outline, Source
from dagster_project.domain.imaging.series import Series

NIFTI_ENDINGS = (".nii.gz", ".nii")
NRRD_ENDINGS = (".seg.nrrd", ".nrrd", ".nhdr")

THRESHOLD_FIELD = "intent_p1"
"""Field of a NIfTI header in which intake notes that a mask of 0 and 1 was a map of fractions."""

THRESHOLD = 0.5
"""Value of that field."""


def is_volume(path: Path) -> bool:
    """Whether a file is a mask volume by its name."""
    return path.name.lower().endswith(NIFTI_ENDINGS + NRRD_ENDINGS)


def name_parts(path: Path) -> tuple[str | None, str]:
    """Series and lesion from the name <SeriesInstanceUID>__<lesion>.nii.gz.

    The series is None where the name holds none.

    >>> name_parts(Path("1.2.3__L1.nii.gz"))
    ('1.2.3', 'L1')
    """
    ending = next(e for e in NIFTI_ENDINGS + NRRD_ENDINGS if path.name.lower().endswith(e))
    stem = path.name[: -len(ending)]
    series, parted, lesion = stem.partition("__")
    return (series, lesion) if parted and series and lesion else (None, stem)


def read_volume(path: Path, series: Series, wanted: Callable[[str], bool]) -> list[Outline]:
    """The one lesion of a mask volume.

    1. A series named in the file name has to be this one.
    2. Which voxels are inside: `mask_of_values`; a mask that intake thresholded states that in its
       header.
    3. The volume has to lie on the grid of the series, axes flipped or swapped perhaps; voxels
       beyond are counted in `n_outside` and flagged.

    Raises
    ------
    MaskError
        Where one of these does not hold, or the file cannot be read.
    """
    uid, label = name_parts(path)
    if uid is not None and uid != series.uid:
        raise MaskError(WRONG_SERIES)
    if not wanted(label):
        return []
    image = _read(path)
    voxels, rule = mask_of_values(sitk.GetArrayViewFromImage(image))
    if _was_thresholded(image):
        rule = "fraction_at_least_half"
    mask = np.zeros(series.shape, bool)
    n_outside = place_voxels(mask, voxels, affine_of(image), series.affine)
    source: Source = "NIFTI" if path.name.lower().endswith(NIFTI_ENDINGS) else "NRRD"
    return [Outline(label, mask, source, rule, n_outside, CUT if n_outside else ())]


def _was_thresholded(image: sitk.Image) -> bool:
    return (
        THRESHOLD_FIELD in image.GetMetaDataKeys()
        and float(image.GetMetaData(THRESHOLD_FIELD)) == THRESHOLD
    )


def _read(path: Path) -> sitk.Image:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        # The reader's own message holds the path.
        raise MaskError(
            "cannot be read as a volume with perpendicular axes; export the lesion as DICOM SEG"
        ) from None
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise MaskError(
            "is not a three-dimensional volume of single values; export one lesion per file"
        )
    return image
