"""Texture as IBSI 1 defines it, in every aggregation: in slices, merged, or in 3-D.

Source: Zwanenburg et al., Radiology 2020; 295:328-338.

Features have IBSI's own tags without the aggregation, as `cm_joint_max`. An aggregation is:

- `2D_avg`, `2D_comb`: a matrix per slice and direction, or per slice; the features' mean
- `2_5D_avg`, `2_5D_comb`: matrices of all slices added up, per direction, or all directions
  together
- `3D_avg`, `3D_comb`: a matrix per direction in space, or one of all

and for families without directions `2D`, `2_5D` and `3D`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt, label

Levels = NDArray[np.int32]
"""Gray levels (z, y, x): 1, 2, … inside the region, 0 outside."""

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
Step = tuple[int, int, int]
Features = dict[str, float]

IN_SPACE: tuple[Step, ...] = tuple(
    (z, y, x) for z in (0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) > (0, 0, 0)
)
"""The 13 directions, one of each pair."""

IN_SLICE = tuple(step for step in IN_SPACE if step[0] == 0)
"""The four directions within a slice."""

DIRECTIONAL = ("2D_avg", "2D_comb", "2_5D_avg", "2_5D_comb", "3D_avg", "3D_comb")
PLAIN = ("2D", "2_5D", "3D")


def cooccurrence_features(levels: Levels, aggregation: str) -> Features:
    """The 25 features of the symmetric co-occurrence matrix at distance one voxel (tags cm_…)."""
    return _directional(
        levels, aggregation, _cooccurrence, lambda matrix, _: _of_cooccurrence(matrix)
    )


def run_length_features(levels: Levels, aggregation: str) -> Features:
    """The 16 features of the run length matrix (tags rlm_…)."""
    return _directional(
        levels, aggregation, _runs, lambda matrix, voxels: _of_zones(matrix, voxels, _RUNS)
    )


def size_zone_features(levels: Levels, aggregation: str) -> Features:
    """The 16 features of the size zone matrix (tags szm_…)."""
    return _plain(
        levels,
        levels > 0,
        aggregation,
        _size_zones,
        lambda matrix, voxels: _of_zones(matrix, voxels, _SIZES),
    )


def distance_zone_features(levels: Levels, outlined: Mask, aggregation: str) -> Features:
    """The 16 features of the distance zone matrix (tags dzm_…).

    Distances are to the border of the outline, not of the levels.
    """
    return _plain(
        levels,
        outlined,
        aggregation,
        _distance_zones,
        lambda matrix, voxels: _of_zones(matrix, voxels, _DISTANCES),
    )


def dependence_features(levels: Levels, aggregation: str) -> Features:
    """The 17 features of the neighbouring gray level dependence matrix (tags ngl_…).

    The coarseness is 0.
    """
    return _plain(levels, levels > 0, aggregation, _dependences, _of_dependences)


def tone_difference_features(levels: Levels, aggregation: str) -> Features:
    """The five features of the neighbourhood gray tone difference matrix (tags ngt_…)."""
    return _plain(
        levels,
        levels > 0,
        aggregation,
        _tone_differences,
        lambda matrix, _: _of_tone_differences(matrix),
    )


# ── aggregation ──


def _slices(levels: Levels) -> list[int]:
    return [z for z in range(levels.shape[0]) if levels[z].any()]


def _directional(
    levels: Levels,
    aggregation: str,
    count: Callable[[Levels, Step, int], Matrix],
    features: Callable[[Matrix, int], Features],
) -> Features:
    """Features of matrices by direction.

    A matrix that several directions were merged into has as many times the voxels.
    """
    n_levels = int(levels.max())
    if aggregation.startswith("3D"):
        matrices = [[count(levels, step, n_levels) for step in IN_SPACE]]
        voxels = [int((levels > 0).sum())]
    else:
        slices = [levels[z : z + 1] for z in _slices(levels)]
        matrices = [[count(part, step, n_levels) for step in IN_SLICE] for part in slices]
        voxels = [int((part > 0).sum()) for part in slices]
    if aggregation.startswith("2_5D"):
        matrices, voxels = (
            [[_added(of_step) for of_step in zip(*matrices, strict=True)]],
            [sum(voxels)],
        )
    if aggregation.endswith("comb"):
        return _mean(
            [
                features(_added(of_slice), n * len(of_slice))
                for of_slice, n in zip(matrices, voxels, strict=True)
            ]
        )
    return _mean(
        [
            features(matrix, n)
            for of_slice, n in zip(matrices, voxels, strict=True)
            for matrix in of_slice
        ]
    )


def _plain(
    levels: Levels,
    outlined: Mask,
    aggregation: str,
    count: Callable[[Levels, Mask, int], Matrix],
    features: Callable[[Matrix, int], Features],
) -> Features:
    n_levels = int(levels.max())
    if aggregation == "3D":
        return features(count(levels, outlined, n_levels), int((levels > 0).sum()))
    parts = [(levels[z : z + 1], outlined[z : z + 1]) for z in _slices(levels)]
    matrices, voxels = (
        [count(*part, n_levels) for part in parts],
        [int((part > 0).sum()) for part, _ in parts],
    )
    if aggregation == "2_5D":
        return features(_added(matrices), sum(voxels))
    return _mean([features(matrix, n) for matrix, n in zip(matrices, voxels, strict=True)])


def _added(matrices: Sequence[Matrix]) -> Matrix:
    """The sum of matrices of different widths."""
    total = np.zeros(np.max([m.shape for m in matrices], axis=0))
    for m in matrices:
        total[tuple(slice(n) for n in m.shape)] += m
    return total


def _mean(found: Sequence[Features]) -> Features:
    """The mean over matrices; one of a direction without a pair of voxels has no features."""
    known = [f for f in found if not np.isnan(f[next(iter(f))])] or found[:1]
    return {name: float(np.mean([f[name] for f in known])) for name in found[0]}


# ── matrices ──


def _shifted(levels: Levels, step: Step) -> Levels:
    """The level one step further at each voxel; 0 beyond the end."""
    padded = np.pad(levels, 1)
    return padded[tuple(slice(1 + s, 1 + s + n) for s, n in zip(step, levels.shape, strict=True))]


def _cooccurrence(levels: Levels, step: Step, n_levels: int) -> Matrix:
    other = _shifted(levels, step)
    both = (levels > 0) & (other > 0)
    found = np.zeros((n_levels, n_levels))
    np.add.at(found, (levels[both] - 1, other[both] - 1), 1)
    return found + found.T


def _runs(levels: Levels, step: Step, n_levels: int) -> Matrix:
    """Rows: levels; columns: lengths from 1."""
    back = (-step[0], -step[1], -step[2])
    places = np.argwhere((levels > 0) & (_shifted(levels, back) != levels))
    starts, lengths = levels[tuple(places.T)], np.ones(len(places), dtype=np.int64)
    going, further = np.arange(len(places)), places
    padded = np.pad(levels, 1)
    while going.size:
        further = further + np.array(step)
        goes_on = padded[tuple(further.T + 1)] == starts[going]
        going, further = going[goes_on], further[goes_on]
        lengths[going] += 1
    return _counted(starts, lengths, n_levels)


def _counted(rows: NDArray[np.integer], columns: NDArray[np.integer], n_levels: int) -> Matrix:
    found = np.zeros((n_levels, int(columns.max(initial=1))))
    np.add.at(found, (rows - 1, columns - 1), 1)
    return found


def _zones(levels: Levels) -> Iterator[tuple[int, NDArray[np.int32], int]]:
    """Level, its labelled zones, and their number: voxels that touch by face, edge or corner."""
    for level in np.unique(levels[levels > 0]):
        zones, n = label(levels == level, np.ones((3, 3, 3)))
        yield int(level), zones, n


def _size_zones(levels: Levels, _: Mask, n_levels: int) -> Matrix:
    found = [(level, np.bincount(zones.ravel())[1:]) for level, zones, _n in _zones(levels)]
    rows = np.concatenate([np.full(sizes.size, level) for level, sizes in found])
    return _counted(rows, np.concatenate([sizes for _, sizes in found]), n_levels)


def _distance_zones(levels: Levels, outlined: Mask, n_levels: int) -> Matrix:
    """Columns: the least distance of a zone to the border, in steps through faces.

    It is 1 for a voxel at the border.
    """
    planar = levels.shape[0] == 1
    padded = np.pad(outlined, [(0, 0) if planar else (1, 1), (1, 1), (1, 1)])
    steps = np.asarray(distance_transform_cdt(padded, "taxicab"))[
        (slice(None) if planar else slice(1, -1), slice(1, -1), slice(1, -1))
    ]
    rows, columns = [], []
    for level, zones, n in _zones(levels):
        least = np.full(n + 1, np.iinfo(np.int32).max)
        np.minimum.at(least, zones.ravel(), steps.ravel())
        rows.append(np.full(n, level))
        columns.append(least[1:])
    return _counted(np.concatenate(rows), np.concatenate(columns), n_levels)


def _around(levels: Levels) -> list[Step]:
    """The steps to all neighbours; of a slice those within it."""
    half = IN_SLICE if levels.shape[0] == 1 else IN_SPACE
    return [*half, *((-z, -y, -x) for z, y, x in half)]


def _dependences(levels: Levels, _: Mask, n_levels: int) -> Matrix:
    """Columns: a voxel and those of its neighbours that have its level."""
    inside = levels > 0
    same = np.sum([_shifted(levels, step) == levels for step in _around(levels)], axis=0)
    return _counted(levels[inside], same[inside] + 1, n_levels)


def _tone_differences(levels: Levels, _: Mask, n_levels: int) -> Matrix:
    """Columns: voxels of a level, and the sum of their distances from their neighbours' mean.

    A voxel without neighbours is left out.
    """
    others = [_shifted(levels, step) for step in _around(levels)]
    count = np.sum([o > 0 for o in others], axis=0)
    known = (levels > 0) & (count > 0)
    mean = np.asarray(np.sum(others, axis=0, dtype=np.float64))[known] / count[known]
    found = np.zeros((n_levels, 2))
    np.add.at(found, (levels[known] - 1, 0), 1)
    np.add.at(found, (levels[known] - 1, 1), np.abs(levels[known] - mean))
    return found


# ── features ──


def _entropy(p: Matrix) -> float:
    known = p[p > 0]
    return float(-(known * np.log2(known)).sum())


def _of_cooccurrence(matrix: Matrix) -> Features:
    if not matrix.any():
        return dict.fromkeys(_of_cooccurrence(np.ones((1, 1))), np.nan)
    p, n = matrix / matrix.sum(), len(matrix)
    i, j = np.meshgrid(np.arange(1, n + 1), np.arange(1, n + 1), indexing="ij")
    px = p.sum(axis=1)
    differences = np.array([p[np.abs(i - j) == k].sum() for k in range(n)])
    sums = np.array([p[i + j == k].sum() for k in range(2, 2 * n + 1)])
    d, s, mean = np.arange(n), np.arange(2, 2 * n + 1), float((i * p).sum())
    variance = float(((i - mean) ** 2 * p).sum())
    d_mean, s_mean = float((d * differences).sum()), float((s * sums).sum())
    hxy, hx, independent = _entropy(p), _entropy(px), np.outer(px, px)
    known = independent > 0
    hxy1 = float(-(p[known] * np.log2(independent[known])).sum())
    hxy2 = _entropy(independent)
    return {
        "cm_joint_max": float(p.max()),
        "cm_joint_avg": mean,
        "cm_joint_var": variance,
        "cm_joint_entr": hxy,
        "cm_diff_avg": d_mean,
        "cm_diff_var": float(((d - d_mean) ** 2 * differences).sum()),
        "cm_diff_entr": _entropy(differences),
        "cm_sum_avg": s_mean,
        "cm_sum_var": float(((s - s_mean) ** 2 * sums).sum()),
        "cm_sum_entr": _entropy(sums),
        "cm_energy": float((p**2).sum()),
        "cm_contrast": float(((i - j) ** 2 * p).sum()),
        "cm_dissimilarity": float((np.abs(i - j) * p).sum()),
        "cm_inv_diff": float((p / (1 + np.abs(i - j))).sum()),
        "cm_inv_diff_norm": float((p / (1 + np.abs(i - j) / n)).sum()),
        "cm_inv_diff_mom": float((p / (1 + (i - j) ** 2)).sum()),
        "cm_inv_diff_mom_norm": float((p / (1 + (i - j) ** 2 / n**2)).sum()),
        "cm_inv_var": float((differences[1:] / d[1:] ** 2).sum()),
        "cm_corr": float(((i - mean) * (j - mean) * p).sum() / variance) if variance > 0 else 1.0,
        "cm_auto_corr": float((i * j * p).sum()),
        "cm_clust_tend": float(((i + j - 2 * mean) ** 2 * p).sum()),
        "cm_clust_shade": float(((i + j - 2 * mean) ** 3 * p).sum()),
        "cm_clust_prom": float(((i + j - 2 * mean) ** 4 * p).sum()),
        "cm_info_corr1": (hxy - hxy1) / hx if hx > 0 else 0.0,
        "cm_info_corr2": float(np.sqrt(max(0.0, 1 - np.exp(-2 * (hxy2 - hxy))))),
    }


_RUNS = (
    "rlm_sre",
    "rlm_lre",
    "rlm_lgre",
    "rlm_hgre",
    "rlm_srlge",
    "rlm_srhge",
    "rlm_lrlge",
    "rlm_lrhge",
    "rlm_glnu",
    "rlm_glnu_norm",
    "rlm_rlnu",
    "rlm_rlnu_norm",
    "rlm_r_perc",
    "rlm_gl_var",
    "rlm_rl_var",
    "rlm_rl_entr",
)
_SIZES = (
    "szm_sze",
    "szm_lze",
    "szm_lgze",
    "szm_hgze",
    "szm_szlge",
    "szm_szhge",
    "szm_lzlge",
    "szm_lzhge",
    "szm_glnu",
    "szm_glnu_norm",
    "szm_zsnu",
    "szm_zsnu_norm",
    "szm_z_perc",
    "szm_gl_var",
    "szm_zs_var",
    "szm_zs_entr",
)
_DISTANCES = (
    "dzm_sde",
    "dzm_lde",
    "dzm_lgze",
    "dzm_hgze",
    "dzm_sdlge",
    "dzm_sdhge",
    "dzm_ldlge",
    "dzm_ldhge",
    "dzm_glnu",
    "dzm_glnu_norm",
    "dzm_zdnu",
    "dzm_zdnu_norm",
    "dzm_z_perc",
    "dzm_gl_var",
    "dzm_zd_var",
    "dzm_zd_entr",
)
_DEPENDENCES = (
    "ngl_lde",
    "ngl_hde",
    "ngl_lgce",
    "ngl_hgce",
    "ngl_ldlge",
    "ngl_ldhge",
    "ngl_hdlge",
    "ngl_hdhge",
    "ngl_glnu",
    "ngl_glnu_norm",
    "ngl_dcnu",
    "ngl_dcnu_norm",
    "ngl_dc_perc",
    "ngl_gl_var",
    "ngl_dc_var",
    "ngl_dc_entr",
)


def _of_zones(matrix: Matrix, voxels: int, names: Sequence[str]) -> Features:
    """The 16 features that runs, zones and dependences share.

    Emphasis of short and long, and of low and high levels; uniformity, variance and entropy.
    """
    total = matrix.sum()
    p = matrix / total
    i, j = np.arange(1, matrix.shape[0] + 1)[:, None], np.arange(1, matrix.shape[1] + 1)[None]
    of_level, of_length = matrix.sum(axis=1), matrix.sum(axis=0)
    level_mean, length_mean = (i * p).sum(), (j * p).sum()
    values = (
        (p / j**2).sum(),
        (p * j**2).sum(),
        (p / i**2).sum(),
        (p * i**2).sum(),
        (p / (i**2 * j**2)).sum(),
        (p * i**2 / j**2).sum(),
        (p * j**2 / i**2).sum(),
        (p * i**2 * j**2).sum(),
        (of_level**2).sum() / total,
        (of_level**2).sum() / total**2,
        (of_length**2).sum() / total,
        (of_length**2).sum() / total**2,
        total / voxels,
        ((i - level_mean) ** 2 * p).sum(),
        ((j - length_mean) ** 2 * p).sum(),
        _entropy(p),
    )
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _of_dependences(matrix: Matrix, voxels: int) -> Features:
    return {
        **_of_zones(matrix, voxels, _DEPENDENCES),
        "ngl_dc_energy": float(((matrix / matrix.sum()) ** 2).sum()),
    }


def _of_tone_differences(matrix: Matrix) -> Features:
    present = matrix[:, 0] > 0
    i, n, s = np.flatnonzero(present) + 1.0, matrix[present, 0], matrix[present, 1]
    total = n.sum()
    p, levels = n / total, len(n)
    a, b = np.meshgrid(np.arange(levels), np.arange(levels), indexing="ij")
    weighted = (p * s).sum()
    busy = np.abs(i[a] * p[a] - i[b] * p[b]).sum()
    complexity = (np.abs(i[a] - i[b]) * (p[a] * s[a] + p[b] * s[b]) / (p[a] + p[b])).sum() / total
    strength = ((p[a] + p[b]) * (i[a] - i[b]) ** 2).sum() / s.sum() if s.sum() > 0 else 0.0
    pairs = levels * (levels - 1)
    contrast = (p[a] * p[b] * (i[a] - i[b]) ** 2).sum() / pairs * s.sum() / total if pairs else 0.0
    return {
        "ngt_coarseness": float(1 / weighted) if weighted > 0 else 1e6,
        "ngt_contrast": float(contrast),
        "ngt_busyness": float(weighted / busy) if busy > 0 else 0.0,
        "ngt_complexity": float(complexity),
        "ngt_strength": float(strength),
    }


FAMILIES: Mapping[str, tuple[Callable[[Levels, str], Features], tuple[str, ...]]] = {
    "cm": (cooccurrence_features, DIRECTIONAL),
    "rlm": (run_length_features, DIRECTIONAL),
    "szm": (size_zone_features, PLAIN),
    "ngt": (tone_difference_features, PLAIN),
    "ngl": (dependence_features, PLAIN),
}
"""Families of the levels alone with their aggregations; distance zones need the outline too."""


def texture_features(levels: Levels, outlined: Mask, aggregations: Sequence[str]) -> Features:
    """All texture in some aggregations, keyed by IBSI's tags.

    Parameters
    ----------
    levels
        Gray levels of the intensity mask, 0 outside.
    outlined
        The outline (morphological mask) on the same grid.
    aggregations
        Of `DIRECTIONAL` and `PLAIN`.
    """
    found: Features = {}
    for compute, known in FAMILIES.values():
        for aggregation in (a for a in known if a in aggregations):
            found |= {
                f"{name}_{aggregation}": value
                for name, value in compute(levels, aggregation).items()
            }
    for aggregation in (a for a in PLAIN if a in aggregations):
        found |= {
            f"{name}_{aggregation}": value
            for name, value in distance_zone_features(levels, outlined, aggregation).items()
        }
    return found
