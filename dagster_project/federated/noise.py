"""What is done to patients' rows before they are summed: a bound on each, and noise on the sum."""

from __future__ import annotations

import os
from collections.abc import Callable
from math import sqrt

import numpy as np
from scipy.special import ndtri

from dagster_project.federated.fixed_point import Floats
from dagster_project.federated.refusals import NotFinite


def clip_rows(rows: Floats, clip: float) -> Floats:
    """Scale each patient's row to a Euclidean norm of at most `clip`.

    Parameters
    ----------
    rows : float array (patients, columns)
        One row per patient: with several rows of one patient the bound would hold for none.
    clip
        Above 0.

    Returns
    -------
    float array (patients, columns)

    Raises
    ------
    NotFinite
        Where a column holds what is no number.

    Examples
    --------
    >>> clip_rows(np.array([[6.0, 8.0], [0.3, 0.4]]), 5.0).tolist()
    [[3.0, 4.0], [0.3, 0.4]]
    """
    if not clip > 0:
        raise ValueError("the clip is a number above 0")
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=0))
    if broken.size:
        raise NotFinite(broken.tolist())
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * (clip / np.maximum(norms, clip))


def noise_share(
    n: int, sd: float, hospitals: int, randomness: Callable[[int], bytes] = os.urandom
) -> Floats:
    """One hospital's part of the noise on a sum: normal, with the variance sd² / (hospitals − 1).

    A hospital that reads the sum subtracts its own part: the others' have `sd` together. So what a
    step costs by `sd` holds against each hospital by itself; two that put theirs together leave
    less.

    Parameters
    ----------
    n
        Length of the vector.
    sd
        Standard deviation that is left for each hospital, 0 for none.
    hospitals
        How many add a part: 2 or more, where there is noise.
    randomness
        n → so many random bytes; the system's own generator.

    Returns
    -------
    float array (n,)
    """
    if not (np.isfinite(sd) and sd >= 0):
        raise ValueError("the standard deviation of the noise is a finite number, 0 or more")
    if not sd:
        return np.zeros(n)
    if hospitals < 2:
        raise ValueError("a hospital alone would know all of the noise")
    # 52 bits, so that the middle of the last step is below 1
    words = np.frombuffer(randomness(8 * n), dtype="<u8") >> np.uint64(12)
    return ndtri((words + 0.5) * 2.0**-52) * (sd / sqrt(hospitals - 1))


def noise_of_sum(sd: float, hospitals: int) -> float:
    """Standard deviation of all parts of `noise_share` together.

    Examples
    --------
    >>> noise_of_sum(3.0, 9) == 3.0 * sqrt(9 / 8)
    True
    """
    return sd * sqrt(hospitals / (hospitals - 1)) if sd else 0.0
