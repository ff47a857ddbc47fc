"""Second largest eigenvalue behind the maximal correlation coefficient, without solving for all the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel

EPS = np.spacing(1)
CONVERGED = 1e-8
"""Largest residual of an eigenvector: the eigenvalue's error is about its square."""
UNMIXED = 1e-6
"""Largest residual that PyRadiomics' eps may leave: beyond it the eigenvectors themselves have moved."""
SEPARATE = 1 - 1e-6
"""From here on the gray levels fall into parts without a pair between them, and the eigenvalue 1 comes more than once."""
LAST_BIT = 1e-9
"""Below, an eigenvalue is rounding: left to the dense solution, so that it is the rounding of the engine of reference."""


def second_eigenvalues(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second largest eigenvalue of Q_ij = sum_k p_ik p_jk / (p_i p_k + eps), for each symmetric matrix p.

    Without eps, Q has the eigenvalues of A² with A = D^-1/2 p D^-1/2, symmetric: the largest is 1, the second is found by Lanczos.
    eps changes it to first order by what the Rayleigh quotient of Q itself says. Where that is not enough, all eigenvalues of Q
    are computed.
    """
    found = _by_lanczos(matrices)
    for number in np.flatnonzero(np.isnan(found)):
        found[number] = _by_dense_solution(matrices[number])
    return found


def _by_dense_solution(p: NDArray[np.float64]) -> float:
    marginal = p.sum(axis=1)
    eigenvalues = np.linalg.eigvals((p / (np.outer(marginal, marginal) + EPS)) @ p.T)
    return float(np.sort(eigenvalues)[-2].real)


@kernel
def _by_lanczos(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.empty(len(matrices))
    for number in range(len(matrices)):
        found[number] = _second(matrices[number])
    return found


@kernel
def _second(matrix: NDArray[np.float64]) -> float:
    """The eigenvalue, or NaN where it must be found otherwise."""
    p, marginal = _occupied(matrix)
    root = np.sqrt(marginal)
    if len(root) < 2:
        return np.nan
    scaled = p / np.outer(root, root)
    vector, residual = _lanczos(scaled, root / np.sqrt(marginal.sum()))
    if residual > CONVERGED:
        return np.nan
    eigenvalue, mixing = _with_eps(p, marginal, vector)
    return eigenvalue if LAST_BIT < eigenvalue < SEPARATE and mixing < UNMIXED else np.nan


@kernel
def _occupied(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The matrix without levels that have no pair in this angle, and its row sums."""
    sums = matrix.sum(axis=1)
    kept = np.flatnonzero(sums)
    p = np.empty((len(kept), len(kept)))
    for i in range(len(kept)):
        for j in range(len(kept)):
            p[i, j] = matrix[kept[i], kept[j]]
    return p, sums[kept]


@kernel
def _lanczos(a: NDArray[np.float64], top: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The eigenvector of the largest absolute eigenvalue besides `top`'s, and its residual.

    Every new direction is made orthogonal to all before, twice; the small problem is solved when the basis has grown by half.
    """
    n = len(a)
    basis, alpha, beta = np.zeros((n, n)), np.zeros(n), np.zeros(n)
    basis[0] = top
    basis[1] = np.cos(1.0 + 2.3 * np.arange(n) ** 1.5)
    _orthogonalise(basis, 1)
    check = min(6, n - 1)
    for k in range(1, n):
        following = _product(a, basis[k])
        alpha[k] = (following * basis[k]).sum()
        exhausted = k + 1 == n
        if not exhausted:
            basis[k + 1] = following
            beta[k] = _orthogonalise(basis, k + 1)
            exhausted = beta[k] < 1e-14
        if k == check or exhausted:
            vector, residual = _ritz(basis, alpha, beta, k)
            if residual < CONVERGED or exhausted:
                return vector, residual
            check = min(k + max(k // 2, 4), n - 1)
    return top, 1.0


@kernel
def _product(a: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    y = np.zeros(len(x))
    for i in range(len(x)):
        for j in range(len(x)):
            y[j] += a[i, j] * x[i]
    return y


@kernel
def _orthogonalise(basis: NDArray[np.float64], k: int) -> float:
    """Make row k orthogonal to the rows before and of length 1; its length before that, 0 where nothing was left."""
    before = np.sqrt((basis[k] ** 2).sum())
    for _ in range(2):
        for m in range(k):
            share = (basis[m] * basis[k]).sum()
            for i in range(basis.shape[1]):
                basis[k, i] -= share * basis[m, i]
    length = np.sqrt((basis[k] ** 2).sum())
    if length <= 1e-14 * before:
        return 0.0
    basis[k] /= length
    return length


@kernel
def _ritz(basis: NDArray[np.float64], alpha: NDArray[np.float64], beta: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], float]:
    """The best approximation in the basis, and the larger residual of its two ends: the other may become the larger one."""
    small = np.zeros((k, k))
    for m in range(k):
        small[m, m] = alpha[m + 1]
        if m + 1 < k:
            small[m, m + 1] = small[m + 1, m] = beta[m + 1]
    values, vectors = np.linalg.eigh(small)
    low, high = abs(beta[k] * vectors[k - 1, 0]), abs(beta[k] * vectors[k - 1, k - 1])
    best, residual, other, open_end = (0, low, k - 1, high) if -values[0] > values[k - 1] else (k - 1, high, 0, low)
    if abs(values[other]) + open_end >= abs(values[best]):
        residual = max(residual, open_end)
    vector = np.zeros(basis.shape[1])
    for m in range(k):
        vector += vectors[m, best] * basis[m + 1]
    return vector, residual


@kernel
def _with_eps(p: NDArray[np.float64], marginal: NDArray[np.float64], vector: NDArray[np.float64]) -> tuple[float, float]:
    """Rayleigh quotient of Q between its left and right eigenvectors, and by how much Q turns the right one away."""
    n = len(marginal)
    root = np.sqrt(marginal)
    inner = _product(p, vector / root)
    turned = np.zeros(n)
    for i in range(n):
        for k in range(n):
            turned[i] += p[i, k] / (marginal[i] * marginal[k] + EPS) * inner[k]
    turned *= root
    eigenvalue = (vector * turned).sum()
    return eigenvalue, np.sqrt(((turned - eigenvalue * vector) ** 2).sum())
