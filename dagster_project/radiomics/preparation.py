"""What two visits must share before their inner structure can be compared.

They must agree in orientation, voxels, depth, size and noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    binary_propagation,
    convolve1d,
    distance_transform_edt,
    gaussian_filter,
    map_coordinates,
    spline_filter,
    uniform_filter,
)

from dagster_project.radiomics.resampling import (
    Mask,
    bounding_box,
    check_grid,
    grow_box,
    scan_part,
    spacing_zyx,
    union_box,
)

Volume = NDArray[np.float64]

CROP_MARGIN_MM = 12.0
"""Around the lesion, at the scan's own voxels: the sampled part and the B-spline's prefilter."""

SAMPLE_MARGIN_MM = 5.0
"""Around the lesion, at 1 mm: room for a moved copy, its contour error and smoothing."""

READER_SCALE_MM = 4.0
"""Distance along the surface over which a reader's error keeps its sign.

A nodule's outlines differ by lobes of this size.
"""

LARGEST_ERROR_MM = 4.0
"""A copy's outline strays no further, so that it stays within the sampled part."""

STILL_WINDOW = 5
"""Voxels along each side of the window in which tissue is taken for even."""

SPLINE_ORDER = 3
SURFACE_BLUR = 0.7
"""In voxels: blur of a mask by which its surface is found within voxels."""

LINEAR_BLUR = 0.41
"""Standard deviation, in voxels, of the linear interpolation already applied to the mask's share.

It is that of a triangle, sqrt(1/6).
"""

NEAR = 2.0
"""Voxels from the surface up to which the blurred share tells the depth."""

GAUSSIAN_MAD = 0.6744897501960817
"""Median of |x| of a standard Gaussian.

It turns a median into a standard deviation that a minority of edges does not move.
"""

CLIP_SD = 2.5
CLIPPED_VARIANCE = 0.9112565
"""Variance of a standard Gaussian cut off at ± 2.5."""

NOISE_ERROR = 1.5
"""Standard error of ln(noise) times the square root of the lesion's number of voxels.

Found in simulated repeats of 1.6 to 8 ml.
"""

WHITE_GAIN = 6.0
"""Variance of the second difference [1, -2, 1] of white noise of unit variance."""


@dataclass(frozen=True)
class ImageVisit:
    """A lesion's crop at its scan's own voxels, in HU above `base_hu`.

    It is turned so that a mirrored scan gives the same arrays.
    """

    values: Volume
    coefficients: Volume
    mask: Mask
    spacing_mm: tuple[float, float, float]
    base_hu: float
    seed: int


@dataclass(frozen=True)
class Pose:
    """Position of a copy: rotation in degrees about each axis, and shift in mm."""

    rotation_deg: NDArray[np.float64]
    shift_mm: NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Noise at 1 mm.

    Its standard deviation, the blur in voxels that shapes it along z and in the plane, and the
    standard error of ln(sd).
    """

    sd_hu: float
    blur_z: float
    blur_plane: float
    error: float


@dataclass(frozen=True)
class Prepared:
    """A lesion ready to be compared.

    HU above the visit's `base_hu` at 1 mm, the voxels that count, and the volume of the whole
    outline.
    """

    volume: Volume
    mask: Mask
    volume_mm3: float

    @property
    def count(self) -> int:
        """Voxels that count."""
        return int(self.mask.sum())


def crop_visit(
    image: sitk.Image, mask: Mask, margin_mm: float = CROP_MARGIN_MM
) -> ImageVisit | None:
    """Crop the lesion with a margin and turn its axes into a standard direction.

    Each axis runs towards the side on which the lesion's densities reach further, so that mirrored
    scans, and scans stored from the other end, give identical arrays and identical copies.
    Densities are taken relative to the lesion's median (whole HU), so that a constant offset
    changes nothing either, and the seed of the copies is a digest of the result: it does not depend
    on which visit comes first. None where the mask is empty.
    """
    check_grid(image, mask, "the mask")
    box = bounding_box(mask)
    if box is None:
        return None
    spacing = spacing_zyx(image)
    outer = tuple(
        grow_box((part,) * 3, int(np.ceil(margin_mm / mm)), (n,) * 3)[0]
        for part, mm, n in zip(box, spacing, mask.shape, strict=True)
    )
    values = scan_part(image, outer).astype(np.float64)
    base = float(np.floor(np.median(values[mask[outer]])))
    values, inside = _turn(values - base, mask[outer])
    digest = hashlib.sha256(
        values.astype(np.float32).tobytes() + np.packbits(inside).tobytes()
    ).digest()
    coefficients = (
        spline_filter(values, SPLINE_ORDER, mode="mirror") if min(values.shape) > 1 else values
    )
    return ImageVisit(
        values, coefficients, inside, spacing, base, int.from_bytes(digest[:8], "big")
    )


def _turn(values: Volume, mask: Mask) -> tuple[Volume, Mask]:
    weights = np.where(mask, values - values[mask].min() + 1.0, 0.0)
    profiles = [weights.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    turned = tuple(axis for axis, profile in enumerate(profiles) if _leans_backwards(profile))
    return np.ascontiguousarray(np.flip(values, turned)), np.ascontiguousarray(
        np.flip(mask, turned)
    )


def _leans_backwards(profile: Volume) -> bool:
    """True where the reversed profile comes first in lexical order.

    The comparison is exact, and never true of both directions.
    """
    differs = np.flatnonzero(profile != profile[::-1])
    return bool(differs.size) and bool(profile[::-1][differs[0]] < profile[differs[0]])


def sample_visit(
    visit: ImageVisit,
    spacing_mm: float,
    pose: Pose | None = None,
    margin_mm: float = SAMPLE_MARGIN_MM,
    *,
    interpolator: str = "bspline",
) -> tuple[Volume, Volume]:
    """HU and mask share (linear, 0–1) on an isotropic grid centred on the lesion's box, in a pose.

    HU are interpolated by a cubic B-spline or linearly. Beyond the scan's end they are mirrored,
    and the mask is empty.
    """
    box = bounding_box(visit.mask)
    assert box is not None, "a visit's mask has voxels"
    reach = [
        (part.stop - part.start) * mm + 2 * margin_mm
        for part, mm in zip(box, visit.spacing_mm, strict=True)
    ]
    axes = [
        (np.arange(n) - (n - 1) / 2) * spacing_mm
        for n in (int(np.ceil(length / spacing_mm)) for length in reach)
    ]
    points = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])
    if pose is not None:
        points = rotation_matrix(pose.rotation_deg) @ points + pose.shift_mm[:, None]
    centre = np.array([[(part.start + part.stop - 1) / 2] for part in box])
    where = points / np.array(visit.spacing_mm)[:, None] + centre
    linear = interpolator == "linear"
    samples, order = (visit.values, 1) if linear else (visit.coefficients, SPLINE_ORDER)
    volume = map_coordinates(samples, where, order=order, mode="mirror", prefilter=False)
    share = map_coordinates(visit.mask.astype(np.float32), where, order=1, mode="constant")
    shape = [len(axis) for axis in axes]
    return volume.reshape(shape), share.reshape(shape)


def rotation_matrix(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation about the first axis, then the second, then the third."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        i, j = (k for k in range(3) if k != axis)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def prepare_visit(visit: ImageVisit, settings: Mapping[str, Any]) -> Prepared:
    """The lesion as outlined: sampled at 1 mm in whole HU, peeled and eroded."""
    volume, share = sample_visit(visit, settings.get("spacing_mm", 1.0))
    return peel_lesion(np.rint(volume), share >= 0.5 - 1e-9, settings)


def perturb_visit(
    visit: ImageVisit, copy: int, noise: Noise, contour_mm: float, settings: Mapping[str, Any]
) -> Prepared:
    """A perturbed copy of the lesion (`copy_visit`), peeled and eroded like any other.

    It is the lesion as it might have been scanned and outlined again on the same day.
    """
    return peel_lesion(*copy_visit(visit, copy, noise, contour_mm, settings), settings)


def copy_visit(
    visit: ImageVisit,
    copy: int,
    noise: Noise,
    contour_mm: float,
    settings: Mapping[str, Any],
    *,
    margin_mm: float = SAMPLE_MARGIN_MM,
    growth_share: float = 0.0,
    within_voxels: bool = False,
) -> tuple[Volume, Mask]:
    """HU and outline of a perturbed copy: the lesion scanned and outlined again on the same day.

    HU are those above the visit's `base_hu`.

    1. Moved by up to ± `shift_mm` and ± `rotation_deg` about each axis, sampled anew from the
       scan's own voxels.
    2. The scan's own noise is taken out where the tissue is even (`still_volume`) and as much new
       noise added: what copies have in common would otherwise be tissue and noise, and they would
       differ less than repeats do (by a fifth in simulated repeats).
    3. The outline moves by a smooth random error; two copies' outlines differ by `contour_mm`
       (RMS), as two readers' do. Of its variance `growth_share` is one error of the whole outline,
       grown or shrunk, and the rest lobes along the surface.
    """
    rng = np.random.default_rng([visit.seed, copy])
    pose = Pose(
        rng.uniform(-1, 1, 3) * settings["rotation_deg"],
        rng.uniform(-1, 1, 3) * settings["shift_mm"],
    )
    spacing = settings.get("spacing_mm", 1.0)
    interpolator = settings.get("interpolator", "bspline")
    volume, share = sample_visit(visit, spacing, pose, margin_mm, interpolator=interpolator)
    depth = depth_within_voxels(share) if within_voxels else depth_below_surface(share >= 0.5)
    lobes = smooth_field(rng, volume.shape, (READER_SCALE_MM / spacing,) * 3)
    noisy = still_volume(volume, noise) + noise_field(rng, volume.shape, noise)
    error = (
        (np.sqrt(1 - growth_share) * lobes + np.sqrt(growth_share) * rng.standard_normal())
        * contour_mm
        / np.sqrt(2)
        / spacing
    )
    return noisy, depth + np.clip(
        error, -LARGEST_ERROR_MM / spacing, LARGEST_ERROR_MM / spacing
    ) > 0


def peel_lesion(volume: Volume, mask: Mask, settings: Mapping[str, Any]) -> Prepared:
    """Take the partial-volume rim off a mask.

    1. The core is the deeper half of the mask, M its median HU: every limit is relative to M, none
       is absolute.
    2. Voxels no deeper than `peel_depth_mm` whose smoothed HU is below M − `peel_hu` are taken off
       where they connect to the edge; a cavity inside stays.
    3. One voxel is eroded.
    """
    spacing = settings.get("spacing_mm", 1.0)
    depth = distance_transform_edt(mask) * spacing
    median = np.median(volume[mask & (depth >= np.median(depth[mask]))]) if mask.any() else 0.0
    smooth = gaussian_filter(volume, settings["smoothing_mm"] / spacing)
    faint = mask & (depth <= settings["peel_depth_mm"]) & (smooth < median - settings["peel_hu"])
    rim = binary_propagation(binary_dilation(~mask) & faint, mask=faint)
    return Prepared(volume, binary_erosion(mask & ~rim), float(mask.sum()) * spacing**3)


def keep_deepest(prepared: Prepared, n: int) -> Prepared:
    """Only the n deepest voxels, so that both visits are compared at one size and depth.

    Equally deep voxels are ordered by their distance from the centroid, then by their HU: neither
    depends on the axes.
    """
    if prepared.count <= n:
        return prepared
    where = np.argwhere(prepared.mask)
    depth = distance_transform_edt(prepared.mask)[prepared.mask]
    off_centre = np.round(((where - where.mean(axis=0)) ** 2).sum(axis=1), 6)
    order = np.lexsort((prepared.volume[prepared.mask], off_centre, -np.round(depth, 6)))
    mask = np.zeros_like(prepared.mask)
    mask[tuple(where[order[:n]].T)] = True
    return replace(prepared, mask=mask)


def outline_distance_mm(image: sitk.Image, first: Mask, second: Mask) -> float | None:
    """RMS distance in mm between the surfaces of two readers' masks of one lesion.

    Distances are taken from each surface to the other. None where a mask is empty.
    """
    for mask in (first, second):
        check_grid(image, mask, "a reader's mask")
    boxes = [box for box in (bounding_box(first), bounding_box(second)) if box is not None]
    if len(boxes) < 2:
        return None
    part = grow_box(union_box(boxes), 1, first.shape)
    rims = [mask[part] & ~binary_erosion(mask[part]) for mask in (first, second)]
    away = [distance_transform_edt(~rim, sampling=spacing_zyx(image)) for rim in rims]
    distances = np.concatenate([away[1][rims[0]], away[0][rims[1]]])
    return float(np.sqrt(np.mean(distances**2)))


def estimate_noise(visits: list[Prepared]) -> list[Noise]:
    """Noise of each visit, from second differences inside the lesion.

    Structure is smooth, noise is not. Second differences along two axes at once, and along all
    three, hardly see structure wider than a voxel or two. For separable noise of variance s² whose
    second difference along an axis has variance g s²: b_yx = s² g_p², b_zp = s² g_p g_z, c = s²
    g_p² g_z, hence g_z = c / b_yx, g_p = c / b_zp and s² = b_yx / g_p². The gains are pooled over
    the visits, which share a kernel or are flagged; the edges of a cavity or necrosis, a minority
    of voxels, do not count.
    """
    energies = np.array([_difference_energies(v) for v in visits])
    if not np.all(energies > 0):
        return [Noise(0.0, 0.0, 0.0, 0.0) for _ in visits]
    plane, upright, all_axes = np.exp(np.log(energies).mean(axis=0))
    gain_z, gain_plane = (
        float(np.clip(gain, 0.05, WHITE_GAIN)) for gain in (all_axes / plane, all_axes / upright)
    )
    blurs = _blur_of(gain_z), _blur_of(gain_plane)
    return [
        Noise(
            min(float(np.sqrt(e[0])) / gain_plane, _spread(v)),
            *blurs,
            NOISE_ERROR / float(np.sqrt(v.count)),
        )
        for e, v in zip(energies, visits, strict=True)
    ]


def match_noise(prepared: Prepared, own: Noise, other: Noise, seed: int) -> Prepared:
    """Add noise to the quieter visit until both are equal; the noisier one is left as it is.

    The ratio of the two is shrunk by what its standard error would make of it, ln ratio times (1 −
    se² / ln² ratio)⁺: matching a difference that is only the estimate's own would make texture
    differ where nothing does.
    """
    if own.sd_hu <= 0 or other.sd_hu <= own.sd_hu:
        return prepared
    ratio = float(np.log(other.sd_hu / own.sd_hu))
    trusted = ratio * max(0.0, 1 - (own.error**2 + other.error**2) / ratio**2)
    missing = own.sd_hu * float(np.sqrt(np.expm1(2 * trusted)))
    added = noise_field(
        np.random.default_rng([seed, 0]), prepared.volume.shape, replace(other, sd_hu=missing)
    )
    return replace(prepared, volume=prepared.volume + added) if missing > 0 else prepared


def depth_below_surface(mask: Mask) -> Volume:
    """Distance of each voxel's centre from the mask's surface in voxels, negative outside.

    The surface lies between voxels.
    """
    return np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - distance_transform_edt(~mask))


def depth_within_voxels(share: Volume) -> Volume:
    """`depth_below_surface` of a mask's share, near the surface to a fraction of a voxel.

    A plane blurred by a Gaussian of sd σ has the share Φ(depth / σ); so depth = σ Φ⁻¹(blurred
    share), up to `NEAR` voxels from the surface, beyond it the distance between voxels. Distances
    between voxels alone are never within ± ½: an outline's error of less than half a voxel would
    hardly move it (copies at 0.5 mm differed by 0.26 mm instead of 0.40).
    """
    from scipy.special import ndtri

    far = depth_below_surface(share >= 0.5)
    blurred = gaussian_filter(share.astype(np.float64), SURFACE_BLUR)
    near = float(np.hypot(SURFACE_BLUR, LINEAR_BLUR)) * ndtri(np.clip(blurred, 1e-6, 1 - 1e-6))
    return np.where(np.abs(far) <= NEAR, near, far)


def still_volume(volume: Volume, noise: Noise) -> Volume:
    """The volume with less noise, by Lee's local filter.

    The filter is m + (v − s²)⁺ / max(v, s²) (x − m) with the local mean m and variance v.
    """
    if noise.sd_hu == 0:
        return volume
    mean = uniform_filter(volume, STILL_WINDOW)
    variance = uniform_filter(volume**2, STILL_WINDOW) - mean**2
    power = noise.sd_hu**2
    return mean + np.clip(variance - power, 0, None) / np.maximum(variance, power) * (volume - mean)


def noise_field(rng: np.random.Generator, shape: tuple[int, ...], noise: Noise) -> Volume:
    """A field of that noise."""
    return (
        smooth_field(rng, shape, (noise.blur_z, noise.blur_plane, noise.blur_plane)) * noise.sd_hu
    )


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, ...], blur: tuple[float, ...]
) -> Volume:
    """A Gaussian random field of zero mean and unit variance."""
    field = gaussian_filter(rng.standard_normal(shape), blur, mode="wrap")
    return (field - field.mean()) / field.std()


def _difference_energies(prepared: Prepared) -> tuple[float, float, float]:
    """b_yx, b_zp and c of `estimate_noise`.

    The mask is eroded already, so that a voxel's neighbours are lesion.
    """
    interior = prepared.mask
    along = {axis: convolve1d(prepared.volume, [1.0, -2.0, 1.0], axis) for axis in (1, 2)}
    plane = convolve1d(along[1], [1.0, -2.0, 1.0], 2)
    upright = np.stack([convolve1d(d, [1.0, -2.0, 1.0], 0)[interior] for d in along.values()])
    all_axes = convolve1d(plane, [1.0, -2.0, 1.0], 0)
    return _energy(plane[interior]), _energy(upright), _energy(all_axes[interior])


def _spread(prepared: Prepared) -> float:
    """Standard deviation of the lesion: its noise cannot be more."""
    return float(prepared.volume[prepared.mask].std())


def _energy(differences: NDArray[np.float64]) -> float:
    """Variance of the differences without the outliers that edges make.

    Only what lies within `CLIP_SD` of a first, robust estimate counts.
    """
    sizes = np.abs(differences)
    kept = sizes[sizes <= CLIP_SD * np.median(sizes) / GAUSSIAN_MAD] if sizes.size else sizes
    return float(np.mean(kept**2) / CLIPPED_VARIANCE) if kept.size else 0.0


def _blur_of(gain: float) -> float:
    """Blur in voxels that gives white noise this second-difference gain.

    The blur is that of a Gaussian at whole voxels, the gain 6 − 8 r₁ + 2 r₂.
    """
    blurs = np.linspace(0.05, 2.0, 400)
    kernels = np.exp(-(np.arange(-9, 10) ** 2) / (2 * blurs[:, None] ** 2))
    power = (kernels**2).sum(axis=1)
    near, far = ((kernels[:, h:] * kernels[:, :-h]).sum(axis=1) / power for h in (1, 2))
    return float(np.interp(-gain, -(WHITE_GAIN - 8 * near + 2 * far), blurs))
