"""Morphology as IBSI 1 defines it, by IBSI's own tags.

Mesh, principal axes, what a mesh fills of boxes and ellipsoids, and intensities in space.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.polynomial.legendre import Legendre
from numpy.typing import NDArray
from scipy.fft import irfftn, next_fast_len, rfftn
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from dagster_project.radiomics.resampling import Mask, Spacing, bounding_box

Places = NDArray[np.float64]
Features = dict[str, float]

SERIES = 20
"""Terms of the series for the area of an ellipsoid."""


def morphology(
    volume: NDArray[np.float32], outlined: Mask, inside: Mask, spacing_mm: Spacing
) -> Features:
    """The features of morphology that have a reference value (tags morph_…).

    Parameters
    ----------
    volume
        HU (z, y, x).
    outlined, inside
        The outline, and its voxels within the range of intensities.
    spacing_mm
        Of the volume.
    """
    from radiomics import cShape

    outlined, inside, volume = _cut(outlined, inside, volume)
    area, mesh, _ = cShape.calculate_coefficients(np.pad(outlined, 1), np.array(spacing_mm))
    vertices = _vertices(outlined, spacing_mm)
    hull = ConvexHull(vertices)
    count, cube = int(outlined.sum()), math.prod(spacing_mm)
    return {
        "morph_volume": mesh,
        "morph_vol_approx": count * cube,
        **_compactness(mesh, area),
        "morph_diam": float(pdist(vertices[hull.vertices]).max()),
        **_axes(outlined, spacing_mm, mesh, area),
        **_boxes(vertices, mesh, area),
        "morph_vol_dens_conv_hull": mesh / hull.volume,
        "morph_area_dens_conv_hull": area / hull.area,
        "morph_integ_int": float(volume[inside].mean(dtype=np.float64)) * mesh,
        "morph_com": _shift_of_centre(volume, outlined, inside, spacing_mm),
        **_autocorrelation(volume, inside, spacing_mm),
    }


def _cut(
    outlined: Mask, inside: Mask, volume: NDArray[np.float32]
) -> tuple[Mask, Mask, NDArray[np.float32]]:
    box = bounding_box(outlined)
    assert box is not None, "the outline has voxels"
    return np.ascontiguousarray(outlined[box]), inside[box], volume[box]


def _vertices(outlined: Mask, spacing_mm: Spacing) -> Places:
    """Vertices of the mesh: half-way between a voxel of the outline and one beside it."""
    padded, found = np.pad(outlined, 1), []
    for axis in range(3):
        places = np.argwhere(np.diff(padded, axis=axis)).astype(np.float64)
        places[:, axis] += 0.5
        found.append(places)
    vertices: Places = np.concatenate(found) * np.array(spacing_mm)
    return vertices


def _compactness(v: float, a: float) -> Features:
    ratio = 36 * math.pi * v**2
    return {
        "morph_area_mesh": a,
        "morph_av": a / v,
        "morph_comp_1": v / (math.sqrt(math.pi) * a**1.5),
        "morph_comp_2": ratio / a**3,
        "morph_sph_dispr": a / ratio ** (1 / 3),
        "morph_sphericity": ratio ** (1 / 3) / a,
        "morph_asphericity": (a**3 / ratio) ** (1 / 3) - 1,
    }


def _axes(outlined: Mask, spacing_mm: Spacing, v: float, a: float) -> Features:
    """Principal axes of the voxels' centres, and what the mesh fills of their ellipsoid.

    The scatter is over N - 1.
    """
    places = np.argwhere(outlined) * np.array(spacing_mm)
    least, minor, major = np.sqrt(np.clip(np.linalg.eigvalsh(np.cov(places.T)), 0, None))
    semi = 2 * np.array([major, minor, least])
    return {
        "morph_pca_maj_axis": 4 * major,
        "morph_pca_min_axis": 4 * minor,
        "morph_pca_least_axis": 4 * least,
        "morph_pca_elongation": minor / major,
        "morph_pca_flatness": least / major,
        "morph_vol_dens_aee": v / (4 / 3 * math.pi * semi.prod()),
        "morph_area_dens_aee": a / _ellipsoid_area(*semi),
    }


def _ellipsoid_area(a: float, b: float, c: float) -> float:
    """Area of an ellipsoid with semi-axes a >= b >= c, by a series of Legendre polynomials."""
    one, other = math.sqrt(1 - (b / a) ** 2), math.sqrt(1 - (c / a) ** 2)
    if not one or not other:
        one = other = max(one, other, 1e-12)
    at = (one**2 + other**2) / (2 * one * other)
    terms = [
        (one * other) ** n / (1 - 4 * n**2) * float(Legendre.basis(n)(at))
        for n in range(SERIES + 1)
    ]
    return 4 * math.pi * a * b * sum(terms)


def _boxes(vertices: Places, v: float, a: float) -> Features:
    x, y, z = np.ptp(vertices, axis=0)
    return {
        "morph_vol_dens_aabb": v / (x * y * z),
        "morph_area_dens_aabb": a / (2 * (x * y + y * z + x * z)),
    }


def _shift_of_centre(
    volume: NDArray[np.float32], outlined: Mask, inside: Mask, spacing_mm: Spacing
) -> float:
    """Distance of the outline's centre from the centre of the intensities."""
    spacing, weights = np.array(spacing_mm), volume[inside].astype(np.float64)
    centre = (np.argwhere(outlined) * spacing).mean(axis=0)
    weighted = (np.argwhere(inside) * spacing * weights[:, None]).sum(axis=0) / weights.sum()
    return float(np.linalg.norm(centre - weighted))


def _autocorrelation(volume: NDArray[np.float32], inside: Mask, spacing_mm: Spacing) -> Features:
    """Moran's I and Geary's C over all pairs of voxels, weighted by their inverse distance.

    Sums over pairs are computed by Fourier transform.
    """
    values = volume[inside].astype(np.float64)
    mean, n = values.mean(), values.size
    apart = np.where(inside, volume - mean, 0.0)
    weights = _inverse_distances(inside.shape, spacing_mm)
    shape = [next_fast_len(2 * k) for k in inside.shape]
    transformed = rfftn(weights, shape)

    def neighbours(field: NDArray[np.float64]) -> NDArray[np.float64]:
        whole = irfftn(rfftn(field, shape) * transformed, shape)
        return whole[tuple(slice(k - 1, 2 * k - 1) for k in inside.shape)]

    total = neighbours(inside.astype(np.float64))[inside]
    products = (apart * neighbours(apart))[inside].sum()
    variance = ((values - mean) ** 2).sum()
    squares = 2 * (((values - mean) ** 2) * total).sum() - 2 * products
    with np.errstate(
        invalid="ignore", divide="ignore"
    ):  # not defined where all voxels have one value
        moran, geary = (
            n / total.sum() * products / variance,
            (n - 1) / (2 * total.sum()) * squares / variance,
        )
    return {"morph_moran_i": float(moran), "morph_geary_c": float(geary)}


def _inverse_distances(shape: tuple[int, ...], spacing_mm: Spacing) -> NDArray[np.float64]:
    """1 / distance by offset, from -(n - 1) to n - 1 along each axis; 0 at the middle."""
    z, y, x = (np.arange(-(n - 1), n) * mm for n, mm in zip(shape, spacing_mm, strict=True))
    distance = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    return np.divide(1.0, distance, out=np.zeros_like(distance), where=distance > 0)
