"""The families of IBSI 1 that a protocol may use beside PyRadiomics' classes.

They are computed on the original image and named `original_ibsi_TAG`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.ibsi_intensity import (
    PEAK_REACH_MM,
    binned_volume_histogram,
    histogram,
    local_peaks,
    statistics,
)
from dagster_project.radiomics.ibsi_morphology import morphology
from dagster_project.radiomics.ibsi_texture import FAMILIES, PLAIN, distance_zone_features
from dagster_project.radiomics.processing import bins_of
from dagster_project.radiomics.pyradiomics_engine import NOT_FINITE, Value, discretise
from dagster_project.radiomics.resampling import Array, Mask, along_axes, bounding_box, grow_box

CLASS = "ibsi"
"""Stands where PyRadiomics' names have the class of a feature."""

Features = dict[str, float]


def family_features(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the features that the protocol requests, without the image.

    For example `ibsi_cm_joint_max_3D_comb`.
    """
    families, aggregations = (
        settings.get("ibsi_families", ()),
        settings.get("ibsi_aggregations", ()),
    )
    return tuple(
        f"{CLASS}_{tag}" for family in families for tag in _tags(family, tuple(aggregations))
    )


def compute_families(
    volume: Array, mask: Mask, settings: Mapping[str, Any], *, inside: Mask | None = None,
) -> dict[str, Value]:  # fmt: skip
    """The features of one region on the lesion's grid, keyed as `family_features` names them.

    None with a reason where one does not exist.

    Parameters
    ----------
    volume
        The resampled crop in HU, of which peaks see what lies around the region.
    mask
        The region on the same grid: its morphological mask.
    settings
        study.toml [radiomics], with `spacing_mm` as it is on this grid.
    inside
        The intensity mask, where re-segmentation has left voxels of the region out.
    """
    region = _Region.cut(volume, mask, mask if inside is None else inside, settings)
    found: dict[str, Value] = {}
    for family in settings.get("ibsi_families", ()):
        values = _with_reasons(family, region, tuple(settings["ibsi_aggregations"]))
        found |= {f"{CLASS}_{tag}": value for tag, value in values.items()}
    return found


def _with_reasons(family: str, region: _Region, aggregations: tuple[str, ...]) -> dict[str, Value]:
    names = _tags(family, aggregations)
    try:
        with np.errstate(all="ignore"):
            values = _FAMILIES[family](region, aggregations)
    except Exception as error:  # a degenerate region must not cost the others their features
        return dict.fromkeys(names, (None, f"not defined for this region: {type(error).__name__}"))
    return {
        name: (values[name], None) if np.isfinite(values[name]) else (None, NOT_FINITE)
        for name in names
    }


class _Region:
    """What the families see of a region: HU, its two masks, their gray levels, and the protocol."""

    def __init__(
        self, volume: Array, outlined: Mask, inside: Mask, levels: NDArray[np.int32],
        settings: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.volume, self.outlined, self.inside = volume, outlined, inside
        self.levels, self.settings = levels, settings
        self.spacing = along_axes(settings["spacing_mm"])
        self.values = volume[inside].astype(np.float64)

    @classmethod
    def cut(
        cls, volume: Array, mask: Mask, intensity_mask: Mask, settings: Mapping[str, Any],
    ) -> _Region:  # fmt: skip
        """The region with as much around it as a peak reaches."""
        box = bounding_box(mask)
        assert box is not None, "a region without a reason has voxels"
        reach = int(np.ceil(PEAK_REACH_MM / min(along_axes(settings["spacing_mm"]))))
        part = grow_box(box, reach, mask.shape)
        image, outlined = np.ascontiguousarray(volume[part]), np.ascontiguousarray(mask[part])
        inside = np.ascontiguousarray(intensity_mask[part])
        levels = discretise(image, inside, **bins_of(settings))
        return cls(image, outlined, inside, levels, settings)


def _texture(family: str) -> Callable[[_Region, tuple[str, ...]], Features]:
    def compute(region: _Region, aggregations: tuple[str, ...]) -> Features:
        features, known = FAMILIES[family]
        return {
            f"{tag}_{a}": v
            for a in aggregations
            if a in known
            for tag, v in features(region.levels, a).items()
        }

    return compute


def _distance_zones(region: _Region, aggregations: tuple[str, ...]) -> Features:
    found: Features = {}
    for a in (a for a in aggregations if a in PLAIN):
        features = distance_zone_features(region.levels, region.outlined, a)
        found |= {f"{tag}_{a}": value for tag, value in features.items()}
    return found


def _volume_histogram(region: _Region, _: tuple[str, ...]) -> Features:
    bounds = region.settings.get("resegmentation_hu")
    return binned_volume_histogram(
        region.values,
        range_hu=tuple(bounds) if bounds else None,
        bin_width_hu=region.settings.get("ivh_bin_width_hu", 0.0),
        bin_count=region.settings.get("ivh_bin_count", 0),
    )


_FAMILIES: Mapping[str, Callable[[_Region, tuple[str, ...]], Features]] = {
    "morph": lambda region, _: morphology(
        region.volume, region.outlined, region.inside, region.spacing
    ),
    "loc": lambda region, _: local_peaks(region.volume, region.inside, region.spacing),
    "stat": lambda region, _: statistics(region.values),
    "ih": lambda region, _: histogram(region.levels[region.inside]),
    "ivh": _volume_histogram,
    **{family: _texture(family) for family in FAMILIES},
    "dzm": _distance_zones,
}
"""By the prefix of their tags."""


@cache
def _tags(family: str, aggregations: tuple[str, ...]) -> tuple[str, ...]:
    """The tags of a family, read from a small region."""
    z, y, x = np.indices((3, 3, 3))
    volume, whole = (z + 2.0 * y + x).astype(np.float32), np.ones((3, 3, 3), dtype=bool)
    sample = _Region(volume, whole, whole, (1 + z % 2).astype(np.int32), {"spacing_mm": 1.0})
    return tuple(_FAMILIES[family](sample, aggregations))
