"""ITK's recursive Laplacian of Gaussian to the last bit, on no more lines than reach the regions.

ITK filters the whole crop nine times for each sigma: along each axis a second derivative, then two
smoothings. A line of the last pass matters only where it crosses the regions' box, and so on
backwards, so that about half of the work is left. Each line is kept whole, since a recursive filter
sees all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, sin

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel
from dagster_project.radiomics.resampling import Array, Box, Spacing, along_axes

Lanes = NDArray[np.float64]
"""One voxel of each line that is filtered side by side, or four coefficients."""

LANES = 32
"""Lines filtered side by side.

The recursion makes each voxel wait for the last; other lines fill the time.
"""

SMALLEST_AXIS = 4
"""The recursion of order four starts with as many voxels."""

FREQUENCIES = (0.6681, -1.3932, 2.0787, -1.3732)
"""Two damped oscillations that approximate a Gaussian: frequency and decay of each.

They are those of Farnebäck and Westin.
"""

SMOOTHING = (1.3530, 1.8151, -0.3531, 0.0902)
SECOND_DERIVATIVE = (-1.3563, 5.2318, 0.3446, -2.2355)
"""Amplitudes (cosine, sine) of the two oscillations."""


@dataclass(frozen=True)
class Recursion:
    """Coefficients of one pass.

    Forwards `n`, backwards `m`, recursive `d`, and at either end `bn` and `bm`, where the line goes
    on.
    """

    n: NDArray[np.float64]
    m: NDArray[np.float64]
    d: NDArray[np.float64]

    @property
    def table(self) -> NDArray[np.float64]:
        """Rows n, m, d, bn, bm."""
        n, m, d = ([float(v) for v in row] for row in (self.n, self.m, self.d))
        sum_n, sum_m, sum_d = (
            n[0] + n[1] + n[2] + n[3],
            m[0] + m[1] + m[2] + m[3],
            1.0 + d[0] + d[1] + d[2] + d[3],
        )
        return np.array([n, m, d, [v * sum_n / sum_d for v in d], [v * sum_m / sum_d for v in d]])


def laplacian_of_gaussian(
    volume: Array, box: Box, sigma_mm: float, spacing_mm: float | Spacing,
) -> Array:  # fmt: skip
    """The Laplacian of Gaussian of a float32 volume (z, y, x), normalised across scales, in `box`.

    The same bits as ITK's LaplacianRecursiveGaussianImageFilter on the whole volume: the axes in
    the order x, y, z; double precision within a line, float32 between passes and in the sum.

    Raises
    ------
    ValueError
        An axis has fewer than four voxels.
    """
    if min(volume.shape) < SMALLEST_AXIS:
        raise ValueError(
            f"a recursive Gaussian needs {SMALLEST_AXIS} voxels along each axis: {volume.shape}"
        )
    spacing = along_axes(spacing_mm)
    smooth = {mm: smoothing(sigma_mm, mm).table for mm in set(spacing)}
    derive = {mm: second_derivative(sigma_mm, mm).table for mm in set(spacing)}
    total = np.zeros(tuple(s.stop - s.start for s in box), dtype=np.float32)
    for axis in (2, 1, 0):
        part = _pass(volume, axis, box, derive[spacing[axis]])
        for other in (a for a in (2, 1, 0) if a != axis):
            part = _pass(part, other, box, smooth[spacing[other]])
        weight = 1.0 / np.float64(spacing[axis] * spacing[axis])
        total = (total + part * weight).astype(np.float32)
    return total


def smoothing(sigma_mm: float, spacing_mm: float) -> Recursion:
    """Coefficients of convolution with a Gaussian of sum one."""
    sigma = sigma_mm / spacing_mm
    d, sum_d, _, _ = _denominator(sigma)
    n, sum_n, _, _ = _numerator(sigma, SMOOTHING)
    return _symmetric(n, d, 1.0 / (2 * sum_n / sum_d - n[0]))


def second_derivative(sigma_mm: float, spacing_mm: float) -> Recursion:
    """Coefficients of convolution with sigma² times a Gaussian's second derivative.

    They give nothing from a constant, and two from x².
    """
    sigma = sigma_mm / spacing_mm
    d, sum_d, first_d, second_d = _denominator(sigma)
    smooth, derived = _numerator(sigma, SMOOTHING), _numerator(sigma, SECOND_DERIVATIVE)
    beta = -(2 * derived[1] - sum_d * derived[0][0]) / (2 * smooth[1] - sum_d * smooth[0][0])
    n = [a + beta * b for a, b in zip(derived[0], smooth[0], strict=True)]
    sum_n, first_n, second_n = (a + beta * b for a, b in zip(derived[1:], smooth[1:], strict=True))
    alpha = (
        second_n * sum_d * sum_d
        - second_d * sum_n * sum_d
        - 2 * first_n * first_d * sum_d
        + 2 * first_d * first_d * sum_n
    )
    alpha /= sum_d * sum_d * sum_d
    return _symmetric(n, d, sigma_mm * sigma_mm / alpha)


def _denominator(sigma: float) -> tuple[list[float], float, float, float]:
    """The recursive coefficients, and the moments 0–2 of their sequence."""
    w1, l1, w2, l2 = FREQUENCIES
    cos1, cos2, exp1, exp2 = cos(w1 / sigma), cos(w2 / sigma), exp(l1 / sigma), exp(l2 / sigma)
    d4 = exp1 * exp1 * exp2 * exp2
    d3 = -2 * cos1 * exp1 * exp2 * exp2
    d3 += -2 * cos2 * exp2 * exp1 * exp1
    d2 = 4 * cos2 * cos1 * exp1 * exp2
    d2 += exp1 * exp1 + exp2 * exp2
    d1 = -2 * (exp2 * cos2 + exp1 * cos1)
    return (
        [d1, d2, d3, d4],
        1.0 + d1 + d2 + d3 + d4,
        d1 + 2 * d2 + 3 * d3 + 4 * d4,
        d1 + 4 * d2 + 9 * d3 + 16 * d4,
    )


def _numerator(
    sigma: float, amplitudes: tuple[float, float, float, float]
) -> tuple[list[float], float, float, float]:
    """The forward coefficients, and the moments 0–2 of their sequence."""
    w1, l1, w2, l2 = FREQUENCIES
    a1, b1, a2, b2 = amplitudes
    sin1, sin2, cos1, cos2 = sin(w1 / sigma), sin(w2 / sigma), cos(w1 / sigma), cos(w2 / sigma)
    exp1, exp2 = exp(l1 / sigma), exp(l2 / sigma)
    n0 = a1 + a2
    n1 = exp2 * (b2 * sin2 - (a2 + 2 * a1) * cos2)
    n1 += exp1 * (b1 * sin1 - (a1 + 2 * a2) * cos1)
    n2 = (a1 + a2) * cos2 * cos1
    n2 -= b1 * cos2 * sin1 + b2 * cos1 * sin2
    n2 *= 2 * exp1 * exp2
    n2 += a2 * exp1 * exp1 + a1 * exp2 * exp2
    n3 = exp2 * exp1 * exp1 * (b2 * sin2 - a2 * cos2)
    n3 += exp1 * exp2 * exp2 * (b1 * sin1 - a1 * cos1)
    return [n0, n1, n2, n3], n0 + n1 + n2 + n3, n1 + 2 * n2 + 3 * n3, n1 + 4 * n2 + 9 * n3


def _symmetric(n: list[float], d: list[float], scale: float) -> Recursion:
    n = [v * scale for v in n]
    m = [n[1] - d[0] * n[0], n[2] - d[1] * n[0], n[3] - d[2] * n[0], -d[3] * n[0]]
    return Recursion(np.array(n), np.array(m), np.array(d))


def _pass(values: Array, axis: int, box: Box, coefficients: NDArray[np.float64]) -> Array:
    """Filter all lines along an axis and keep their part inside the box."""
    shape = list(values.shape)
    shape[axis] = box[axis].stop - box[axis].start
    kept = np.empty(tuple(shape), dtype=np.float32)
    _filter_lines(
        np.moveaxis(values, axis, 0), np.moveaxis(kept, axis, 0), box[axis].start, coefficients
    )
    return kept


@kernel
def _load_lines(values: Array, line: NDArray[np.float64]) -> None:
    """Lines in double precision with four voxels more on each side.

    The first and the last voxel go on beyond their ends.
    """
    length, count = values.shape
    for i in range(length):
        for k in range(count):
            line[i + 4, k] = values[i, k]
    for i in range(4):
        for k in range(count):
            line[i, k] = line[4, k]
            line[length + 4 + i, k] = line[length + 3, k]


@kernel
def _step(
    a: Lanes,
    b: Lanes,
    c: Lanes,
    d: Lanes,
    forward: Lanes,
    p: Lanes,
    q: Lanes,
    r: Lanes,
    s: Lanes,
    recursive: Lanes,
    out: Lanes,
) -> None:
    """One voxel of all lanes, in the order in which ITK multiplies and adds."""
    f0, f1, f2, f3 = forward[0], forward[1], forward[2], forward[3]
    r0, r1, r2, r3 = recursive[0], recursive[1], recursive[2], recursive[3]
    for k in range(LANES):
        out[k] = (a[k] * f0 + b[k] * f1 + c[k] * f2 + d[k] * f3) - (
            p[k] * r0 + q[k] * r1 + r[k] * r2 + s[k] * r3
        )


@kernel
def _start_step(
    a: Lanes, b: Lanes, c: Lanes, d: Lanes, forward: Lanes, p: Lanes, q: Lanes, r: Lanes,
    end: Lanes, recursive: Lanes, border: Lanes, known: int, out: Lanes,
) -> None:  # fmt: skip
    """One of the first four voxels.

    Where the recursion reaches beyond the end, the end's value takes the border's coefficient.
    """
    for k in range(LANES):
        value = a[k] * forward[0] + b[k] * forward[1] + c[k] * forward[2] + d[k] * forward[3]
        term = p[k] * recursive[0] if known > 0 else end[k] * border[0]
        term += q[k] * recursive[1] if known > 1 else end[k] * border[1]
        term += r[k] * recursive[2] if known > 2 else end[k] * border[2]
        out[k] = value - (term + end[k] * border[3])


@kernel
def _filter_lines(values: Array, kept: Array, first: int, c: NDArray[np.float64]) -> None:
    """Filter all lines along the first axis, `LANES` side by side.

    The result from voxel `first` on goes to `kept`.
    """
    length, rows, columns = values.shape
    line, ahead, back = (
        np.zeros((length + 8, LANES)),
        np.zeros((length + 8, LANES)),
        np.zeros((length + 8, LANES)),
    )
    for row in range(rows):
        for start in range(0, columns, LANES):
            count = min(LANES, columns - start)
            _load_lines(values[:, row, start : start + count], line)
            for i in range(first + kept.shape[0]):
                if i < 4:
                    _start_step(
                        line[i + 4], line[i + 3], line[i + 2], line[i + 1], c[0],
                        ahead[i - 1], ahead[i - 2], ahead[i - 3], line[4], c[2], c[3], i, ahead[i],
                    )  # fmt: skip
                else:
                    _step(
                        line[i + 4], line[i + 3], line[i + 2], line[i + 1], c[0],
                        ahead[i - 1], ahead[i - 2], ahead[i - 3], ahead[i - 4], c[2], ahead[i],
                    )  # fmt: skip
            for i in range(length - 1, first - 1, -1):
                if i > length - 5:
                    _start_step(
                        line[i + 5], line[i + 6], line[i + 7], line[min(i + 8, length + 7)], c[1],
                        back[i + 1], back[i + 2], back[i + 3], line[length + 3], c[2], c[4],
                        length - 1 - i, back[i],
                    )  # fmt: skip
                else:
                    _step(
                        line[i + 5], line[i + 6], line[i + 7], line[i + 8], c[1],
                        back[i + 1], back[i + 2], back[i + 3], back[i + 4], c[2], back[i],
                    )  # fmt: skip
            for i in range(kept.shape[0]):
                for k in range(count):
                    kept[i, row, start + k] = np.float32(ahead[i + first, k] + back[i + first, k])
