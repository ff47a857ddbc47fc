"""DHI's texture component: a few fixed features in units of their own repeatability.

Repeatability is that at the lesion's size.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.preparation import Prepared
from dagster_project.radiomics.pyradiomics_engine import compute_class
from dagster_project.radiomics.resampling import bounding_box

DEFAULTS = Path(__file__).with_name("dhi_calibration.toml")
"""Features, repeatability and limits fitted on synthetic lesions.

The head of the file says how, and gives the command that fits them again.
"""

LARGEST_Z = 8.0
"""Largest number of repeatability units that a feature's change counts as.

One feature must not decide alone.
"""


@dataclass(frozen=True)
class TextureFeature:
    """A feature and its repeatability.

    ln sd = intercept + slope ln(voxels), with sd that of the signed log sgn(f) ln(1 + |f| / scale).
    """

    name: str
    scale: float
    intercept: float
    slope: float


@dataclass(frozen=True)
class TextureModel:
    """The fixed features, and the range of voxel counts of their repeatability.

    Repeatability was fitted within this range and is not extrapolated.
    """

    features: tuple[TextureFeature, ...]
    voxels: tuple[float, float]

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, class_Feature."""
        return tuple(f.name for f in self.features)


@cache
def read_defaults() -> Mapping[str, Any]:
    """The shipped calibration."""
    return tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))


@cache
def texture_model() -> TextureModel:
    """The shipped features and their repeatability."""
    texture = read_defaults()["texture"]
    low, high = texture["voxels"]
    return TextureModel(tuple(TextureFeature(**f) for f in texture["features"]), (low, high))


def gray_levels(prepared: Prepared, clip_hu: float, bin_width_hu: float) -> NDArray[np.int32]:
    """Gray levels 1, 2, … inside the mask; 0 outside.

    Densities are centred on the lesion's median and clipped; the median lies in the middle of its
    bin.
    """
    values = prepared.volume[prepared.mask]
    centred = np.clip(values - np.median(values), -clip_hu, clip_hu)
    half = int(np.floor(clip_hu / bin_width_hu + 0.5))
    levels = np.zeros(prepared.mask.shape, dtype=np.int32)
    levels[prepared.mask] = np.clip(np.floor(centred / bin_width_hu + 0.5), -half, half) + half + 1
    return levels


def texture_values(
    prepared: Prepared, names: Sequence[str], settings: Mapping[str, Any]
) -> NDArray[np.float64]:
    """The named features (class_Feature) of a prepared lesion; NaN where a formula gives none."""
    box = bounding_box(prepared.mask)
    assert box is not None, "a prepared lesion has voxels"
    levels = np.ascontiguousarray(
        gray_levels(prepared, settings["clip_hu"], settings["bin_width_hu"])[box]
    )
    mask = levels > 0
    found: dict[str, float | None] = {}
    for feature_class in dict.fromkeys(name.split("_", 1)[0] for name in names):
        wanted = [name.split("_", 1)[1] for name in names if name.startswith(f"{feature_class}_")]
        values = compute_class(
            feature_class,
            levels.astype(np.float32),
            mask,
            levels,
            spacing_mm=settings.get("spacing_mm", 1.0),
            features=wanted,
        )
        found.update({f"{feature_class}_{name}": value for name, (value, _) in values.items()})
    return np.array([found[name] for name in names], dtype=np.float64)


def texture_change(
    first: NDArray[np.float64], second: NDArray[np.float64], n_voxels: int, model: TextureModel
) -> float:
    """T = RMS over the features of z, the change in repeatability units.

    The change is that of the signed log, its repeatability that at this many voxels, and z is
    clipped to ± 8. A feature without a value at either visit does not count; NaN only where none
    has one.
    """
    scale, intercept, slope = (
        np.array([getattr(f, a) for f in model.features]) for a in ("scale", "intercept", "slope")
    )
    sd = np.exp(intercept + slope * np.log(np.clip(n_voxels, *model.voxels)))
    z = np.clip((signed_log(second, scale) - signed_log(first, scale)) / sd, -LARGEST_Z, LARGEST_Z)
    return float(np.sqrt(np.mean(z[np.isfinite(z)] ** 2))) if np.isfinite(z).any() else float("nan")


def signed_log(values: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """sgn(f) ln(1 + |f| / scale): a logarithm for large features of either sign, linear near 0."""
    return np.sign(values) * np.log1p(np.abs(values) / scale)
