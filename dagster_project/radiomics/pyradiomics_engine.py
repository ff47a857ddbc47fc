"""The reference engine: PyRadiomics 3.0.1's own feature classes on finished images.

It leaves out what PyRadiomics repeats for every class.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.resampling import Array, Mask, Spacing, along_axes, as_image

Value = tuple[float | None, str | None]
"""A feature's value, or None and the reason why it cannot exist."""

NOT_FINITE = "not defined for this region: the formula gives no finite number"
IMC2_UNSTABLE = (
    "not defined for this region: Imc2 rests on the last bit where neighbours are independent"
)
IMC2_RESOLUTION = 1e-12
"""Smallest difference of the two entropies, in bits, that is more than rounding.

Imc2 is about its square root.
"""

TEXTURE_CLASSES = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")


def engine_name() -> str:
    """Engine and version, as stored with every value."""
    import radiomics

    return f"pyradiomics {radiomics.__version__.lstrip('v')}"


def class_feature_names(feature_class: str) -> tuple[str, ...]:
    """The features of a class in PyRadiomics' order, without those it has deprecated."""
    return tuple(
        name
        for name, deprecated in _feature_class(feature_class).featureNames.items()
        if not deprecated
    )


def compute_region(
    image: Array, mask: Mask, classes: Sequence[str], *, bin_width_hu: float,
    spacing_mm: float | Spacing, bin_count: int = 0, bin_start_hu: float | None = None,
) -> dict[str, Value]:  # fmt: skip
    """All features of some classes of one region on one image, keyed `class_Feature`.

    `image` and `mask` are cropped to the region: no feature of these classes depends on voxels
    outside it. Gray levels are those of `bin_edges`; they are computed once and shared by the
    classes.
    """
    levels = discretise(image, mask, bin_width_hu, bin_count=bin_count, bin_start_hu=bin_start_hu)
    found: dict[str, Value] = {}
    for name in classes:
        values = compute_class(name, image, mask, levels, spacing_mm=spacing_mm)
        found.update({f"{name}_{feature}": value for feature, value in values.items()})
    return found


def compute_shape(mask: Mask, spacing_mm: Spacing) -> dict[str, Value]:
    """Shape of a mask on a grid of any spacing (z, y, x), keyed `shape_Feature`."""
    ones = np.ones(mask.shape, dtype=np.float32)
    found = compute_class("shape", ones, mask, mask.astype(np.int32), spacing_mm=spacing_mm)
    return {f"shape_{feature}": value for feature, value in found.items()}


def compute_class(
    feature_class: str,
    image: Array,
    mask: Mask,
    levels: NDArray[np.int32],
    *,
    spacing_mm: float | Spacing,
    features: Sequence[str] | None = None,
    level_count: int | None = None,
) -> dict[str, Value]:
    """The features of one class, all or those named, for given gray levels.

    The levels are made by the caller: 1, 2, … inside the mask. `level_count` is what Idn and Idmn
    of the co-occurrence matrix divide by, where the mask is a part of a region with more levels.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        calculator = _feature_class(feature_class)(image, mask, levels, spacing_mm)
        # PyRadiomics' own name for "compute the matrices"
        calculator._initCalculation()  # noqa: SLF001
        if level_count is not None:
            calculator.coefficients["Ng"] = level_count
        return {
            name: _value_of(calculator, name)
            for name in features or class_feature_names(feature_class)
        }


def discretise(
    image: Array, mask: Mask, bin_width_hu: float, *, bin_count: int = 0,
    bin_start_hu: float | None = None,
) -> NDArray[np.int32]:  # fmt: skip
    """PyRadiomics' gray levels inside the mask, 0 outside; see `bin_edges`."""
    values, levels = image[mask], np.zeros(image.shape, dtype=np.int32)
    edges = bin_edges(values, bin_width_hu, bin_count=bin_count, bin_start_hu=bin_start_hu)
    levels[mask] = np.digitize(values, edges)
    return levels


def bin_edges(
    values: Array, bin_width_hu: float, *, bin_count: int = 0, bin_start_hu: float | None = None,
) -> NDArray[np.floating]:  # fmt: skip
    """Lower edges of the gray levels 1, 2, … of a region's values.

    1. With `bin_count`, PyRadiomics' fixed number: as many bins over the values' own range. Where
       single precision cannot tell them apart, at which PyRadiomics stops, in double precision.
    2. Else with `bin_start_hu`, IBSI's fixed size after re-segmentation: `bin_width_hu` wide from
       there; no value is lower.
    3. Else PyRadiomics' fixed width: from the multiple of `bin_width_hu` at or below the minimum.

    PyRadiomics' own function is fed with the two extremes alone: it takes Python's min and max of
    all voxels otherwise.
    """
    from radiomics import imageoperations

    extremes = np.array([values.min(), values.max()], dtype=values.dtype)
    if bin_count:
        try:
            return imageoperations.getBinEdges(extremes, binCount=bin_count)
        except ValueError:
            return imageoperations.getBinEdges(extremes.astype(np.float64), binCount=bin_count)
    if bin_start_hu is not None:
        highest = int((float(extremes[1]) - bin_start_hu) // bin_width_hu)
        return bin_start_hu + bin_width_hu * np.arange(highest + 2)
    return np.asarray(imageoperations.getBinEdges(extremes, binWidth=bin_width_hu))


def _value_of(calculator: Any, name: str) -> Value:
    try:
        value = float(np.squeeze(getattr(calculator, f"get{name}FeatureValue")()).real)
    except Exception as error:  # a degenerate region must not cost the others their features
        return None, f"not defined for this region: {type(error).__name__} in {engine_name()}"
    if np.isfinite(value):
        return value, None
    return None, IMC2_UNSTABLE if name == "Imc2" else NOT_FINITE


@cache
def _feature_class(feature_class: str) -> Any:
    """PyRadiomics' class of that name, taught to accept arrays and finished gray levels."""
    from radiomics import firstorder, glcm, gldm, glrlm, glszm, ngtdm, shape

    logging.getLogger("radiomics").setLevel(logging.CRITICAL)
    original = {
        "firstorder": firstorder.RadiomicsFirstOrder,
        "shape": shape.RadiomicsShape,
        "glcm": glcm.RadiomicsGLCM,
        "glrlm": glrlm.RadiomicsGLRLM,
        "glszm": glszm.RadiomicsGLSZM,
        "gldm": gldm.RadiomicsGLDM,
        "ngtdm": ngtdm.RadiomicsNGTDM,
    }[feature_class]
    own = {"firstorder": _FirstOrder, "shape": _Shape, "glcm": _Cooccurrence}.get(
        feature_class, _Prepared
    )
    return type(original.__name__, (own, original), {"featureNames": original.getFeatureNames()})


class _Prepared:
    """What PyRadiomics' constructor would set up, from arrays instead of SimpleITK images."""

    def __init__(
        self, image: Array, mask: Mask, levels: NDArray[np.int32], spacing_mm: float | Spacing
    ) -> None:
        self.logger = logging.getLogger("radiomics")
        self.settings: dict[str, Any] = {}
        self.voxelBased = False
        self.weightingNorm = None
        self.symmetricalGLCM = True
        self.gldm_a = 0
        self.maskArray = mask
        self.imageArray: NDArray = levels
        present = np.unique(levels[mask])
        self.coefficients: dict[str, Any] = {"grayLevels": present, "Ng": int(present[-1])}
        self._prepare(image, spacing_mm)

    def _prepare(self, image: Array, spacing_mm: float | Spacing) -> None:
        """Nothing more for the matrices."""


class _FirstOrder(_Prepared):
    """First order takes the values beside their gray levels."""

    def _prepare(self, image: Array, spacing_mm: float | Spacing) -> None:
        self.discretizedImageArray = self.imageArray
        self.imageArray = image
        self.pixelSpacing = along_axes(spacing_mm)
        self.voxelArrayShift = 0


class _Shape(_Prepared):
    """Shape pads and measures the mask itself, so it gets SimpleITK images after all."""

    def _prepare(self, image: Array, spacing_mm: float | Spacing) -> None:
        self.label = 1
        self.inputImage = as_image(image, spacing_mm)
        self.inputMask = as_image(self.maskArray.astype(np.uint32), spacing_mm)
        self._initSegmentBasedCalculation()  # type: ignore[attr-defined]


class _Cooccurrence(_Prepared):
    """Two features of the co-occurrence matrix computed differently from PyRadiomics.

    PyRadiomics would return mere rounding for Imc2, and sums in a Python loop for MCC.
    """

    P_glcm: NDArray[np.float64]

    # PyRadiomics finds features by this pattern of names
    def getImc2FeatureValue(self) -> Any:  # noqa: N802
        """Imc2, or NaN where the two entropies differ by rounding alone.

        Imc2 would then be that rounding's square root.
        """
        joint = self.coefficients["px"] * self.coefficients["py"]
        independent = -np.sum(joint * np.log2(joint + self.coefficients["eps"]), (1, 2))
        gap = np.abs(independent - self.coefficients["HXY"])
        unstable = (gap > 0) & (gap < IMC2_RESOLUTION)
        return np.nan if unstable.any() else super().getImc2FeatureValue()  # type: ignore[misc]

    def getMCCFeatureValue(self) -> Any:  # noqa: N802
        """Second largest eigenvalue of Q_ij = sum_k p_ik p_jk / (p_i p_k + eps).

        Q is computed as one matrix product per angle.
        """
        p = np.moveaxis(self.P_glcm[0], 2, 0)
        px, py = (np.moveaxis(self.coefficients[side][0], 2, 0) for side in ("px", "py"))
        eigenvalues = np.linalg.eigvals(
            (p / (px * py + self.coefficients["eps"])) @ p.transpose(0, 2, 1)
        )
        eigenvalues.sort()
        return 1.0 if p.shape[1] < 2 else np.nanmean(np.sqrt(eigenvalues[:, -2])).real
