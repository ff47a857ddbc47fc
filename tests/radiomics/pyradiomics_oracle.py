"""PyRadiomics 3.0.1 itself, through its own constructors and binning.

It is the slow, obvious answer. This module also has regions that are hard for it.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from dagster_project.radiomics.pyradiomics_engine import TEXTURE_CLASSES, class_feature_names
from dagster_project.radiomics.resampling import along_axes

CLASSES = ("firstorder", "shape", *TEXTURE_CLASSES)
N = 9


def plain_features(image, mask, classes=CLASSES, bin_width_hu=25.0, spacing_mm=1.0, bin_count=0):
    """Values by class_Feature, None where PyRadiomics gives no finite number or stops."""
    logging.getLogger("radiomics").setLevel(logging.CRITICAL)
    images = [sitk.GetImageFromArray(image), sitk.GetImageFromArray(mask.astype(np.uint8))]
    for one in images:
        one.SetSpacing(tuple(reversed(along_axes(spacing_mm))))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {
            f"{c}_{name}": value
            for c in classes
            for name, value in _class_values(c, images, bin_width_hu, bin_count or None)
        }


def _class_values(feature_class, images, bin_width_hu, bin_count):
    from radiomics import getFeatureClasses

    names = class_feature_names(feature_class)
    try:
        calculator = getFeatureClasses()[feature_class](
            *images, binWidth=bin_width_hu, binCount=bin_count
        )
        if feature_class != "shape":
            calculator._initCalculation()
    except RuntimeError:
        return [(name, None) for name in names]
    return [(name, _value(calculator, name)) for name in names]


def _value(calculator, name):
    try:
        value = float(np.squeeze(getattr(calculator, f"get{name}FeatureValue")()).real)
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return None
    return value if np.isfinite(value) else None


def _axes():
    return np.indices((N, N, N)) - N // 2


def odd_regions(rng):
    """Regions by name, not yet cropped."""
    z, y, x = _axes()
    distance = z**2 + y**2 + x**2
    return {
        "blob": distance < 14 + 4 * rng.normal(size=distance.shape),
        "whole box": np.ones_like(z, dtype=bool),
        "plane across z": z == 0,
        "plane across y": y == 0,
        "plane across x": x == 0,
        "diagonal plane": z + y == 0,
        "oblique plane": z + y + x == 0,
        "line along z": (y == 0) & (x == 0),
        "line along x": (z == 0) & (y == 0),
        "diagonal line": (z == y) & (y == x),
        "no neighbours": (z % 2 == 0) & (y % 2 == 0) & (x % 2 == 0),
        "scattered": rng.random(distance.shape) < 0.12,
        "half of the box": rng.random(distance.shape) < 0.5,
        "ring": (distance > 9) & (distance < 17),
        "two parts": (np.abs(z) - 2) ** 2 + y**2 + x**2 < 4,
        "two voxels": (distance == 0) | ((z == 1) & (y == 1) & (x == 2)),
        "two neighbours": (z == 0) & (y == 0) & (x // 2 == 0),
        "gap on a line": (z == 0) & (y == 0) & (np.abs(x) == 1),
        "two slices": z // 2 == 0,
        "bar": (z // 2 == 0) & (y // 2 == 0),
        "one voxel": distance == 0,
    }


def odd_images(rng):
    """Images by name: wide, quantised, flat, and built so that sums cancel."""
    z, y, x = _axes()
    shape = z.shape
    images = {
        "wide": rng.normal(0, 120, shape),
        "narrow": rng.normal(0, 3, shape),
        "quantised": 25 * rng.integers(0, 4, shape),
        "two values": 40 * rng.integers(0, 2, shape),
        "flat, not a binary fraction": np.full(shape, 0.1),
        "flat zero": np.zeros(shape),
        "flat on an edge": np.full(shape, -75.0),
        "checkerboard": 40 * ((z + y + x) % 2),
        "stripes": 40 * (x % 2),
        "ramp": 30 * x,
        "many gray levels": rng.normal(0, 4000, shape),
        "outliers": np.where(rng.random(shape) < 0.01, 3000, rng.normal(0, 20, shape)),
        "smooth": 60 * np.sin(z / 2) + 50 * np.cos(y / 3) + x,
    }
    return {name: image.astype(np.float32) for name, image in images.items()}


def cropped(image, mask):
    """Both cut to the mask's box."""
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(mask))
    return np.ascontiguousarray(image[box]), np.ascontiguousarray(mask[box])


def tumour(radius_mm, seed, padding=20):
    """A lesion in lung with a rough surface and texture on two scales, and its mask.

    The HU are rounded, as after resampling.
    """
    rng = np.random.default_rng(seed)
    n = int(2.6 * radius_mm) + 2 * padding
    z, y, x = np.indices((n, n, n)) - n / 2
    bumps, coarse = (gaussian_filter(rng.normal(size=(n, n, n)), s) for s in (4, 1.5))
    mask = np.sqrt((z / 0.9) ** 2 + y**2 + (x / 1.1) ** 2) < radius_mm * (
        1 - 0.08 * bumps / bumps.std()
    )
    image = gaussian_filter(
        np.where(mask, 30, -850) + 40 * coarse / coarse.std(), 0.7
    ) + rng.normal(0, 15, (n, n, n))
    return np.rint(image).astype(np.float32), mask
