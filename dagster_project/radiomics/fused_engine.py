"""The fast engine: PyRadiomics 3.0.1's features from compiled kernels.

Each matrix is counted in one pass over a tight crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dagster_project.radiomics import pyradiomics_engine
from dagster_project.radiomics.pyradiomics_engine import (
    IMC2_RESOLUTION,
    NOT_FINITE,
    TEXTURE_CLASSES,
    Value,
    class_feature_names,
)
from dagster_project.radiomics.resampling import Array, Mask, Spacing, along_axes

if TYPE_CHECKING:
    from dagster_project.radiomics.kernels.discretise import Levels

__all__ = ["class_feature_names", "compute_region", "compute_shape", "engine_name", "warm"]

VERSION = "1.0"
"""Raised with every change that could move a stored value."""

MOST_LEVELS = 1024
"""Distinct gray levels up to which all 13 matrices are held at once.

Beyond that, the engine of reference computes.
"""

ONE_VOXEL = "not defined for this region: a single voxel has no texture"


def engine_name() -> str:
    """Engine and version, as stored with every value, and the definition that it follows."""
    return f"fused {VERSION} as {pyradiomics_engine.engine_name()}"


def compute_region(
    image: Array, mask: Mask, classes: Sequence[str], *, bin_width_hu: float,
    spacing_mm: float | Spacing, bin_count: int = 0, bin_start_hu: float | None = None,
) -> dict[str, Value]:  # fmt: skip
    """All features of some classes of one region on one image, keyed `class_Feature`.

    See `pyradiomics_engine.compute_region`. Values are within 1e-9 of that engine of reference.
    Left to it are co-occurrence of a region in which no two voxels are neighbours, Imc2 where it
    depends on the last bit, and regions with more than `MOST_LEVELS` gray levels. Texture of a
    single voxel, at which PyRadiomics stops, is None.
    """
    from dagster_project.radiomics.kernels.discretise import discretise

    levels = discretise(image, mask, bin_width_hu, bin_count=bin_count, bin_start_hu=bin_start_hu)
    if len(levels.gray) > MOST_LEVELS:
        return pyradiomics_engine.compute_region(
            image,
            mask,
            classes,
            bin_width_hu=bin_width_hu,
            spacing_mm=spacing_mm,
            bin_count=bin_count,
            bin_start_hu=bin_start_hu,
        )
    found: dict[str, Value] = {}
    for name in classes:
        values = _compute_class(name, image, mask, levels, spacing_mm)
        found.update(
            {f"{name}_{feature}": values[feature] for feature in class_feature_names(name)}
        )
    return found


def compute_shape(mask: Mask, spacing_mm: Spacing) -> dict[str, Value]:
    """Shape of a mask on a grid of any spacing (z, y, x), keyed `shape_Feature`.

    See `compute_region`.
    """
    from dagster_project.radiomics.kernels.shape import shape_features

    found = _with_reasons(shape_features(mask, spacing_mm))
    return {f"shape_{name}": found[name] for name in class_feature_names("shape")}


def warm() -> None:
    """Compile every kernel, or load it from the cache.

    The first time takes about half a minute, so it is done at set-up.
    """
    from dagster_project.radiomics.kernels.laplacian import laplacian_of_gaussian

    image = np.random.default_rng(0).normal(0, 60, (9, 9, 9)).astype(np.float32)
    squares = np.arange(-4, 5) ** 2
    ball = squares[:, None, None] + squares[:, None] + squares < 17
    compute_region(
        image, ball, ("firstorder", "shape", *TEXTURE_CLASSES), bin_width_hu=25.0, spacing_mm=1.0
    )
    laplacian_of_gaussian(image, (slice(2, 7),) * 3, 1.0, 1.0)


def _compute_class(
    feature_class: str, image: Array, mask: Mask, levels: Levels, spacing_mm: float | Spacing,
) -> dict[str, Value]:  # fmt: skip
    if len(levels.voxels) == 1 and feature_class in TEXTURE_CLASSES:
        return dict.fromkeys(class_feature_names(feature_class), (None, ONE_VOXEL))
    if feature_class == "glcm":
        return _cooccurrence(image, mask, levels, spacing_mm)
    return _with_reasons(_features(feature_class, mask, levels, spacing_mm))


def _features(
    feature_class: str, mask: Mask, levels: Levels, spacing_mm: float | Spacing,
) -> dict[str, float]:  # fmt: skip
    from dagster_project.radiomics.kernels import firstorder, gldm, glrlm, glszm, ngtdm, shape

    if feature_class == "shape":
        return shape.shape_features(mask, along_axes(spacing_mm))
    if feature_class == "firstorder":
        return firstorder.firstorder_features(levels, spacing_mm)
    matrix = {
        "glrlm": glrlm.glrlm_features,
        "glszm": glszm.glszm_features,
        "gldm": gldm.gldm_features,
        "ngtdm": ngtdm.ngtdm_features,
    }
    return matrix[feature_class](levels)


def _cooccurrence(
    image: Array, mask: Mask, levels: Levels, spacing_mm: float | Spacing,
) -> dict[str, Value]:  # fmt: skip
    """Co-occurrence, with what hangs on the last bit taken from the engine of reference."""
    from dagster_project.radiomics.kernels.glcm import glcm_features

    found = glcm_features(levels)
    if found is not None and found[1] > IMC2_RESOLUTION:
        return _with_reasons(found[0])
    inside = levels.grid.reshape(levels.shape)[1:-1, 1:-1, 1:-1]
    gray = np.concatenate(([0], levels.gray)).astype(np.int32)[inside]
    if found is None:
        return pyradiomics_engine.compute_class("glcm", image, mask, gray, spacing_mm=spacing_mm)
    imc2 = pyradiomics_engine.compute_class(
        "glcm", image, mask, gray, spacing_mm=spacing_mm, features=["Imc2"]
    )
    return {**_with_reasons(found[0]), **imc2}


def _with_reasons(values: dict[str, float]) -> dict[str, Value]:
    return {
        name: (value, None) if np.isfinite(value) else (None, NOT_FINITE)
        for name, value in values.items()
    }
