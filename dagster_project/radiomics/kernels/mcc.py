"""Second largest eigenvalue behind the maximal correlation coefficient.

It is found without solving for all the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.kernels.compilation import kernel

EPS = np.spacing(1)
CONVERGED = 1e-8
"""Largest residual of an eigenvector: the eigenvalue's error is about its square."""
UNMIXED = 1e-6
"""Largest residual that PyRadiomics' eps may leave: beyond it the eigenvectors have moved."""
SEPARATE = 1 - 1e-6
"""From here on the gray levels fall into parts without a pair between them.

The eigenvalue 1 then comes more than once.
"""
LAST_BIT = 1e-9
"""Below, an eigenvalue is rounding.

It is left to the dense solution, so that it is the rounding of the engine of reference.
"""


def second_eigenvalues(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second largest eigenvalue of a matrix Q for each symmetric matrix p.

    Q_ij = sum_k p_ik p_jk / (p_i p_k + eps).

    Without eps, Q has the eigenvalues of A² with A = D^-1/2 p D^-1/2, symmetric: the largest is 1,
    the second is found by Lanczos. eps changes it to first order by what the Rayleigh quotient of Q
    itself says. Where that is not enough, all eigenvalues of Q are computed.
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
    n = len(marginal)
    if n < 2:
        return np.nan
    scaled, top = np.empty((n, n)), np.sqrt(marginal)
    for i in range(n):
        for j in range(n):
            scaled[i, j] = p[i, j] / (top[i] * top[j])
    _shrink(top, np.sqrt(_dot(top, top)))
    vector, residual = _lanczos(scaled, top)
    if residual > CONVERGED:
        return np.nan
    eigenvalue, mixing = _with_eps(p, marginal, vector)
    return eigenvalue if LAST_BIT < eigenvalue < SEPARATE and mixing < UNMIXED else np.nan


@kernel
def _occupied(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The matrix without levels that have no pair in this angle, and its row sums."""
    n, kept = 0, np.empty(len(matrix), dtype=np.int64)
    sums = np.zeros(len(matrix))
    for i in range(len(matrix)):
        for j in range(len(matrix)):
            sums[n] += matrix[i, j]
        if sums[n] > 0:
            kept[n] = i
            n += 1
    p = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            p[i, j] = matrix[kept[i], kept[j]]
    return p, sums[:n]


@kernel
def _lanczos(a: NDArray[np.float64], top: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The eigenvector of the largest absolute eigenvalue besides `top`'s, and its residual.

    Every direction is made orthogonal to all before. Most matrices of gray levels need 10 to 20
    directions, whatever their size.
    """
    n = len(a)
    basis, alpha, beta = np.zeros((n, n)), np.zeros(n), np.zeros(n)
    basis[0] = top
    for i in range(n):
        basis[1, i] = np.cos(1.0 + 2.3 * i**1.5)
    _orthogonalise(basis, 1)
    check = min(14, n - 1)
    for k in range(1, n):
        following = _product(a, basis[k])
        alpha[k] = _dot(following, basis[k])
        exhausted = k + 1 == n
        if not exhausted:
            basis[k + 1] = following
            beta[k] = _orthogonalise(basis, k + 1)
            exhausted = beta[k] < 1e-14
        if k == check or exhausted:
            vector, residual = _ritz(basis, alpha, beta, k)
            if residual < CONVERGED or exhausted:
                return vector, residual
            check = min(k + max(k // 4, 4), n - 1)
    return top, 1.0


@kernel
def _product(a: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Product with a symmetric matrix."""
    y = np.zeros(len(x))
    for i in range(len(x)):
        for j in range(len(x)):
            y[j] += a[i, j] * x[i]
    return y


@kernel
def _dot(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    total = 0.0
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@kernel
def _orthogonalise(basis: NDArray[np.float64], k: int) -> float:
    """Make row k orthogonal to the rows before it and of length 1; its length before scaling.

    The length is 0 where nothing was left. The subtraction is repeated where little was left: the
    rounding of what was taken away would show.
    """
    row = basis[k]
    before = length = np.sqrt(_dot(row, row))
    for _ in range(2):
        for m in range(k):
            share = _dot(basis[m], row)
            for i in range(len(row)):
                row[i] -= share * basis[m, i]
        reduced = length
        length = np.sqrt(_dot(row, row))
        if length > 0.5 * reduced:
            break
    if length <= 1e-14 * before:
        return 0.0
    _shrink(row, length)
    return length


@kernel
def _ritz(
    basis: NDArray[np.float64], alpha: NDArray[np.float64], beta: NDArray[np.float64], k: int
) -> tuple[NDArray[np.float64], float]:
    """The best approximation in the basis, and its residual.

    Where the other end of the spectrum may still become the larger one, the larger residual of the
    two ends.
    """
    high, upper = _largest(alpha, beta, k, 1)
    low, lower = _largest(alpha, beta, k, -1)
    upper_open, lower_open = abs(beta[k] * upper[k - 1]), abs(beta[k] * lower[k - 1])
    negative = low > high
    residual = lower_open if negative else upper_open
    if (high + upper_open >= low) if negative else (low + lower_open >= high):
        residual = max(upper_open, lower_open)
    share = lower if negative else upper
    vector = np.zeros(basis.shape[1])
    for m in range(k):
        for i in range(len(vector)):
            vector[i] += share[m] * basis[m + 1, i]
    return vector, residual


@kernel
def _largest(
    alpha: NDArray[np.float64], beta: NDArray[np.float64], k: int, sign: int
) -> tuple[float, NDArray[np.float64]]:
    """Largest eigenvalue of a tridiagonal matrix, or of its negative, and its eigenvector.

    The matrix consists of rows 1 to k; all eigenvalues are between -1 and 1. By bisection. Less an
    upper bound the matrix is negative definite: its pivots are negative, and inverse iteration
    needs no exchange of rows.
    """
    low, high = -1.5, 1.5
    pivots, found = np.empty(k), np.ones(k)
    for _ in range(53):
        middle = (low + high) / 2
        if _has_above(alpha, beta, sign, middle, pivots):
            low = middle
        else:
            high = middle
    _has_above(alpha, beta, sign, high, pivots)
    for _ in range(3):
        for m in range(1, k):
            found[m] -= sign * beta[m] / pivots[m - 1] * found[m - 1]
        found[k - 1] /= pivots[k - 1]
        for m in range(k - 2, -1, -1):
            found[m] = (found[m] - sign * beta[m + 1] * found[m + 1]) / pivots[m]
        _shrink(found, np.sqrt(_dot(found, found)))
    return high, found


@kernel
def _has_above(
    alpha: NDArray[np.float64],
    beta: NDArray[np.float64],
    sign: int,
    x: float,
    pivots: NDArray[np.float64],
) -> bool:
    """Whether an eigenvalue is at or above x: a pivot of the matrix less x is then not negative."""
    pivot = -1.0
    for m in range(len(pivots)):
        pivot = sign * alpha[m + 1] - x - (beta[m] ** 2 / pivot if m else 0.0)
        if pivot >= 0:
            return True
        pivots[m] = pivot
    return False


@kernel
def _shrink(x: NDArray[np.float64], length: float) -> None:
    for i in range(len(x)):
        x[i] /= length


@kernel
def _with_eps(
    p: NDArray[np.float64], marginal: NDArray[np.float64], vector: NDArray[np.float64]
) -> tuple[float, float]:
    """Rayleigh quotient of Q between its left and right eigenvectors.

    Also by how much Q turns the right one away.
    """
    n = len(marginal)
    inner, turned = np.empty(n), np.zeros(n)
    for i in range(n):
        inner[i] = vector[i] / np.sqrt(marginal[i])
    inner = _product(p, inner)
    for i in range(n):
        for k in range(n):
            turned[i] += p[i, k] / (marginal[i] * marginal[k] + EPS) * inner[k]
        turned[i] *= np.sqrt(marginal[i])
    eigenvalue, mixing = _dot(vector, turned), 0.0
    for i in range(n):
        mixing += (turned[i] - eigenvalue * vector[i]) ** 2
    return eigenvalue, np.sqrt(mixing)
