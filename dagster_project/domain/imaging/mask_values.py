"""What the values of a mask volume mean, and which voxels are inside.

One rule for every file that is not DICOM.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dagster_project.domain.imaging.outlines import BorderRule, Mask, MaskError

WHOLE_TOLERANCE = 1e-3
"""Largest distance of a value from a whole number that still counts as it.

The cause may be float noise, or a scale factor stored as float32.
"""

HALF = 0.5 - 1e-6
"""One half, as far as a scale factor of float32 can state it."""

NO_NUMBERS = "holds values that are no numbers; export a mask of 0 outside and 1 inside"
NEGATIVE = "holds negative values; export a mask of 0 outside and 1 inside"
SEVERAL = (
    "holds several labels; export one file per lesion, 0 outside and 1 inside, "
    "or all of them as one DICOM SEG"
)
ABOVE_ONE = "holds fractions above 1; export a mask of 0 and 1, or fractions from 0 to 1"
BELOW_HALF = (
    "holds fractions, and no voxel of at least one half; export a mask of 0 outside and 1 inside"
)


@dataclass(frozen=True)
class _Values:
    """The range of a volume's values, whether all are whole numbers, and its labels.

    It has up to two labels beside 0.
    """

    low: float
    high: float
    whole: bool
    labels: frozenset[int]


@dataclass(frozen=True)
class MaskRule:
    """Which voxels of a volume are inside.

    Those of at least one half, of one label or as fractions.
    """

    border_rule: BorderRule

    def inside(self, values: npt.NDArray[Any]) -> Mask:
        """The mask of a plane or a volume."""
        return values >= HALF


def mask_of_values(values: npt.NDArray[Any]) -> tuple[Mask, BorderRule]:
    """The mask of a volume (z, y, x) of any number type, by `mask_rule`.

    Raises
    ------
    MaskError
        Where the values are no mask.
    """
    rule = mask_rule(values)
    return rule.inside(values), rule.border_rule


def mask_rule(planes: Iterable[npt.NDArray[Any]]) -> MaskRule:
    """What a volume's values mean.

    1. No NaN, nothing infinite, nothing negative.
    2. Whole numbers: one value beside 0, whichever, is inside. Several values are several lesions:
       refused.
    3. Fractions from 0 to 1: voxels of at least one half. Where no voxel reaches it, nothing is
       outlined: refused, since that is a scale that was lost rather than a reader's wish.

    Parameters
    ----------
    planes
        The volume, or its planes one after the other, with the scale factor of the file applied.

    Raises
    ------
    MaskError
        Where one of these does not hold.
    """
    found = _summary(planes)
    if found.low < -WHOLE_TOLERANCE:
        raise MaskError(NEGATIVE)
    if found.whole:
        if len(found.labels) > 1:
            raise MaskError(SEVERAL)
        return MaskRule("voxels_as_given")
    if found.high > 1 + WHOLE_TOLERANCE:
        raise MaskError(ABOVE_ONE)
    if found.high < HALF:
        raise MaskError(BELOW_HALF)
    return MaskRule("fraction_at_least_half")


def _summary(planes: Iterable[npt.NDArray[Any]]) -> _Values:
    """Plane by plane: sorting a whole volume at once takes several times its memory."""
    low, high, whole = np.inf, -np.inf, True
    labels: frozenset[int] = frozenset()
    for plane in planes:
        if not plane.any():
            low, high = min(low, 0.0), max(high, 0.0)
            continue
        found = np.unique(plane).astype(np.float64)
        if not np.isfinite(found).all():
            raise MaskError(NO_NUMBERS)
        low, high = min(low, found[0]), max(high, found[-1])
        whole = whole and bool((np.abs(found - np.rint(found)) <= WHOLE_TOLERANCE).all())
        labels |= {int(n) for n in np.rint(found[found >= 0.5])[:3]}
    return _Values(float(low), float(high), whole, labels)
