"""The families of IBSI 1 that a protocol may ask for beside PyRadiomics' classes, on the original image, named `original_ibsi_TAG`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.ibsi_intensity import PEAK_REACH_MM, histogram, local_peaks, statistics, volume_histogram
from dagster_project.radiomics.ibsi_morphology import morphology
from dagster_project.radiomics.ibsi_texture import DIRECTIONAL, FAMILIES, PLAIN, distance_zone_features
from dagster_project.radiomics.pyradiomics_engine import NOT_FINITE, Value, discretise
from dagster_project.radiomics.resampling import Array, Mask, bounding_box, grow_box

CLASS = "ibsi"
"""Stands where PyRadiomics' names have the class of a feature."""

Features = dict[str, float]


class UnknownFamilyError(ValueError):
    """study.toml names a family or an aggregation that IBSI does not have."""

    def __init__(self, key: str, name: str, known: Sequence[str]) -> None:
        super().__init__(f"study.toml [radiomics] {key} has {name!r}: use some of {', '.join(known)}")


def family_features(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the features that the protocol asks for, without the image: `ibsi_cm_joint_max_3D_comb`.

    Raises
    ------
    UnknownFamilyError
        A family or an aggregation is unknown.
    """
    families, aggregations = settings.get("ibsi_families", ()), settings.get("ibsi_aggregations", ())
    for key, chosen, known in (("ibsi_families", families, (*_FAMILIES,)), ("ibsi_aggregations", aggregations, (*DIRECTIONAL, *PLAIN))):
        for name in (n for n in chosen if n not in known):
            raise UnknownFamilyError(key, name, known)
    return tuple(f"{CLASS}_{tag}" for family in families for tag in _tags(family, tuple(aggregations)))


def compute_families(volume: Array, mask: Mask, settings: Mapping[str, Any]) -> dict[str, Value]:
    """The features of one region on the isotropic grid, keyed as `family_features` names them; None with a reason where one does not exist.

    Parameters
    ----------
    volume
        The resampled crop in HU, of which peaks see what lies around the region.
    mask
        The region on the same grid; its voxels are outline and intensity mask in one, since a study's protocol re-segments nothing.
    settings
        study.toml [radiomics].
    """
    region = _Region.cut(volume, mask, settings)
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
    return {name: (values[name], None) if np.isfinite(values[name]) else (None, NOT_FINITE) for name in names}


class _Region:
    """What the families see of a region."""

    def __init__(self, volume: Array, inside: Mask, levels: NDArray[np.int32], spacing_mm: float) -> None:
        self.volume, self.inside, self.levels, self.spacing = volume, inside, levels, (spacing_mm,) * 3
        self.values = volume[inside].astype(np.float64)

    @classmethod
    def cut(cls, volume: Array, mask: Mask, settings: Mapping[str, Any]) -> _Region:
        """The region with as much around it as a peak reaches."""
        box = bounding_box(mask)
        assert box is not None, "a region without a reason has voxels"
        part = grow_box(box, int(np.ceil(PEAK_REACH_MM / settings["spacing_mm"])), mask.shape)
        image, inside = np.ascontiguousarray(volume[part]), np.ascontiguousarray(mask[part])
        return cls(image, inside, discretise(image, inside, settings["bin_width_hu"]), settings["spacing_mm"])


def _texture(family: str) -> Callable[[_Region, tuple[str, ...]], Features]:
    def compute(region: _Region, aggregations: tuple[str, ...]) -> Features:
        features, known = FAMILIES[family]
        return {f"{tag}_{a}": v for a in aggregations if a in known for tag, v in features(region.levels, a).items()}

    return compute


def _distance_zones(region: _Region, aggregations: tuple[str, ...]) -> Features:
    return {f"{tag}_{a}": v for a in aggregations if a in PLAIN for tag, v in distance_zone_features(region.levels, region.inside, a).items()}


def _volume_histogram(region: _Region, _: tuple[str, ...]) -> Features:
    whole = np.rint(region.values)
    return volume_histogram(whole, 1.0, float(whole.min()), float(whole.max()))


_FAMILIES: Mapping[str, Callable[[_Region, tuple[str, ...]], Features]] = {
    "morph": lambda region, _: morphology(region.volume, region.inside, region.inside, region.spacing),
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
    sample = _Region((z + 2.0 * y + x).astype(np.float32), np.ones((3, 3, 3), dtype=bool), (1 + z % 2).astype(np.int32), 1.0)
    return tuple(_FAMILIES[family](sample, aggregations))
