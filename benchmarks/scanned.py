"""Phantoms as a CT scanner shows them.

They are projected with noise and beam hardening, and reconstructed, so that metal has its streaks.

What lies in and about a patient is drawn as it is, sharp and of one value; what comes out has the
blur, the noise and the artefacts of a scan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Image = npt.NDArray[np.float64]

SIDE, VIEWS = 192, 400
PIXEL_MM = 2.1
WATER_PER_MM = 0.02
PHOTONS = 2e5
"""At the detector without a patient: little, so that shoulders and metal starve it."""

APERTURE = (0.125, 0.75, 0.125)
"""Width of focal spot and detector elements, in pixels of the image."""

HARDENING = 0.006
"""Loss of attenuation by its square: cupping, and dark bands between metals."""

METAL, BONE, TISSUE, LUNG, AIR = 8000.0, 700.0, 45.0, -860.0, -1000.0


def scan(
    draw: Callable[[Image, Image, Image], None],
    seed: int = 0,
    *,
    side: int = SIDE,
    sharp: bool = True,
) -> npt.NDArray[np.int16]:
    """HU of a chest with what `draw` adds to it, shape (side, side).

    1. The chest and the additions, as HU on axes x and y from -1 to 1.
    2. Line integrals of their attenuation, hardened; photons counted (Poisson), at least one.
    3. Filtered back-projection (a ramp, rolled off where the kernel is not sharp), in HU from -1024
       to 3071.
    """
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    hu = _chest(x, y)
    draw(hu, x, y)
    random = np.random.default_rng(seed)
    angles = np.arange(VIEWS) * 180 / VIEWS
    lines = np.stack(
        [ndimage.rotate(hu + 1000, angle, reshape=False, order=1).sum(axis=0) for angle in angles]
    )
    lines = ndimage.convolve1d(lines, APERTURE, axis=1)
    lines *= WATER_PER_MM / 1000 * PIXEL_MM * SIDE / side
    counts = np.maximum(
        random.poisson(PHOTONS * np.exp(-np.maximum(lines - HARDENING * lines**2, 0))), 1
    )
    return _reconstruct(-np.log(counts / PHOTONS), angles, side, sharp=sharp)


def _reconstruct(lines: Image, angles: Image, side: int, *, sharp: bool) -> npt.NDArray[np.int16]:
    frequency = np.fft.fftfreq(2 * side)
    ramp = 2 * abs(frequency) * (1 if sharp else np.cos(np.pi * frequency) ** 2)
    filtered = np.fft.ifft(np.fft.fft(lines, 2 * side, axis=1) * ramp, axis=1).real[:, :side]
    image = np.zeros((side, side))
    for line, angle in zip(filtered, angles, strict=True):
        image += ndimage.rotate(np.tile(line, (side, 1)), -angle, reshape=False, order=1)
    per_mm = image * np.pi / (2 * VIEWS) / (PIXEL_MM * SIDE / side)
    return np.rint(per_mm / WATER_PER_MM * 1000 - 1000).clip(-1024, 3071).astype(np.int16)


def _chest(x: Image, y: Image) -> Image:
    hu = np.where((x / 0.72) ** 2 + (y / 0.52) ** 2 < 1, TISSUE, AIR)
    hu[((abs(x) - 0.33) / 0.22) ** 2 + (y / 0.34) ** 2 < 1] = LUNG
    random = np.random.default_rng(5)
    for _ in range(40):
        at = random.uniform(-0.5, 0.5, 2)
        disc(hu, x, y, at[0], at[1] * 0.6, random.uniform(0.008, 0.02), TISSUE)
    disc(hu, x, y, 0, 0.33, 0.09, BONE)
    return hu


def disc(hu: Image, x: Image, y: Image, x0: float, y0: float, radius: float, value: float) -> None:
    """A rod, wire or tube cut across."""
    hu[np.hypot(x - x0, y - y0) < radius] = value


def _hips(hu: Image, x: Image, y: Image) -> None:
    for side in (-0.4, 0.4):
        disc(hu, x, y, side, 0, 0.07, METAL)


def _screws(hu: Image, x: Image, y: Image) -> None:
    for side in (-1, 1):
        hu[(abs(x - side * (0.06 + 0.4 * (0.3 - y))) < 0.012) & (y > 0.05) & (y < 0.36)] = METAL
        disc(hu, x, y, side * 0.09, 0.4, 0.02, METAL)


def _teeth(hu: Image, x: Image, y: Image) -> None:
    for angle in np.linspace(0.3, np.pi - 0.3, 12):
        disc(
            hu,
            x,
            y,
            0.3 * np.cos(angle),
            0.1 - 0.25 * np.sin(angle),
            0.022,
            METAL if angle < 1.6 else 2000,
        )


def _wires(hu: Image, x: Image, y: Image) -> None:
    for x0 in (-0.03, 0.0, 0.03):
        disc(hu, x, y, x0, -0.45, 0.006, METAL)
    hu[abs(np.hypot(x - 0.1, y + 0.1) - 0.12) < 0.004] = METAL


def _clips(hu: Image, x: Image, y: Image) -> None:
    for x0, y0 in ((0.1, 0.0), (0.14, -0.06), (0.2, 0.02), (0.26, 0.07), (0.3, -0.08)):
        hu[(abs(x - x0) < 0.006) & (abs(y - y0) < 0.015)] = METAL


def _seeds(hu: Image, x: Image, y: Image) -> None:
    random = np.random.default_rng(9)
    for _ in range(14):
        at = random.uniform(-0.09, 0.09, 2)
        disc(hu, x, y, 0.3 + at[0], 0.05 + at[1], 0.004, METAL)


def _leads(hu: Image, x: Image, y: Image) -> None:
    for n in range(6):
        disc(hu, x, y, -0.3 + 0.12 * n, -0.55 - 0.02 * (n % 2), 0.008, METAL if n % 2 else 1500)
        hu[(abs(y + 0.6 + 0.05 * np.sin(6 * x + n)) < 0.004) & (x > -0.5 + 0.1 * n)] = 600


def _tubes(hu: Image, x: Image, y: Image) -> None:
    for n in range(5):
        disc(hu, x, y, -0.2 + 0.1 * n, -0.6, 0.03, 120)
        disc(hu, x, y, -0.2 + 0.1 * n, -0.6, 0.018, AIR if n % 2 else 2800)


def _table(hu: Image, x: Image, y: Image) -> None:
    for depth in (0.60, 0.64):
        hu[abs(y - depth - 0.08 * x**2) < 0.006] = 100
    for n in range(-12, 13):
        hu[(abs(x - 0.06 * n) < 0.005) & (y > 0.6 + 0.08 * x**2) & (y < 0.64 + 0.08 * x**2)] = 100


def _rods(hu: Image, x: Image, y: Image) -> None:
    for n in range(6):
        disc(hu, x, y, -0.3 + 0.12 * n, 0.58, 0.035, 60)
        disc(hu, x, y, -0.3 + 0.12 * n, 0.58, 0.022, 100 + 150 * n)


def _arms(hu: Image, x: Image, y: Image) -> None:
    for side in (-0.85, 0.85):
        disc(hu, x, y, side, 0, 0.12, TISSUE)
        disc(hu, x, y, side, 0, 0.05, 1200)
    disc(hu, x, y, 0, -0.2, 0.03, 3000)


def _folds(hu: Image, x: Image, y: Image) -> None:
    for n in range(7):
        hu[
            (abs(y + 0.62 + 0.03 * n + 0.02 * np.sin(25 * x + 2 * n)) < 0.004) & (abs(x) < 0.6)
        ] = -600


def _zip(hu: Image, x: Image, y: Image) -> None:
    for n in range(24):
        hu[(abs(x - 0.2 - 0.014 * n) < 0.003) & (abs(y + 0.56 + 0.008 * (n % 2)) < 0.012)] = 3000


PHANTOMS: Mapping[str, Callable[[Image, Image, Image], None]] = {
    "two hip joints": _hips,
    "pedicle screws": _screws,
    "teeth with fillings": _teeth,
    "wires of the sternum, lead": _wires,
    "surgical clips": _clips,
    "seeds": _seeds,
    "ECG leads and cables": _leads,
    "infusion tubes": _tubes,
    "table with a lattice": _table,
    "calibration rods": _rods,
    "arms down, contrast agent": _arms,
    "blanket in folds": _folds,
    "zip": _zip,
}
"""What lies in or about a patient.

Line pairs of a test object, which may be taken for text, are not among them.
"""
