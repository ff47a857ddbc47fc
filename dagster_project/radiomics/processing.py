"""IBSI's steps between a scan and its features, as study.toml [radiomics] names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import SimpleITK as sitk

from dagster_project.protocol import RadiomicsSection, is_usable, wording_of
from dagster_project.radiomics.resampling import Spacing, spacing_zyx

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
    """Refuse settings that no protocol may have, for callers that did not read them from one.

    A key that is missing has its default.

    Raises
    ------
    UnusableSettingError
        A value that `protocol.RadiomicsSection` does not allow.
    """
    for name in (name for name in RadiomicsSection.model_fields if name in settings):
        key, value = f"radiomics.{name}", settings[name]
        if not is_usable(key, list(value) if isinstance(value, tuple) else value):
            raise UnusableSettingError(name, value, wording_of(key).en)


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
