"""Empty slices between the first and the last of an outline, in whatever format it came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dagster_project.domain.imaging.outlines import Mask, Outline
from dagster_project.domain.imaging.series import Series

SLAB_TOLERANCE = 0.1
"""Largest relative difference of a plane's stated thickness from another length.

The other length is the distance of the planes, or a slice's own thickness.
"""


def settle_empty_slices(outline: Outline, series: Series) -> Outline:
    """The outline with its empty slices filled where that is known, else flagged.

    1. The object states planes thicker than the slices of the CT (`slab_mm`): each plane holds for
       the slices whose centre lies within its thickness. Beyond the first and the last plane only
       where the planes lie that thickness apart, since then nothing else states where the lesion
       ends.
    2. Slices that the CT itself lacks and that were interpolated (`Series.places`) are filled by
       the mean of the signed distances from the two neighbouring outlines: the shape between them.
    3. Slices that are empty now are flagged `slices_empty`; what 1 and 2 filled is `slices_filled`.

    A lesion of two pieces one above the other looks the same and is flagged too: only its reader
    knows.
    """
    drawn = _drawn(outline.mask)
    has_gaps = any(b - a > 1 for a, b in pairwise(drawn))
    if not drawn or not (has_gaps or outline.slab_mm):
        return outline
    filled = _fill_slabs(outline.mask, drawn, outline.slab_mm, series)
    filled = _fill_interpolated(filled, frozenset(series.places), series.image.GetSpacing()[:2])
    now = _drawn(filled)
    found = {
        "slices_filled": len(now) > len(drawn),
        "slices_empty": any(b - a > 1 for a, b in pairwise(now)),
    }
    flags = (*outline.flags, *(code for code, is_so in found.items() if is_so))
    return replace(outline, mask=filled, flags=flags)


def _drawn(mask: Mask) -> list[int]:
    return [int(k) for k in np.flatnonzero(mask.any((1, 2)))]


def _fill_slabs(mask: Mask, drawn: Sequence[int], slab_mm: float | None, series: Series) -> Mask:
    spacing = series.image.GetSpacing()[2]
    # Slices that overlap are thicker than they lie apart: their thickness states nothing of a slice
    # left out.
    own = max(spacing, series.header.get("slice_thickness_mm") or 0.0)
    if (slab_mm or 0.0) <= own * (1 + SLAB_TOLERANCE):
        return mask
    slab = (slab_mm or 0.0) / spacing
    filled = mask.copy()
    for place, plane in _within_slabs(drawn, slab, len(mask)):
        filled[place] = mask[plane]
    return filled


def _within_slabs(drawn: Sequence[int], slab: float, n_slices: int) -> Iterator[tuple[int, int]]:
    """Empty slices, each with the plane in whose slab its centre lies.

    A centre between two slabs belongs to the lower one.
    """
    gaps = np.diff(drawn)
    low, high = drawn[0], drawn[-1]
    # Planes on whole slices lie up to one slice nearer or farther than their true distance.
    if not gaps.size or abs(float(gaps.mean()) - slab) <= SLAB_TOLERANCE * slab:
        low, high = (
            max(0, int(np.ceil(low - slab / 2))),
            min(n_slices - 1, int(np.ceil(high + slab / 2)) - 1),
        )
    planes = np.asarray(drawn)
    for place in sorted(set(range(low, high + 1)) - set(drawn)):
        plane = int(planes[np.abs(planes - place).argmin()])
        if abs(place - plane) <= slab / 2:
            yield place, plane


def _fill_interpolated(mask: Mask, present: frozenset[int], spacing_xy: Sequence[float]) -> Mask:
    runs = [
        (a, b)
        for a, b in pairwise(_drawn(mask))
        if b - a > 1 and present.isdisjoint(range(a + 1, b))
    ]
    if not runs:
        return mask
    filled = mask.copy()
    for a, b in runs:
        low, high = (_signed_distance(mask[k], spacing_xy) for k in (a, b))
        for place in range(a + 1, b):
            share = (place - a) / (b - a)
            filled[place] = low * (1 - share) + high * share > 0
    return filled


def _signed_distance(plane: Mask, spacing_xy: Sequence[float]) -> npt.NDArray[np.float64]:
    """Distance in mm from the edge of what is set: positive inside, negative outside."""
    sampling = (spacing_xy[1], spacing_xy[0])
    inside, outside = (
        ndimage.distance_transform_edt(p, sampling=sampling) for p in (plane, ~plane)
    )
    return np.asarray(inside - outside, np.float64)
