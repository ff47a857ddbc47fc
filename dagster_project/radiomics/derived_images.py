"""The 14 images that features are computed on.

Each is made once per lesion and scan and shared by all regions and readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dagster_project.radiomics.resampling import Array, Box, along_axes, grow_box

WAVELET_MARGIN = 8
"""Voxels around the regions that a one-level coif1 transform needs: its filters have 6 taps."""

LOG_SMALLEST_AXIS = 4
"""ITK's recursive Gaussian needs as many voxels along each axis."""


def derived_image_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the images, as PyRadiomics names them and in its order.

    >>> derived_image_names({"log_sigma_mm": [1.0], "wavelet": "coif1"})[:3]
    ('original', 'log-sigma-1-0-mm-3D', 'wavelet-LLH')
    """
    bands = (
        [f"wavelet-{band}" for band in ("LLH", "LHL", "LHH", "HLL", "HLH", "HHL", "HHH", "LLL")]
        if settings["wavelet"]
        else []
    )
    return ("original", *(log_name(sigma) for sigma in settings["log_sigma_mm"]), *bands)


def log_name(sigma_mm: float) -> str:
    """PyRadiomics' name of the Laplacian of Gaussian at a sigma."""
    return f"log-sigma-{str(float(sigma_mm)).replace('.', '-')}-mm-3D"


def derive_images(
    volume: Array, box: Box, settings: Mapping[str, Any]
) -> Iterator[tuple[str, Array]]:
    """Yield each image's name and its part inside `box`.

    `volume` is the resampled crop with all its padding; `box` holds every region. A Laplacian of
    Gaussian for which the volume is too small is left out: its features are then NULL with that
    reason.
    """
    from dagster_project.radiomics.kernels.laplacian import laplacian_of_gaussian

    spacing = along_axes(settings["spacing_mm"])
    yield "original", volume[box]
    for sigma in settings["log_sigma_mm"]:
        needed = (max(LOG_SMALLEST_AXIS, int(np.ceil(sigma / mm)) + 1) for mm in spacing)
        if all(n >= least for n, least in zip(volume.shape, needed, strict=True)):
            yield log_name(sigma), laplacian_of_gaussian(volume, box, sigma, spacing)
    if settings["wavelet"]:
        yield from _wavelet_bands(volume, box, settings["wavelet"])


def _wavelet_bands(volume: Array, box: Box, wavelet: str) -> Iterator[tuple[str, Array]]:
    """One level of the stationary wavelet transform, on no more of the volume than it needs.

    In float32, as PyRadiomics leaves it.
    """
    import pywt

    outer = _wavelet_box(volume, box)
    part = volume[outer]
    even = np.pad(part, [(0, n % 2) for n in part.shape], "wrap")
    bands = pywt.swtn(even, pywt.Wavelet(wavelet), level=1, start_level=0, axes=(2, 1, 0))[0]
    inner = tuple(
        slice(s.start - o.start, s.stop - o.start) for s, o in zip(box, outer, strict=True)
    )
    for name in ("aad", "ada", "add", "daa", "dad", "dda", "ddd", "aaa"):
        yield f"wavelet-{name.replace('a', 'L').replace('d', 'H')}", bands[name][inner]


def _wavelet_box(volume: Array, box: Box) -> Box:
    """The regions' box with the wavelet's margin.

    A whole axis where the margin would be cut, since the transform wraps there.
    """
    grown = grow_box(box, WAVELET_MARGIN, volume.shape)
    z, y, x = (
        slice(0, n) if s.start - WAVELET_MARGIN < 0 or s.stop + WAVELET_MARGIN > n else g
        for s, g, n in zip(box, grown, volume.shape, strict=True)
    )
    return z, y, x
