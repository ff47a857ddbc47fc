"""Padding: what lies in a slice's matrix but outside the field that the scanner measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dagster_project.lake.voxels import OUTSIDE_FIELD_HU

Hounsfield = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]

BELOW_AIR_HU = -1200
"""HU; nothing in a body is darker.

Air is -1000 HU, and noise of sharp kernels adds at most some tens.
"""

LEAST_SHARE = 0.005
"""Share of a slice that one value darker than air has to make up to be padding, not streaks."""

CIRCLE_SHARE = 0.99
"""Share of the pixels beyond a circle that have to be padding for it to be the field of view."""

CIRCLE_RIM_PX = 1.5
"""Width of the rim of a circle on the pixels' raster."""


def declared_padding(
    dataset: Dataset, stored: npt.NDArray[np.integer], hu: Hounsfield
) -> Mask | None:
    """Pixels that the header declares as padding; None where it declares none.

    1. From PixelPaddingValue to PixelPaddingRangeLimit, both included, in stored values. A value
       written with the other sign (63536 for -2000) is read by PixelRepresentation.
    2. Of a range that reaches into what a body can hold, only what lies between it and the slice's
       edge along a row or a column: an airway of -1024 HU is no padding.
    """
    first = dataset.get("PixelPaddingValue")
    if not isinstance(first, int):
        return None
    last = dataset.get("PixelPaddingRangeLimit")
    signed = dataset.get("PixelRepresentation") == 1
    ends = [_as_stored(v, signed=signed) for v in (first, last) if isinstance(v, int)]
    found = (stored >= min(ends)) & (stored <= max(ends))
    if not found.any():
        return None
    return found if hu[found].max() < BELOW_AIR_HU else _from_the_edge(found)


def _as_stored(value: int, *, signed: bool) -> int:
    bits = value & 0xFFFF
    return bits - 0x10000 if signed and bits >= 0x8000 else bits


def _from_the_edge(found: Mask) -> Mask:
    """Pixels from which a row or a column leads to the slice's edge through such pixels alone."""
    inward = np.zeros_like(found)
    for turned, into in ((found, inward), (found.T, inward.T)):
        place = np.arange(turned.shape[1])
        whole = turned.all(axis=1)
        first = np.where(whole, turned.shape[1], (~turned).argmax(axis=1))
        last = np.where(whole, 0, turned.shape[1] - (~turned[:, ::-1]).argmax(axis=1))
        np.logical_or(into, (place < first[:, None]) | (place >= last[:, None]), out=into)
    return inward


def mark_undeclared(planes: Sequence[Hounsfield]) -> None:
    """Give padding that no header declares its value, in place.

    1. In a slice, the darkest value where it is below air and common: -2000, -3024, -8192 HU.
    2. In all slices alike, one value from the corners inward up to a circle about the centre:
       a round field of view padded with what could be air.

    It does not find padding of another shape whose value could be air.

    Parameters
    ----------
    planes
        HU of the slices, one shape (rows, columns).
    """
    for plane in planes:
        darkest = plane.min()
        if OUTSIDE_FIELD_HU < darkest < BELOW_AIR_HU:
            alike = plane == darkest
            if alike.mean() >= LEAST_SHARE:
                plane[alike] = OUTSIDE_FIELD_HU
    beyond = _beyond_the_circle(planes)
    if beyond is not None:
        for plane in planes:
            plane[beyond] = OUTSIDE_FIELD_HU


def _beyond_the_circle(planes: Sequence[Hounsfield]) -> Mask | None:
    value = planes[0][0, 0]
    corners = np.array([plane[[0, 0, -1, -1], [0, -1, 0, -1]] for plane in planes])
    if value == OUTSIDE_FIELD_HU or (corners != value).any():
        return None
    alike = planes[0] == value
    for plane in planes[1:]:
        alike &= plane == value
    return alike if _is_beyond_a_circle(alike) else None


def _is_beyond_a_circle(found: Mask) -> bool:
    y, x = (np.arange(n) - (n - 1) / 2 for n in found.shape)
    distance = np.hypot(y[:, None], x[None, :])
    radius = distance[found].min()
    if found.mean() < LEAST_SHARE or radius < min(found.shape) / 4:
        return False
    beyond = found[distance > radius + CIRCLE_RIM_PX]
    return bool(beyond.size) and bool(beyond.mean() >= CIRCLE_SHARE)
