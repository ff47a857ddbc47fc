"""Where a lesion's features are taken: the tumour, and rings of lung around it.

The rings are measured in physical millimetres.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from dagster_project.radiomics.resampling import (
    Array,
    Mask,
    Spacing,
    along_axes,
    bounding_box,
    grow_box,
)

TUMOR = "tumor"
"""The region of the tumour itself."""

SURFACE_VOXELS = 0.25
"""Mean distance, in voxels, from the nearest tumour voxel's centre out to a curved surface.

With it a ball of 5–16 mm grown by 3, 5 or 10 mm has its analytic volume to 1 %; with 0 it lacks 3–4
%, with one half it has 5–6 % too much. Around a flat surface rings that are whole voxels wide are
exact with any of them.
"""


@dataclass(frozen=True)
class Outline:
    """A mask on the grid on which it was read, cut to its voxels.

    Shape and volume are taken from it.
    """

    mask: Mask
    spacing_mm: Spacing

    @property
    def volume_mm3(self) -> float:
        """Voxels times the volume of one."""
        return int(self.mask.sum()) * math.prod(self.spacing_mm)


@dataclass(frozen=True)
class Region:
    """A region's voxels on the lesion's grid; `reason` says why no feature may be taken from it.

    `mask` is IBSI's morphological mask, and `inside` its intensity mask where re-segmentation has
    left voxels out. `outline` is what its shape is taken from, where that is another mask than the
    region's own.
    """

    name: str
    mask: Mask
    spacing_mm: Spacing
    volume_mm3: float
    reason: str | None
    outline: Outline | None = None
    inside: Mask | None = None

    @property
    def intensity_mask(self) -> Mask:
        """The voxels whose intensities count."""
        return self.mask if self.inside is None else self.inside


def ring_bounds(settings: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Inner and outer distance in mm of each ring from the tumour's surface, by the region's name.

    >>> ring_bounds({"ring_edges_mm": [0, 3, 5]})
    {'ring_0_3': (0, 3), 'ring_3_5': (3, 5)}
    """
    return {
        f"ring_{inner}_{outer}": (inner, outer)
        for inner, outer in pairwise(settings["ring_edges_mm"])
    }


def ring_reach(settings: Mapping[str, Any]) -> int:
    """How far in mm the outermost ring reaches."""
    return max(settings["ring_edges_mm"])


def region_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The tumour and its rings, from the inside out."""
    return (TUMOR, *ring_bounds(settings))


def derive_regions(
    volume: Array,
    tumor: Mask,
    others: Mask | None,
    settings: Mapping[str, Any],
    outside: Mask | None = None,
    outline: Outline | None = None,
) -> list[Region]:
    """The tumour and its rings, in the order of `region_names`.

    1. The distance of a voxel is that of its centre to the surface of the tumour: Euclidean
       distance to the nearest tumour voxel's centre, less `SURFACE_VOXELS`. A ring a–b holds the
       voxels outside the tumour with a < distance <= b.
    2. Of the ring, only lung is kept (`lung_hu`, inclusive), without the scan's other lesions.
    3. Where less than `ring_minimum_lung_share` of the ring is kept, the ring gives no features: it
       would describe chest wall.
    4. A region of fewer than `minimum_voxels` voxels gives none either.
    5. Re-segmentation (`resegment`) comes later: it changes what is measured in a region, not where
       the region lies.
    6. Shape and volume of the tumour are those of `outline`: on the isotropic grid the volume of a
       ball of 6 mm changes by 4 % (one standard deviation, pixels of 0.977 mm) with its place in
       the scan.

    `settings` are study.toml [radiomics] with `spacing_mm` as it is on this grid. A ring cut by the
    scan's end, or by the edge of its field of view (`outside`), is judged by the part inside.
    Vessels inside the lung window's upper bound stay in; larger ones, chest wall and mediastinum do
    not.
    """
    distance = surface_distance(tumor, settings["spacing_mm"], ring_reach(settings))
    low, high = settings["lung_hu"]
    lung = (volume >= low) & (volume <= high)
    if others is not None:
        lung &= ~others
    regions = [tumor_region(tumor, settings, outline)]
    for name, (inner, outer) in ring_bounds(settings).items():
        shell = ~tumor & (distance > inner) & (distance <= outer)
        if outside is not None:
            shell &= ~outside
        ring = shell & lung
        regions.append(
            _region(
                name,
                ring,
                settings,
                _too_little_lung(shell, ring, settings["ring_minimum_lung_share"]),
            )
        )
    return regions


def tumor_region(
    tumor: Mask, settings: Mapping[str, Any], outline: Outline | None = None
) -> Region:
    """The tumour alone.

    Without an outline its shape is that of its voxels on the isotropic grid.
    """
    region = _region(TUMOR, tumor, settings, None)
    if outline is None:
        return region
    return replace(region, volume_mm3=outline.volume_mm3, outline=outline)


def resegment(volume: Array, region: Region, settings: Mapping[str, Any]) -> Region:
    """The region with its intensity mask, by IBSI's rules.

    1. HU within `resegmentation_hu`, both ends included.
    2. Of these, HU no further than `outlier_sd` standard deviations (of the population) from their
       mean.
    3. Where fewer than `minimum_voxels` are left, the region gives no features.

    Where the protocol re-segments nothing, the region stays as it is.

    Parameters
    ----------
    volume
        The original image (z, y, x) in HU: filtered images are measured within the same voxels.
    region
        On the volume's grid; its mask, outline and volume stay as they are.
    settings
        study.toml [radiomics].
    """
    bounds, outlier_sd = settings.get("resegmentation_hu"), settings.get("outlier_sd", 0.0)
    if region.reason is not None or not (bounds or outlier_sd):
        return region
    values = volume[region.mask].astype(np.float64)
    kept = np.ones(values.shape, dtype=bool)
    if bounds:
        kept = (values >= bounds[0]) & (values <= bounds[1])
    if outlier_sd and kept.any():
        kept &= np.abs(values - values[kept].mean()) <= outlier_sd * values[kept].std()
    inside = np.zeros_like(region.mask)
    inside[region.mask] = kept
    least = settings["minimum_voxels"]
    too_few = f"fewer than {least} voxels after re-segmentation"
    return replace(region, inside=inside, reason=too_few if int(kept.sum()) < least else None)


def surface_distance(tumor: Mask, spacing_mm: float | Spacing, reach_mm: float) -> Array:
    """Distance in millimetres of each voxel outside the tumour from its surface.

    Infinite beyond `reach_mm`. Where slices are further apart than pixels, the
    surface lies `SURFACE_VOXELS` of a pixel outside the voxels' centres, up and down too.
    """
    distance, spacing = np.full(tumor.shape, np.inf, dtype=np.float32), along_axes(spacing_mm)
    box, pixel = bounding_box(tumor), spacing[2]
    if box is not None:
        near = grow_box(box, int(np.ceil(reach_mm / min(spacing))) + 2, tumor.shape)
        steps = distance_transform_edt(~tumor[near], sampling=[mm / pixel for mm in spacing])
        distance[near] = (steps - SURFACE_VOXELS) * pixel
    return distance


def _region(name: str, mask: Mask, settings: Mapping[str, Any], reason: str | None) -> Region:
    count = int(mask.sum())
    if reason is None and count < settings["minimum_voxels"]:
        reason = f"fewer than {settings['minimum_voxels']} voxels after resampling"
    spacing = along_axes(settings["spacing_mm"])
    return Region(name, mask, spacing, count * math.prod(spacing), reason)


def _too_little_lung(shell: Mask, ring: Mask, minimum_share: float) -> str | None:
    total = int(shell.sum())
    if total and ring.sum() >= minimum_share * total:
        return None
    return f"less than {minimum_share:.0%} of the ring is lung"
