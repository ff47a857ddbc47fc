"""What spoils a CT scan: artifact figures, each with a limit.

They are cheap enough to be computed for every series, and stored so that a limit can be
reconsidered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dagster_project.lake.voxels import OUTSIDE_FIELD_HU

Hounsfield = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

LUNG_ABOVE_AIR_HU = 430.0
"""Distance in HU below the middle between air and water at which lung ends and air begins.

The middle is 500 HU above air; lung ends and air begins 70 HU above air.
"""

COARSE_MM = 3.0
"""In-plane size of the blocks over which body, lung and outline are looked at; slices are kept."""

AIR_TISSUE_STEP_HU = 400.0
"""Dark and bright voxels that differ by less are not air and tissue: the scan shows no air."""

MOTION_BODY_CM2 = 100.0
"""A smaller outline is a limb or what a crop left of the body; breathing is not judged on it."""

MOTION_AREA_CHANGE = 0.05
"""Largest relative difference in area between neighbouring outlines that are compared.

A larger difference shows anatomy (shoulders, arms), not displacement.
"""

MOTION_ROWS_MM = 60.0
"""An edge has to be seen over at least this length to be compared."""

STREAK_REACH_MM = 30.0
"""Streaks are looked for this far around metal."""

STREAK_TISSUE_HU = (-200.0, 300.0)
"""Streaks are measured where the slices without metal show soft tissue.

Lung and bone differ from slice to slice by themselves.
"""

STREAK_SLICES = 6
"""Slices without metal that streaks are compared with, at least."""

NOISE_WINDOW = 7
"""Side of the window, in pixels, within which noise is the standard deviation."""

NOISE_TISSUE_HU = (-50.0, 150.0)
"""A window with its mean in this range lies in soft tissue."""

NOISE_SLICES = 16
"""Slices looked at for noise, evenly spaced."""


@dataclass(frozen=True)
class Coarse:
    """Block means of a scan with the body found in them.

    Arrays are (z, y, x); the spacing is in mm in the same order.
    """

    hu: Floats
    spacing: tuple[float, float, float]
    padding: Mask
    air_hu: float | None
    body: Mask


def artifact_figures(
    hu: Hounsfield, spacing_xyz: Sequence[float], limits: Mapping[str, Any]
) -> dict[str, Any]:
    """The artifact columns of `scans`.

    1. Metal: volume of the connected voxels of at least `metal_hu`; the flag needs streaks too.
    2. Motion: largest displacement of the body's outline between neighbouring slices.
    3. Truncation: the body meets the edge of the field of view.
    4. Rescale: air is not near -1000 HU. Where a scan shows no air, NULL.
    5. Noise: standard deviation in homogeneous soft tissue (photon starvation).
    6. Chest: share of the body that is lung.

    It does not look for double edges at diaphragm and heart: on still images they cannot be
    distinguished from anatomy.

    Parameters
    ----------
    hu
        Voxels as (z, y, x).
    spacing_xyz
        Spacing in mm along x, y and z.
    limits
        Section `scans` of study.toml.
    """
    coarse = coarse_scan(hu, spacing_xyz)
    metal_mm3, streak = metal_figures(hu, spacing_xyz, limits["metal_hu"])
    motion = motion_score(coarse)
    noise = noise_hu(hu)
    lung = lung_fraction(coarse)
    low, high = limits["air_hu_range"]
    return {
        "metal_volume_mm3": metal_mm3,
        "streak_hu": streak,
        "metal_flag": metal_mm3 >= limits["metal_volume_mm3"] and streak >= limits["streak_hu"],
        "motion_score": motion,
        "motion_flag": None if motion is None else motion >= limits["motion_mm"],
        "truncated_flag": touches_edge(coarse, limits["truncated_share"]),
        "air_hu": coarse.air_hu,
        "rescale_flag": None if coarse.air_hu is None else not low <= coarse.air_hu <= high,
        "noise_hu": noise,
        "noise_flag": None if noise is None else noise > limits["noise_hu"],
        "lung_fraction": lung,
        "chest_flag": None if lung is None else lung >= limits["lung_fraction_minimum"],
    }


def coarse_scan(hu: Hounsfield, spacing_xyz: Sequence[float]) -> Coarse:
    """Block means of about `COARSE_MM` in-plane, and the body in them.

    A block with a voxel outside the field of view (`OUTSIDE_FIELD_HU`) is padding.
    """
    x, y, z = spacing_xyz
    step_y, step_x = (
        min(max(1, round(COARSE_MM / s)), n) for s, n in zip((y, x), hu.shape[1:], strict=True)
    )
    means = _block_means(hu, step_y, step_x)
    padding = np.zeros(means.shape, bool)
    if hu.min() == OUTSIDE_FIELD_HU:
        padding = _block_means(hu == OUTSIDE_FIELD_HU, step_y, step_x) > 0
    air = air_level(means[~padding])
    body = np.ones(means.shape, bool) if air is None else find_body(means, air + 500.0)
    return Coarse(means, (z, y * step_y, x * step_x), padding, air, body & ~padding)


def _block_means(hu: Hounsfield | Mask, step_y: int, step_x: int) -> Floats:
    rows, columns = hu.shape[1] // step_y * step_y, hu.shape[2] // step_x * step_x
    total = np.zeros((hu.shape[0], rows // step_y, columns // step_x), np.float32)
    for i in range(step_y):
        for j in range(step_x):
            total += hu[:, i:rows:step_y, j:columns:step_x]
    return total / np.float32(step_y * step_x)


def air_level(values: Floats) -> float | None:
    """Median of the darkest tenth of what is not tissue, in HU; None where no air is seen.

    Dark and bright voxels are parted by Otsu's threshold, so that a wrong intercept does not hide
    the air; the darkest tenth of the dark ones is air even where most of them are lung.
    """
    sample = np.sort(values[:: max(1, values.size // 200_000)])
    if sample.size < 2 or sample[0] == sample[-1]:
        return None
    n_dark = _otsu(sample)
    dark, bright = sample[:n_dark], sample[n_dark:]
    return (
        float(dark[dark.size // 20])
        if np.median(bright) - np.median(dark) >= AIR_TISSUE_STEP_HU
        else None
    )


def _otsu(ordered: Floats) -> int:
    """How many of the ordered values lie below the threshold that parts the two classes best."""
    values = ordered.astype(np.float64)
    n = np.arange(1, values.size)
    below = np.cumsum(values)[:-1]
    between = (below / n - (values.sum() - below) / (values.size - n)) ** 2 * n * (values.size - n)
    return int(np.argmax(between)) + 1


IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]


def find_body(means: Floats, threshold: float) -> Mask:
    """Largest piece of tissue with what it encloses in each slice.

    An opening cuts off table and blankets.
    """
    tissue = ndimage.binary_opening(means > threshold, IN_PLANE)
    pieces, n = ndimage.label(tissue)
    if n == 0:
        return np.zeros(means.shape, bool)
    largest = np.argmax(np.bincount(pieces.ravel())[1:]) + 1
    return _fill_slices(pieces == largest, means, threshold)


def _fill_slices(body: Mask, means: Floats, threshold: float) -> Mask:
    """Add what the body encloses, and lung that a crop has opened to the edge.

    Such lung is dark, but not as dark as the air.
    """
    outside, n = ndimage.label(~body, IN_PLANE)
    edge = np.zeros(body.shape, bool)
    edge[:, [0, -1], :] = edge[:, :, [0, -1]] = True
    open_to_edge = np.zeros(n + 1, bool)
    open_to_edge[np.unique(outside[edge])] = True
    # Half of the voxels darker than this: the same as a median below it, without sorting.
    dark = np.bincount(
        outside.ravel(), weights=(means < threshold - LUNG_ABOVE_AIR_HU).ravel(), minlength=n + 1
    )
    lung_like = dark * 2 < np.bincount(outside.ravel(), minlength=n + 1)
    is_air = open_to_edge & ~lung_like
    is_air[0] = False
    return ~is_air[outside]


def lung_fraction(coarse: Coarse) -> float | None:
    """Share of the body between -980 and -500 HU; None where no air is seen.

    Layers one block thin (skin, gut wall) are left out. 0 where no body is seen.
    """
    if coarse.air_hu is None or not coarse.body.any():
        return None if coarse.air_hu is None else 0.0
    dark = coarse.body & (coarse.hu < -500.0) & (coarse.hu > -980.0)
    return float(ndimage.binary_opening(dark, IN_PLANE).sum() / coarse.body.sum())


def touches_edge(coarse: Coarse, share: float) -> bool | None:
    """Whether the body makes up more than a share of the edge of the field of view.

    None where no air is seen.
    """
    if coarse.air_hu is None:
        return None
    edge = np.zeros(coarse.body.shape, bool)
    edge[:, [0, -1], :] = edge[:, :, [0, -1]] = True
    if coarse.padding.any():
        edge = (edge & ~coarse.padding) | (
            ndimage.binary_dilation(coarse.padding, IN_PLANE) & ~coarse.padding
        )
    return bool((coarse.body & edge).sum() > share * edge.sum())


def motion_score(coarse: Coarse) -> float | None:
    """Largest displacement of the body's outline between neighbouring slices, in mm.

    It is that of one side of the outline; None where none is seen.

    1. Left, right, front and back edge of the body in each row or column, to a fraction of a block.
    2. The side's displacement from a slice to the next is the median over the rows in which both
       show it.
    3. The trend (median over seven neighbouring pairs) is taken off: anatomy drifts, motion jumps.
    4. Slices with a small body, and pairs whose areas differ, are left out.
    """
    if coarse.air_hu is None or coarse.hu.shape[0] < 2:
        return None
    shifts = [_side_shifts(coarse, axis, end) for axis in (1, 2) for end in (0, -1)]
    fair = _comparable_pairs(coarse)
    jumps = [np.abs(s - _trend(s))[fair] for s in shifts]
    seen = np.concatenate(jumps)
    seen = seen[np.isfinite(seen)]
    return float(seen.max()) if seen.size else None


def _comparable_pairs(coarse: Coarse) -> Mask:
    area = coarse.body.sum((1, 2)) * coarse.spacing[1] * coarse.spacing[2] / 100.0
    smaller, larger = np.minimum(area[:-1], area[1:]), np.maximum(area[:-1], area[1:])
    return (smaller >= MOTION_BODY_CM2) & (larger <= smaller * (1 + MOTION_AREA_CHANGE))


def _side_shifts(coarse: Coarse, axis: int, end: int) -> Floats:
    """Median displacement of one side from each slice to the next, in mm.

    NaN where too little of the side is seen.
    """
    places = _edge_places(coarse, axis, end) * coarse.spacing[axis]
    moved = np.diff(places, axis=0)
    needed = MOTION_ROWS_MM / coarse.spacing[3 - axis]
    enough = np.isfinite(moved).sum(1) >= needed
    shifts = np.full(moved.shape[0], np.nan)
    if enough.any():
        shifts[enough] = np.nanmedian(moved[enough], axis=1)
    return shifts


def _edge_places(coarse: Coarse, axis: int, end: int) -> Floats:
    """Index at which the body begins (or ends) along an axis, per slice and line.

    NaN without an edge inside the image.
    """
    body, hu = np.moveaxis(coarse.body, axis, -1), np.moveaxis(coarse.hu, axis, -1)
    padding = np.moveaxis(coarse.padding, axis, -1)
    if end == -1:
        body, hu, padding = body[..., ::-1], hu[..., ::-1], padding[..., ::-1]
    first = body.argmax(-1)
    before = np.maximum(first - 1, 0)
    inner, outer = (
        np.take_along_axis(hu, i[..., None], -1)[..., 0].astype(np.float64) for i in (first, before)
    )
    threshold = (coarse.air_hu or 0.0) + 500.0
    # Where the field of view cuts the body, the edge is that of the field and does not move.
    cut = np.take_along_axis(padding, before[..., None], -1)[..., 0]
    crossed = (outer < threshold) & ~cut & (inner >= threshold) & (first > 0)
    place = np.where(
        crossed, before + (threshold - outer) / np.where(crossed, inner - outer, 1.0), np.nan
    )
    return place if end == 0 else body.shape[-1] - 1 - place


def _trend(shifts: Floats) -> Floats:
    padded = np.pad(shifts, 3, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 7)
    seen = np.isfinite(windows).any(1)
    trend = np.zeros(shifts.size)
    if seen.any():
        trend[seen] = np.nanmedian(windows[seen], axis=1)
    return trend


def metal_figures(
    hu: Hounsfield, spacing_xyz: Sequence[float], metal_hu: float
) -> tuple[float, float]:
    """Volume of metal in mm3 and strength of the streaks around it in HU; (0, 0) without metal.

    A single voxel is not metal: sharp kernels overshoot. Streaks: standard deviation of the soft
    tissue within `STREAK_REACH_MM` of metal about the same place in the nearest slices without
    metal, less (in squares) what these deviate among themselves; 0 where no soft tissue is near.
    """
    candidates = hu >= metal_hu
    if not candidates.any():
        return 0.0, 0.0
    metal = _connected(candidates)
    volume = float(metal.sum() * np.prod(spacing_xyz))
    return volume, _streaks(hu, metal, spacing_xyz) if metal.any() else 0.0


def _connected(candidates: Mask) -> Mask:
    """Voxels with at least one neighbour among them."""
    box = tuple(slice(max(0, i.min() - 1), i.max() + 2) for i in np.nonzero(candidates))
    pieces, _ = ndimage.label(candidates[box], np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    metal = np.zeros(candidates.shape, bool)
    metal[box] = (sizes > 1)[pieces]
    return metal


def _streaks(hu: Hounsfield, metal: Mask, spacing_xyz: Sequence[float]) -> float:
    with_metal = metal.any((1, 2))
    around = _around(np.asarray(metal.any(0)), spacing_xyz)
    without = _nearest(np.flatnonzero(~with_metal), np.flatnonzero(with_metal))
    if not around.any() or without.size < 2:
        return 0.0
    calm = np.stack([hu[k][around] for k in without]).astype(np.float64)
    usual = calm.mean(0)
    soft = (usual > STREAK_TISSUE_HU[0]) & (usual < STREAK_TISSUE_HU[1])
    if not soft.any():
        return 0.0
    streaked = np.stack([hu[k][around] for k in np.flatnonzero(with_metal)])
    inside, elsewhere = (
        float(np.mean((values - usual)[:, soft] ** 2)) for values in (streaked, calm)
    )
    return max(0.0, inside - elsewhere) ** 0.5


def _around(shadow: Mask, spacing_xyz: Sequence[float]) -> Mask:
    """Pixels from 3 mm to the reach around metal, in-plane."""
    distance = ndimage.distance_transform_edt(~shadow, sampling=(spacing_xyz[1], spacing_xyz[0]))
    return (distance > 3.0) & (distance <= STREAK_REACH_MM)


def _nearest(
    candidates: npt.NDArray[np.intp], slices: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """Slices without metal, nearest first.

    They are as many as those with metal, but no fewer than `STREAK_SLICES`.
    """
    distance = np.abs(candidates[:, None] - slices[None, :]).min(1)
    return candidates[np.argsort(distance, kind="stable")[: max(STREAK_SLICES, slices.size)]]


def noise_hu(hu: Hounsfield) -> float | None:
    """Noise in HU: lower quartile of the standard deviations within soft-tissue windows.

    None without soft tissue.

    The quartile, because vessels and edges only add to what a window shows.
    """
    chosen = np.unique(np.linspace(0, hu.shape[0] - 1, NOISE_SLICES).round().astype(int))
    deviations = np.concatenate([_window_deviations(hu[k]) for k in chosen])
    return float(np.percentile(deviations, 25)) if deviations.size >= NOISE_WINDOW**2 else None


def _window_deviations(plane: Hounsfield) -> Floats:
    values = plane.astype(np.float32)
    mean = ndimage.uniform_filter(values, NOISE_WINDOW)
    square = ndimage.uniform_filter(values * values, NOISE_WINDOW)
    half = NOISE_WINDOW // 2
    mean, square = (a[half : a.shape[0] - half, half : a.shape[1] - half] for a in (mean, square))
    soft = (mean > NOISE_TISSUE_HU[0]) & (mean < NOISE_TISSUE_HU[1])
    return np.sqrt(np.maximum(square[soft] - mean[soft] ** 2, 0))
