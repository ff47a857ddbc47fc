"""Whether the texture of a lesion may be compared between two scans of a patient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster_project.domain.imaging.timepoints import differ

Row = Mapping[str, Any]

OTHER_KERNEL = (
    "the scans were reconstructed with different kernels, and a sharper or smoother kernel alone "
    "changes texture: reconstruct both with one kernel"
)
OTHER_SCANNER = (
    "the scans come from scanners of different makers, whose kernels differ: "
    "compare scans of one maker"
)

THICK_SLICES = (
    "slices of more than {limit:g} mm, with which noise alone may exceed the limits of DHI: "
    "send the thin series"
)


def why_not_comparable(earlier: Row, later: Row, slice_maximum_mm: float) -> str | None:
    """The first reason against comparing texture; None where nothing known argues against it.

    1. Both kernels are known and differ.
    2. Both makers are known and differ: their kernels have no common names, and one of them may be
       unknown.
    3. Slices of either scan are thicker, or further apart, than `slice_maximum_mm`.

    Parameters
    ----------
    earlier, later
        kernel, manufacturer, slice_thickness_mm and slice_spacing_mm of the two scans; what is None
        is not known.
    slice_maximum_mm
        study.toml [dhi] `slice_maximum_mm`.

    >>> scan = {
    ...     "kernel": "B30f",
    ...     "manufacturer": "SIEMENS",
    ...     "slice_thickness_mm": 1.0,
    ...     "slice_spacing_mm": 1.0,
    ... }
    >>> why_not_comparable(scan, scan, 1.5)
    >>> why_not_comparable(scan, {**scan, "kernel": "B70f"}, 1.5) == OTHER_KERNEL
    True
    """
    if differ(earlier["kernel"], later["kernel"]):
        return OTHER_KERNEL
    if differ(earlier["manufacturer"], later["manufacturer"]):
        return OTHER_SCANNER
    slices = [
        scan[name] or 0.0
        for scan in (earlier, later)
        for name in ("slice_thickness_mm", "slice_spacing_mm")
    ]
    return THICK_SLICES.format(limit=slice_maximum_mm) if max(slices) > slice_maximum_mm else None
