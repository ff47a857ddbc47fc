"""IBSI's steps between a scan and its features, as study.toml [radiomics] names them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, TypedDict

import SimpleITK as sitk

from dagster_project.radiomics.resampling import HALF_COVERED, INTERPOLATORS, Spacing, spacing_zyx

Settings = Mapping[str, Any]


class UnusableSettingError(ValueError):
    """study.toml has a value by which no image can be prepared."""

    def __init__(self, key: str, value: object, use: str) -> None:
        super().__init__(f"study.toml [radiomics] {key} = {value!r} cannot be used: use {use}")


class Bins(TypedDict):
    """How gray levels are made; see `pyradiomics_engine.bin_edges`."""

    bin_width_hu: float
    bin_count: int
    bin_start_hu: float | None


def check_processing(settings: Settings) -> None:
    """Refuse a protocol by which no image can be prepared; a key that is missing has its default.

    Raises
    ------
    UnusableSettingError
        An interpolator or a rule that does not exist, a range whose lower end is not below the
        upper one, or a negative number.
    """
    for key, (usable, use) in _RULES.items():
        if key in settings and not usable(settings[key]):
            raise UnusableSettingError(key, settings[key], use)


def grid_spacing(image: sitk.Image, settings: Settings) -> Spacing:
    """Spacing (z, y, x) in millimetres of the grid that lesions of a scan are measured on.

    `spacing_mm` along each axis, and the scan's own where that is 0; with `planar` slices stay as
    they are.
    """
    mm = settings["spacing_mm"]
    asked = (0.0 if settings.get("planar", False) else mm, mm, mm)
    z, y, x = (float(new or own) for new, own in zip(asked, spacing_zyx(image), strict=True))
    return z, y, x


def bins_of(settings: Settings, *, original: bool = True) -> Bins:
    """Gray levels of the original image, or of one that a filter has made.

    IBSI's bins of fixed size begin where re-segmentation does. The range is one of HU, so that
    filtered images keep PyRadiomics' bins.
    """
    bounds = settings.get("resegmentation_hu") if original else None
    return {
        "bin_width_hu": settings["bin_width_hu"],
        "bin_count": settings.get("bin_count", 0),
        "bin_start_hu": float(bounds[0]) if bounds else None,
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _from_zero(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _count(value: Any) -> bool:
    return isinstance(value, int) and _from_zero(value)


def _range(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or not all(_is_number(end) for end in value):
        return False
    return not value or (len(value) == 2 and value[0] < value[1])


_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "spacing_mm": (_from_zero, "a positive number, or 0 for the scan's own voxels"),
    "planar": (lambda value: isinstance(value, bool), "true or false"),
    "interpolator": (lambda value: value in INTERPOLATORS, f"one of {', '.join(INTERPOLATORS)}"),
    "half_covered": (lambda value: value in HALF_COVERED, f"one of {', '.join(HALF_COVERED)}"),
    "resegmentation_hu": (_range, "[low, high] with low below high, or [] for none"),
    "outlier_sd": (_from_zero, "a positive number, or 0 for none"),
    "bin_width_hu": (lambda value: _from_zero(value) and value > 0, "a positive number"),
    "bin_count": (_count, "a positive whole number, or 0 for bins of bin_width_hu"),
    "ivh_bin_width_hu": (_from_zero, "a positive number, or 0 for whole HU"),
    "ivh_bin_count": (_count, "a positive whole number, or 0 for bins of ivh_bin_width_hu"),
}
"""By key: what is usable, and what to use instead of what is not."""
