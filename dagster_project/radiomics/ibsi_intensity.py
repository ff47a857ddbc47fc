"""Intensity as IBSI 1 defines it, by IBSI's own tags.

Statistics, histogram, intensity-volume histogram and local peaks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve

from dagster_project.radiomics.resampling import Mask, Spacing, bounding_box, grow_box

Values = NDArray[np.float64]
Features = dict[str, float]

PEAK_MM3 = 1000.0
"""Volume of the sphere whose mean is a local peak."""

PEAK_REACH_MM = (PEAK_MM3 / (4 / 3 * math.pi)) ** (1 / 3)
"""Its radius."""


def statistics(values: Values) -> Features:
    """The 18 statistics of the intensities in a region (tags stat_…)."""
    found = {f"stat_{name}": value for name, value in _of_distribution(values).items()}
    squares = float((values**2).sum())
    return {**found, "stat_energy": squares, "stat_rms": math.sqrt(squares / values.size)}


def histogram(levels: NDArray[np.integer]) -> Features:
    """The 23 features of the histogram of gray levels 1, 2, … (tags ih_…).

    Percentiles are levels that occur. Of several modes the one nearest to the mean counts; the
    gradient is taken over all levels from 1 to the highest, empty ones included.
    """
    values = levels.astype(np.float64)
    counts = np.bincount(levels)[1:].astype(np.float64)
    p, places = counts / counts.sum(), np.arange(1, counts.size + 1)
    modes = places[counts == counts.max()]
    gradient = np.gradient(counts) if counts.size > 1 else np.zeros(1)
    known = p[p > 0]
    return {
        **{f"ih_{name}": value for name, value in _of_distribution(values).items()},
        "ih_mode": float(modes[np.argmin(np.abs(modes - values.mean()))]),
        "ih_entropy": float(-(known * np.log2(known)).sum()),
        "ih_uniformity": float((p**2).sum()),
        "ih_max_grad": float(gradient.max()),
        "ih_max_grad_g": float(places[gradient.argmax()]),
        "ih_min_grad": float(gradient.min()),
        "ih_min_grad_g": float(places[gradient.argmin()]),
    }


def volume_histogram(values: Values, step: float, low: float, high: float) -> Features:
    """The six features of the intensity-volume histogram that have a reference value (tags ivh_…).

    ν(i) is the share of voxels of at least intensity i, and γ(i) = (i - low) / (high - low). V10
    and V90 are the largest ν at γ of at least 0.1 and 0.9; I10 and I90 the least intensities that
    at most 10 % and 90 % of the voxels reach.

    Parameters
    ----------
    values
        Intensities, rounded to `low` + a multiple of `step`.
    step
        Distance of two intensities.
    low, high
        The range of intensities: of the re-segmentation, else of the values.
    """
    places = np.arange(round((high - low) / step) + 1)
    counts = np.bincount(np.rint((values - low) / step).astype(np.int64), minlength=places.size)
    share = 1 - np.concatenate([[0.0], np.cumsum(counts)[:-1]]) / values.size
    at, intensity = places / max(1, places[-1]), low + places * step
    v10, v90 = (float(share[at >= part].max(initial=0.0)) for part in (0.1, 0.9))
    i10, i90 = (float(intensity[share <= part].min(initial=high + step)) for part in (0.1, 0.9))
    return {
        "ivh_v10": v10,
        "ivh_v90": v90,
        "ivh_i10": i10,
        "ivh_i90": i90,
        "ivh_diff_v10_v90": v10 - v90,
        "ivh_diff_i10_i90": i10 - i90,
    }


def binned_volume_histogram(
    values: Values, *, range_hu: tuple[float, float] | None = None, bin_width_hu: float = 0.0,
    bin_count: int = 0,
) -> Features:  # fmt: skip
    """`volume_histogram` of intensities as IBSI has them discretised for it.

    1. With `bin_count`, as many bins over the values' own range, numbered from 1.
    2. Else with `bin_width_hu`, bins of that width from the range's lower end, which stand for
       their middles.
    3. Else whole HU.

    The range is that of re-segmentation, else of the values.
    """
    if bin_count:
        width = (values.max() - values.min()) / bin_count
        numbers = np.minimum(np.floor((values - values.min()) / width) + 1, bin_count)
        return volume_histogram(numbers, 1.0, 1.0, float(bin_count))
    if not bin_width_hu:
        values = np.rint(values)
    low, high = range_hu or (float(values.min()), float(values.max()))
    if not bin_width_hu:
        return volume_histogram(values, 1.0, low, high)
    bins = np.minimum(np.floor((values - low) / bin_width_hu), (high - low) / bin_width_hu - 1)
    middles, half = low + (bins + 0.5) * bin_width_hu, bin_width_hu / 2
    return volume_histogram(middles, bin_width_hu, low + half, high - half)


def local_peaks(volume: NDArray[np.floating], inside: Mask, spacing_mm: Spacing) -> Features:
    """Local and global intensity peak: means over a sphere of 1 cm³ (tags loc_…).

    The local peak is around the brightest voxel, the greatest of several; the global peak is the
    greatest of all such means. The sphere reaches beyond the region, not beyond the volume.
    """
    reach = [math.floor(PEAK_REACH_MM / mm) for mm in spacing_mm]
    axes = [np.arange(-n, n + 1) * mm for n, mm in zip(reach, spacing_mm, strict=True)]
    sphere = (
        axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2 <= PEAK_REACH_MM**2
    ).astype(np.float64)
    box = bounding_box(inside)
    assert box is not None, "the region has voxels"
    part = grow_box(box, max(reach), volume.shape)
    near, region = volume[part].astype(np.float64), inside[part]
    means = convolve(near, sphere, mode="constant") / convolve(
        np.ones(near.shape), sphere, mode="constant"
    )
    brightest = region & (near == near[region].max())
    return {
        "loc_peak_loc": float(means[brightest].max()),
        "loc_peak_glob": float(means[region].max()),
    }


def _of_distribution(x: Values) -> Features:
    mean, deviation = float(x.mean()), float(x.std())
    p10, p25, p50, p75, p90 = (float(v) for v in np.percentile(x, [10, 25, 50, 75, 90]))
    robust = x[(x >= p10) & (x <= p90)]
    standard = (x - mean) / deviation if deviation > 0 else np.zeros(1)
    return {
        "mean": mean,
        "var": deviation**2,
        "skew": float((standard**3).mean()),
        "kurt": float((standard**4).mean()) - 3 if deviation > 0 else 0.0,
        "median": p50,
        "min": float(x.min()),
        "p10": p10,
        "p90": p90,
        "max": float(x.max()),
        "iqr": p75 - p25,
        "range": float(np.ptp(x)),
        "mad": float(np.abs(x - mean).mean()),
        "rmad": float(np.abs(robust - robust.mean()).mean()),
        "medad": float(np.abs(x - p50).mean()),
        "cov": deviation / mean if mean else math.nan,
        "qcod": (p75 - p25) / (p75 + p25) if p75 + p25 else math.nan,
    }
