"""Measures of a lesion's habitats: how much of each, their neighbours, diversity and clustering."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from dagster_project.radiomics.habitat_codebook import Codebook, LocalFeatures
from dagster_project.radiomics.habitats import cooccurrence
from dagster_project.radiomics.resampling import Mask

Measures = dict[str, float | None]
Values = NDArray[np.float64]

OF_A_LESION = ("n_voxels", "rao_q", "shannon", "simpson", "moran_i")
"""Measures of the lesion as a whole."""


def measure_names(count: int) -> tuple[str, ...]:
    """Names of all measures for that many habitats; `msi_0_k` is habitat k's share of the surface.

    >>> measure_names(1)
    ('n_voxels', 'rao_q', 'shannon', 'simpson', 'moran_i', 'fraction_1', 'msi_0_1', 'msi_1_1')
    """
    fractions = (f"fraction_{k}" for k in range(1, count + 1))
    return (*OF_A_LESION, *fractions, *(f"msi_{i}_{j}" for i, j in _pairs(count)))


def _pairs(count: int) -> list[tuple[int, int]]:
    return list(combinations_with_replacement(range(count + 1), 2))[1:]


def measure_habitats(
    codes: NDArray[np.uint8], local: LocalFeatures, codebook: Codebook
) -> Measures:
    """All measures of a lesion.

    fraction_k
        Share of the lesion's voxels in habitat k; they sum to 1.
    msi_i_j
        Share of the pairs of 6-neighbours that are of habitats i and j in either order, 0 the
        outside; they sum to 1 (multiregional spatial interaction, the co-occurrence of habitats).
    rao_q
        Rao's quadratic entropy, `rao_q`.
    shannon, simpson
        −Σ p ln p, and 1 − Σ p².
    moran_i
        Of HU between 6-neighbours within the lesion, `moran_i`; None where it is not defined.
    """
    shares = np.bincount(codes[local.mask], minlength=codebook.count + 1)[1:] / local.count
    pairs = cooccurrence(codes.astype(np.intp), codebook.count + 1)
    present = shares[shares > 0]
    return {
        "n_voxels": float(local.count),
        "rao_q": rao_q(shares, habitat_distances(codebook)),
        "shannon": float(-(present * np.log(present)).sum()) + 0.0,
        "simpson": float(1 - (shares**2).sum()),
        "moran_i": moran_i(local.mask, local.values),
        **{f"fraction_{k}": float(share) for k, share in enumerate(shares, start=1)},
        **{
            f"msi_{i}_{j}": float(pairs[i, j] + (pairs[j, i] if i != j else 0.0))
            for i, j in _pairs(codebook.count)
        },
    }


def habitat_distances(codebook: Codebook) -> Values:
    """Distances of the habitats' centres in units of the features' scale, over the largest: 0 to 1.

    The scale is that of the local features.
    """
    centres = np.array(codebook.centres) / np.array(codebook.scale)
    distances = np.sqrt(((centres[:, None] - centres[None]) ** 2).sum(axis=2))
    return np.asarray(distances / max(distances.max(), np.finfo(float).tiny))


def rao_q(shares: Values, distances: Values) -> float:
    """Rao's Q = Σ_ij d_ij p_i p_j: the expected distance between the habitats of two voxels.

    The voxels are drawn at random; 0 for one habitat.

    >>> rao_q(np.array([0.5, 0.5]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    0.5
    """
    return float(shares @ distances @ shares)


def moran_i(mask: Mask, values: Values) -> float | None:
    """Moran's I of the values over 6-neighbours within the mask.

    I = (n / Σ w) Σ_ij w_ij (x_i − m)(x_j − m) / Σ_i (x_i − m)², with w_ij = 1 for 6-neighbours
    within the mask. None where all values are equal or no voxel has a neighbour.
    """
    field = np.zeros(mask.shape)
    field[mask] = values - values.mean()
    weights = products = 0.0
    for axis in range(3):
        here, there = (
            tuple(part if a == axis else slice(None) for a in range(3))
            for part in (slice(None, -1), slice(1, None))
        )
        weights += 2 * float((mask[here] & mask[there]).sum())
        products += 2 * float((field[here] * field[there]).sum())
    power = float((field**2).sum())
    if weights == 0 or np.ptp(values) == 0:
        return None
    return len(values) / weights * products / power
