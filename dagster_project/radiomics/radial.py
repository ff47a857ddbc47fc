"""DHI's radial component: whether density runs otherwise between the lesion's rim and its core."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from dagster_project.radiomics.preparation import Prepared


def depth_correlation(prepared: Prepared, clip_hu: float) -> float:
    """Pearson's correlation of a voxel's density with the rank of its depth.

    It runs from −1 (dense rim) to 1 (dense core), and is 0 where either is constant. Densities are
    centred on their median and clipped to ± `clip_hu`. Depth counts by rank, equally deep voxels
    sharing theirs, so that neither the lesion's size nor the axes matter.
    """
    from scipy.stats import rankdata

    depth = rankdata(np.round(distance_transform_edt(prepared.mask)[prepared.mask], 6))
    values = prepared.volume[prepared.mask]
    centred = np.clip(values - np.median(values), -clip_hu, clip_hu)
    a, b = (_unit(x) for x in (centred, depth))
    return float(np.clip(a @ b, -1, 1))


def radial_change(first: float, second: float) -> float:
    """R = |ρ_t − ρ_s|, with ρ the correlations with depth; it runs from 0 to 2.

    One figure from all voxels needs far fewer of them than a table of neighbours.
    """
    return abs(second - first)


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred on the mean, of length 1; all 0 where the values are constant."""
    centred = values - values.mean()
    length = float(np.sqrt(centred @ centred))
    return centred / length if length > 0 else np.zeros_like(centred)
