"""From stored values to Hounsfield units, or a refusal: whatever is measured is measured in HU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dagster_project.domain.imaging.headers import HeaderError, floats, raw_value
from dagster_project.domain.imaging.padding import declared_padding
from dagster_project.lake.voxels import OUTSIDE_FIELD_HU

Hounsfield = npt.NDArray[np.int16]

LARGEST_HU = 32767
"""The largest value of 16 bits."""

BEYOND_METAL_HU = 30720
"""The extended range of CT ends here; more of a slice is no metal but a sign read wrongly."""

LARGEST_SHARE_BEYOND = 0.01
"""Share of a slice that may lie beyond it."""

NO_RESCALE = "without it stored values are no Hounsfield units; send the original images"
NOT_HOUNSFIELD = (
    "(0028,1054) RescaleType is not HU: the image is of another quantity (a map of a material, "
    "unspecified units); send the images in Hounsfield units"
)
NOT_POSITIVE = "(0028,1053) RescaleSlope is not positive; send the original images"
WRONG_SIGN = (
    "more than metal lies beyond 30720 HU: (0028,0103) PixelRepresentation or (0028,1052) "
    "RescaleIntercept contradicts the stored values; send the original images"
)


class HounsfieldError(ValueError):
    """A slice whose values are no Hounsfield units; the message says why and what to do."""


def is_hounsfield(rescale_type: str | None) -> bool:
    """Whether (0028,1054) RescaleType, as written, means HU; of CT, a missing one does."""
    return (rescale_type or "").strip(" \0").upper() in {"", "HU"}


def hounsfield(dataset: Dataset) -> Hounsfield:
    """HU of a slice, by its own rescale; `OUTSIDE_FIELD_HU` where it is declared padding.

    1. RescaleSlope and RescaleIntercept are there (both are Type 1 of CT), the slope positive.
    2. RescaleType, where it is there, is HU.
    3. HU beyond 16 bits (metal in extended range) are clipped; where that is more than metal the
       stored values were read with the wrong sign.
    4. Declared padding is marked.

    Raises
    ------
    HounsfieldError
        Where one of these does not hold.
    """
    if not is_hounsfield(raw_value(dataset, "RescaleType")):
        raise HounsfieldError(NOT_HOUNSFIELD)
    slope, intercept = _rescale(dataset)
    stored = dataset.pixel_array
    hu = _rescaled(stored, slope, intercept)
    if hu.max() > BEYOND_METAL_HU and (hu > BEYOND_METAL_HU).mean() > LARGEST_SHARE_BEYOND:
        raise HounsfieldError(WRONG_SIGN)
    padding = declared_padding(dataset, stored, hu)
    if padding is not None:
        hu[padding] = OUTSIDE_FIELD_HU
    return hu


def _rescaled(stored: npt.NDArray[np.integer], slope: float, intercept: float) -> Hounsfield:
    if slope != 1 or intercept != round(intercept) or abs(intercept) > LARGEST_HU:
        return _clipped(np.rint(stored * slope + intercept))
    lowest, highest = int(stored.min()) + int(intercept), int(stored.max()) + int(intercept)
    if lowest <= OUTSIDE_FIELD_HU or highest > LARGEST_HU:
        return _clipped(stored.astype(np.int32) + int(intercept))
    hu: Hounsfield = stored.astype(np.int16)  # the sum fits, so that a wrapped term does not matter
    hu += np.int16(intercept)
    return hu


def _clipped(wide: npt.NDArray[Any]) -> Hounsfield:
    return np.clip(wide, OUTSIDE_FIELD_HU + 1, LARGEST_HU).astype(np.int16)


def _rescale(dataset: Dataset) -> tuple[float, float]:
    try:
        (slope,), (intercept,) = (
            floats(dataset, keyword, 1) for keyword in ("RescaleSlope", "RescaleIntercept")
        )
    except HeaderError as error:
        raise HounsfieldError(f"{error}; {NO_RESCALE}") from error
    if slope <= 0:
        raise HounsfieldError(NOT_POSITIVE)
    return slope, intercept
