"""Gray level co-occurrence matrix: pairs are counted once per angle.

The features come from one pass over each matrix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel
from dagster_project.radiomics.kernels.discretise import Levels
from dagster_project.radiomics.kernels.mcc import second_eigenvalues

FEATURES = (
    "Autocorrelation", "JointAverage", "ClusterProminence", "ClusterShade", "ClusterTendency",
    "Contrast", "Correlation", "DifferenceAverage", "DifferenceEntropy", "DifferenceVariance",
    "JointEnergy", "JointEntropy", "Imc1", "Imc2", "Idm", "Idmn", "Id", "Idn", "InverseVariance",
    "MaximumProbability", "SumAverage", "SumEntropy", "SumSquares",
)  # fmt: skip
IMC2_GAP = len(FEATURES)
"""Column of the difference of the two entropies that Imc2 is made of."""
EPS = np.spacing(1)


def glcm_features(levels: Levels) -> tuple[dict[str, float], float] | None:
    """PyRadiomics' GLCM features, symmetric, averaged over the angles.

    Only angles in which any two voxels are neighbours count. Also the smallest difference of
    entropies that Imc2 depends on in any angle. None where no two voxels are neighbours.
    """
    pairs = _count_pairs(levels.grid, levels.voxels, levels.offsets, len(levels.gray))
    matrices, used = _normalise(pairs)
    if not used.any():
        return None
    matrices = matrices if used.all() else matrices[used]
    values = _all_angles(matrices, levels.gray)
    found = dict(zip(FEATURES, values[:, :IMC2_GAP].mean(axis=0).tolist(), strict=True))
    return {**found, "MCC": _mcc(matrices)}, float(np.abs(values[:, IMC2_GAP]).min())


def _mcc(matrices: NDArray[np.float64]) -> float:
    """Mean over the angles of the maximal correlation coefficient.

    An angle whose eigenvalue is negative by rounding is left out.
    """
    if matrices.shape[1] < 2:
        return 1.0
    eigenvalues = second_eigenvalues(matrices)
    with np.errstate(invalid="ignore"):
        roots = np.sqrt(eigenvalues)
    kept = roots[~np.isnan(roots)]
    return float(kept.sum() / len(kept)) if len(kept) else float("nan")


@kernel
def _count_pairs(
    grid: NDArray[np.int32], voxels: NDArray[np.int64], offsets: NDArray[np.int64], n_levels: int
) -> NDArray[np.int32]:
    """Pairs by angle and the two levels.

    Level 0 takes the voxels without a neighbour, so that none needs a check.
    """
    width = n_levels + 1
    pairs = np.zeros((len(offsets), width * width), dtype=np.int32)
    for number in range(len(offsets)):
        table, offset = pairs[number], offsets[number]
        for v in voxels:
            table[grid[v] * width + grid[v - offset]] += 1
    return pairs.reshape((len(offsets), width, width))


@kernel
def _normalise(pairs: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Symmetric matrices of probabilities, and which angles have any pair."""
    n_angles, n = len(pairs), pairs.shape[1] - 1
    matrices, used = np.zeros((n_angles, n, n)), np.zeros(n_angles, dtype=np.bool_)
    for number in range(n_angles):
        table = pairs[number, 1:, 1:]
        total = 2.0 * table.sum()
        used[number] = total > 0
        if used[number]:
            for i in range(n):
                for j in range(i + 1):
                    p = (table[i, j] + table[j, i]) / total
                    matrices[number, i, j] = p
                    matrices[number, j, i] = p
    return matrices, used


@kernel
def _all_angles(matrices: NDArray[np.float64], gray: NDArray[np.int64]) -> NDArray[np.float64]:
    """Features by angle, in the order of FEATURES, and the entropies' difference."""
    highest = gray[-1]
    values = np.zeros((len(matrices), 24))
    sums, apart, px = np.zeros(2 * highest + 1), np.zeros(highest), np.zeros(len(gray))
    for number in range(len(matrices)):
        f = values[number]
        _margins(matrices[number], gray, px, sums, apart, f)
        _moments(px, gray, sums, f)
        _differences(apart, f)
        _information(matrices[number], px, f)
    return values


@kernel
def _margins(
    p: NDArray[np.float64], gray: NDArray[np.int64], px: NDArray[np.float64],
    sums: NDArray[np.float64], apart: NDArray[np.float64], f: NDArray[np.float64],
) -> None:  # fmt: skip
    """Distributions of one level, of the sum and of the difference of two.

    Also what needs the matrix itself.
    """
    px[:] = 0
    sums[:] = 0
    apart[:] = 0
    for i in range(len(gray)):
        for j in range(i + 1):
            if p[i, j] == 0:
                continue
            both = p[i, j] if i == j else 2 * p[i, j]
            sums[gray[i] + gray[j]] += both
            apart[gray[i] - gray[j]] += both
            px[i] += p[i, j]
            if i != j:
                px[j] += p[i, j]
            f[0] += both * gray[i] * gray[j]
            f[10] += both * p[i, j]
            f[19] = max(f[19], p[i, j])


@kernel
def _moments(
    px: NDArray[np.float64],
    gray: NDArray[np.int64],
    sums: NDArray[np.float64],
    f: NDArray[np.float64],
) -> None:
    """Moments of one level, and of the sum of two.

    The covariance is a quarter of the sum's variance less the difference's mean square; see
    `_differences`.
    """
    for i in range(len(gray)):
        f[1] += px[i] * gray[i]
    for i in range(len(gray)):
        f[22] += px[i] * (gray[i] - f[1]) ** 2
    for k in range(2, len(sums)):
        if sums[k]:
            deviation = k - 2 * f[1]
            f[2] += sums[k] * deviation**4
            f[3] += sums[k] * deviation**3
            f[4] += sums[k] * deviation**2
            f[20] += sums[k] * k
            f[21] -= sums[k] * np.log2(sums[k] + EPS)


@kernel
def _differences(apart: NDArray[np.float64], f: NDArray[np.float64]) -> None:
    highest = float(len(apart))
    for k in range(len(apart)):
        if apart[k]:
            f[5] += apart[k] * k**2
            f[7] += apart[k] * k
            f[8] -= apart[k] * np.log2(apart[k] + EPS)
            f[14] += apart[k] / (1 + k**2)
            f[15] += apart[k] / (1 + k**2 / highest**2)
            f[16] += apart[k] / (1 + k)
            f[17] += apart[k] / (1 + k / highest)
            f[18] += apart[k] / k**2 if k else 0.0
    for k in range(len(apart)):
        f[9] += apart[k] * (k - f[7]) ** 2
    f[6] = (f[4] - f[5]) / 4 / (f[22] + EPS) if f[22] else 1.0


@kernel
def _information(p: NDArray[np.float64], px: NDArray[np.float64], f: NDArray[np.float64]) -> None:
    """Joint entropy, and the two measures of correlation built on it."""
    single = mixed = independent = 0.0
    for i in range(len(px)):
        if px[i] == 0:
            continue
        single -= px[i] * np.log2(px[i] + EPS)
        for j in range(i + 1):
            if px[j] == 0:
                continue
            times = 1 if i == j else 2
            logarithm = np.log2(px[i] * px[j] + EPS)
            independent -= times * px[i] * px[j] * logarithm
            if p[i, j]:
                mixed -= times * p[i, j] * logarithm
                f[11] -= times * p[i, j] * np.log2(p[i, j] + EPS)
    gap = independent - f[11]
    f[12] = (f[11] - mixed) / single if single else 0.0
    f[13] = np.sqrt(1 - np.exp(-2 * gap)) if gap else 0.0
    f[23] = gap
