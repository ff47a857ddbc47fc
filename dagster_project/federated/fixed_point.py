"""Real numbers as residues of a prime, so that sums over hospitals are exact."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dagster_project.federated.refusals import NotFinite, TooLarge

Residues = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

FRACTION_BITS = 20
"""Values are multiples of 2⁻²⁰."""

MODULUS = 0x7FFFFFFFFFCC001
"""A prime of 59 bits, 1 modulo 16,384, as BFV's batching with 8,192 slots needs it."""


def largest_value(hospitals: int) -> float:
    """What a hospital's value may reach so that the sum of all stays below half the modulus.

    Parameters
    ----------
    hospitals
        How many are summed.

    Returns
    -------
    float
    """
    return float(MODULUS // 2 // hospitals >> FRACTION_BITS)


def to_residues(values: npt.ArrayLike, hospitals: int) -> Residues:
    """Round to multiples of 2⁻²⁰ and take them modulo the prime.

    Parameters
    ----------
    values : float array (n,)
    hospitals
        How many are summed.

    Returns
    -------
    uint64 array (n,)

    Raises
    ------
    NotFinite
        Where a value is no number.
    TooLarge
        Where the sum of so many hospitals could exceed half the modulus.

    Examples
    --------
    >>> to_residues([1.5, -2**-20], 3).tolist() == [3 * 2**19, MODULUS - 1]
    True
    """
    vector = np.asarray(values, dtype=np.float64)
    broken = np.flatnonzero(~np.isfinite(vector))
    if broken.size:
        raise NotFinite(broken.tolist())
    limit = largest_value(hospitals)
    broken = np.flatnonzero(np.abs(vector) > limit)
    if broken.size:
        raise TooLarge(broken.tolist(), limit)
    steps = np.rint(np.ldexp(vector, FRACTION_BITS)).astype(np.int64)
    return np.mod(steps, MODULUS).astype(np.uint64)


def from_residues(residues: Residues) -> Floats:
    """Values of residues; those above half the modulus are negative.

    Parameters
    ----------
    residues : uint64 array (n,)
        Below the modulus.

    Returns
    -------
    float array (n,)
        Exact below 2³³, else rounded to 53 bits.
    """
    steps = residues.astype(np.int64)
    steps = np.where(steps > MODULUS // 2, steps - MODULUS, steps)
    return np.ldexp(steps.astype(np.float64), -FRACTION_BITS)


def add_residues(first: Residues, second: Residues) -> Residues:
    """Sum modulo the prime; both are below it."""
    return (first + second) % np.uint64(MODULUS)


def subtract_residues(first: Residues, second: Residues) -> Residues:
    """Difference modulo the prime; both are below it."""
    return (first + (np.uint64(MODULUS) - second)) % np.uint64(MODULUS)
