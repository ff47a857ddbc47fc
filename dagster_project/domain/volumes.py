"""Mask volumes outside DICOM (NIfTI, NRRD), which tell their series and lesion only by their file name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from dagster_project.domain.grids import affine_of, place_voxels
from dagster_project.domain.outlines import WRONG_SERIES, BorderRule, Mask, MaskError, Outline, Source
from dagster_project.domain.series import Series

NIFTI_ENDINGS = (".nii.gz", ".nii")
NRRD_ENDINGS = (".nrrd", ".nhdr")


def is_volume(path: Path) -> bool:
    """Whether a file is a mask volume by its name."""
    return path.name.lower().endswith(NIFTI_ENDINGS + NRRD_ENDINGS)


def name_parts(path: Path) -> tuple[str | None, str]:
    """Series and lesion of <SeriesInstanceUID>__<lesion>.nii.gz; the series is None where the name holds none.

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
    2. Whole numbers: voxels above 0; several different values are several lesions and refused.
       Fractions from 0 to 1: voxels of at least one half.
    3. The volume has to lie on the grid of the series, axes flipped or swapped perhaps; voxels beyond are counted in `n_outside`.

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
    voxels, rule = _voxels(sitk.GetArrayViewFromImage(image))
    mask = np.zeros(series.shape, bool)
    n_outside = place_voxels(mask, voxels, affine_of(image), series.affine)
    source: Source = "NIFTI" if path.name.lower().endswith(NIFTI_ENDINGS) else "NRRD"
    return [Outline(label, mask, source, rule, n_outside)]


def _read(path: Path) -> sitk.Image:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        # The reader's own message holds the path.
        raise MaskError("cannot be read as a volume with perpendicular axes; export the mask again") from None
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise MaskError("is not a three-dimensional volume of single values; export one lesion a file")
    return image


def _voxels(values: npt.NDArray[Any]) -> tuple[Mask, BorderRule]:
    found = np.unique(values)
    if not np.isfinite(found).all() or found[0] < 0:
        raise MaskError("holds values that are negative or no numbers; export a mask of 0 and 1")
    if (found == np.rint(found)).all():
        if (found > 0).sum() > 1:
            raise MaskError("holds several labels; export one lesion a file")
        return values > 0, "voxels_as_given"
    if found[-1] > 1:
        raise MaskError("holds fractions above 1; export a mask of 0 and 1")
    return values >= 0.5, "fraction_at_least_half"
