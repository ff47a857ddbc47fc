"""Synthetic lesions with known truth, on which DHI's limits are fitted and tested.

They can be scanned and outlined again as often as needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from dagster_project.radiomics.preparation import (
    READER_SCALE_MM,
    depth_below_surface,
    rotation_matrix,
)
from dagster_project.radiomics.resampling import Mask

Volume = NDArray[np.float64]
Change = Literal[
    "none",
    "offset",
    "gain",
    "necrosis",
    "cavity",
    "coarser",
    "flatter",
    "radial",
    "shrink_30",
    "shrink_50",
    "necrosis_50",
    "noise",
]

FINE_MM = 0.8
"""Voxel of the object itself, before a scanner has seen it."""

MARGIN_MM = 12.0
LUNG_HU = -820.0
OFFSET_HU = 30.0
CAVITY_HU = -900.0
NECROSIS_HU = -70.0
NECROSIS_SHARE = 0.25
POINT_SPREAD_MM = 0.6
"""Standard deviation of the scanner's blur."""


@dataclass(frozen=True)
class Lesion:
    """What is scanned: size, inner structure, and the scanner's noise.

    `seed` alone decides everything random about the object.
    """

    volume_ml: float
    seed: int
    density_hu: float = 40.0
    texture_hu: float = 25.0
    texture_mm: float = 2.5
    noise_hu: float = 15.0
    noise_mm: float = 0.6
    spacing_mm: tuple[float, float, float] = (1.0, 0.75, 0.75)


@dataclass(frozen=True)
class Scan:
    """One scan of a lesion with one reader's outline."""

    image: sitk.Image
    mask: Mask


def draw_lesion(seed: int, volume_ml: float) -> Lesion:
    """A lesion of the given volume, its other properties drawn from their usual ranges.

    Density, structure, noise and voxel size are drawn at random.
    """
    rng = np.random.default_rng([seed, 1])
    in_plane = rng.uniform(0.65, 0.9)
    return Lesion(
        volume_ml,
        seed,
        density_hu=rng.uniform(20, 70),
        texture_hu=rng.uniform(12, 45),
        texture_mm=rng.uniform(1.5, 4.0),
        noise_hu=rng.uniform(8, 25),
        noise_mm=rng.uniform(0.3, 0.9),
        spacing_mm=(float(rng.choice([0.8, 1.0])), in_plane, in_plane),
    )


def scan_lesion(
    lesion: Lesion, repeat: int, *, reader: int = 1, change: Change = "none", reader_mm: float = 0.7
) -> Scan:
    """Scan the lesion as it is after a change.

    Each scan has a new position (± 0.5 mm, ± 3°), new noise, and a reader's outline. `repeat`
    numbers the scan and `reader` the outline on it; the same numbers give the same scan and
    outline. `reader_mm` is the RMS distance of the outline from the truth: two readers differ by √2
    of it.
    """
    rng = np.random.default_rng([lesion.seed, 2, repeat])
    scanned = replace(lesion, noise_hu=lesion.noise_hu * (1.25 if change == "noise" else 1.0))
    inside, field = _object(lesion, change)
    where, shape = _positions(field.shape, scanned.spacing_mm, rng)
    image = map_coordinates(
        gaussian_filter(field, POINT_SPREAD_MM / FINE_MM), where, order=1, mode="nearest"
    ).reshape(shape)
    image += _noise(rng, shape, scanned)
    hand = np.random.default_rng([lesion.seed, 4, repeat, reader])
    surface = inside + _smooth_field(hand, inside.shape, READER_SCALE_MM / FINE_MM) * reader_mm
    mask = map_coordinates(surface, where, order=1, mode="nearest").reshape(shape) > 0
    return Scan(_as_ct(image, scanned.spacing_mm), mask)


def _object(lesion: Lesion, change: Change) -> tuple[Volume, Volume]:
    """Depth below the surface in mm (negative outside) and HU of every voxel, on the fine grid."""
    radius = (3 * lesion.volume_ml * 1000 / (4 * np.pi)) ** (1 / 3)
    share = {"shrink_30": 0.7, "shrink_50": 0.5, "necrosis_50": 0.5}.get(change, 1.0)
    n = int(np.ceil(2 * (radius * 1.25 + MARGIN_MM) / FINE_MM))
    rng = np.random.default_rng([lesion.seed, 3])
    grid = (np.indices((n, n, n)) - (n - 1) / 2) * FINE_MM
    bumps = _smooth_field(rng, (n, n, n), 0.45 * radius / FINE_MM) * 0.08 * radius
    outwards = np.sqrt((grid**2).sum(axis=0)) - bumps
    voxels = round(share * lesion.volume_ml * 1000 / FINE_MM**3)
    depth = (
        depth_below_surface(outwards <= np.partition(outwards, voxels - 1, axis=None)[voxels - 1])
        * FINE_MM
    )
    texture = (
        _smooth_field(
            rng, (n, n, n), lesion.texture_mm * (2.0 if change == "coarser" else 1.0) / FINE_MM
        )
        * lesion.texture_hu
    )
    tissue = lesion.density_hu + _changed(texture, depth, lesion, change)
    lung = LUNG_HU + _smooth_field(rng, (n, n, n), 2.0) * 60
    return depth, np.where(depth > 0, tissue, lung + (OFFSET_HU if change == "offset" else 0.0))


def _changed(texture: Volume, depth: Volume, lesion: Lesion, change: Change) -> Volume:
    """The tissue's deviation from its mean density after a change."""
    core = depth > np.quantile(depth[depth > 0], 1 - NECROSIS_SHARE)
    if change == "radial":
        return _sorted_by_depth(texture, depth)
    if change == "cavity":
        return np.where(core, CAVITY_HU - lesion.density_hu, texture)
    factor = {"gain": 1.15, "flatter": 0.5}.get(change, 1.0)
    added = {"offset": OFFSET_HU}.get(change, 0.0)
    return (
        texture * factor
        + added
        + (NECROSIS_HU * core if change in {"necrosis", "necrosis_50"} else 0.0)
    )


def _sorted_by_depth(texture: Volume, depth: Volume) -> Volume:
    """The same values re-arranged: the densest at the rim, the others as they come."""
    inside = depth > 0
    pull = (
        texture[inside]
        - 0.8 * texture[inside].std() * (depth[inside] - depth[inside].mean()) / depth[inside].std()
    )
    moved = texture.copy()
    order = np.empty(pull.size)
    order[np.argsort(pull)] = np.sort(texture[inside])
    moved[inside] = order
    return moved


def _positions(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> tuple[Volume, tuple[int, ...]]:
    """Positions of the scanner's voxels in the object, in the object's voxels.

    The patient is never placed the same way twice.
    """
    counts = tuple(int(n * FINE_MM / mm) for n, mm in zip(shape, spacing_mm, strict=True))
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(counts, spacing_mm, strict=True)]
    points = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])
    moved = rotation_matrix(rng.uniform(-3, 3, 3)) @ points + rng.uniform(-0.5, 0.5, (3, 1))
    return moved / FINE_MM + (np.array(shape)[:, None] - 1) / 2, counts


def _noise(rng: np.random.Generator, shape: tuple[int, ...], lesion: Lesion) -> Volume:
    field = gaussian_filter(
        rng.standard_normal(shape), [lesion.noise_mm / mm for mm in lesion.spacing_mm], mode="wrap"
    )
    return field / field.std() * lesion.noise_hu


def _smooth_field(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Volume:
    """A Gaussian random field of unit variance."""
    field = gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return field / field.std()


def _as_ct(values: Volume, spacing_mm: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(np.rint(values).astype(np.int16))
    image.SetSpacing(tuple(reversed(spacing_mm)))
    return image
