"""Lesions as counts of words, the cells of a fixed grid of local features.

A codebook is fitted and applied by adding words up, and no voxel is read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dagster_project.radiomics.habitat_codebook import (
    Codebook,
    CodebookError,
    LocalFeatures,
    Scope,
    codebook_of_points,
    nearest_habitats,
)

WEIGHT_DECIMALS = 6
"""Weights of words are rounded, so that the order in which lesions are added up does not show."""

Values = NDArray[np.float64]
Counts = NDArray[np.int32]


@dataclass(frozen=True)
class HistogramGrid:
    """Edges of the cells in HU, the same for every patient and study.

    What lies outside them counts to the outermost cell.
    """

    density_hu: tuple[float, ...]
    spread_hu: tuple[float, ...]

    @classmethod
    def of(cls, section: Mapping[str, Sequence[float]]) -> HistogramGrid:
        """The grid of study.toml [habitat_histogram]."""
        return cls(
            *(tuple(float(edge) for edge in section[name]) for name in ("density_hu", "spread_hu"))
        )

    @property
    def count(self) -> int:
        """Number of words."""
        return (len(self.density_hu) - 1) * (len(self.spread_hu) - 1)

    @cached_property
    def centres(self) -> Values:
        """Middle of each word's cell: density and spread in HU (words, 2)."""
        density, spread = (
            (np.array(e[1:]) + np.array(e[:-1])) / 2 for e in (self.density_hu, self.spread_hu)
        )
        return np.stack(np.meshgrid(density, spread, indexing="ij"), axis=-1).reshape(-1, 2)

    def words_of(self, features: Values) -> NDArray[np.intp]:
        """Word 1, 2, … of each row of local features (n, 2); 0 is kept for the outside.

        >>> HistogramGrid((-50.0, 0.0, 50.0), (0.0, 10.0, 20.0)).words_of(
        ...     np.array([[-90.0, 3.0], [0.0, 10.0]])
        ... ).tolist()
        [1, 4]
        """
        density, spread = (
            np.digitize(features[:, i], edges[1:-1])
            for i, edges in enumerate((self.density_hu, self.spread_hu))
        )
        return np.asarray(density * (len(self.spread_hu) - 1) + spread + 1, dtype=np.intp)


@dataclass(frozen=True, eq=False)
class BinCounts:
    """Words of lesions and visits, and pairs of words that are 6-neighbours.

    `counts` has one row per lesion and visit: voxels of each word (n, words). The pairs have one
    row per pair of words that occurs: `pair_row` is the lesion's row; `pair_code` is first word ×
    (words + 1) + second, the first not above the second, 0 the outside.
    """

    grid: HistogramGrid
    counts: Counts
    pair_row: Counts
    pair_code: Counts
    pair_count: Counts

    @property
    def digest(self) -> bytes:
        """SHA-256 of grid and numbers."""
        arrays = (self.counts, self.pair_row, self.pair_code, self.pair_count)
        return hashlib.sha256(
            repr(self.grid).encode() + b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
        ).digest()

    def take(self, rows: NDArray[Any]) -> BinCounts:
        """The rows of a mask, in order."""
        place, kept = np.cumsum(rows, dtype=np.int32) - 1, rows[self.pair_row]
        return BinCounts(
            self.grid,
            self.counts[rows],
            place[self.pair_row[kept]],
            self.pair_code[kept],
            self.pair_count[kept],
        )


@dataclass(frozen=True, eq=False)
class CohortHistograms:
    """Words of the lesions of a cohort.

    `keys` has site, patient, visit and lesion of each row; `settings` is study.toml [habitats].
    """

    keys: pl.DataFrame
    words: BinCounts
    settings: Mapping[str, Any]


def count_bins(local: LocalFeatures, grid: HistogramGrid) -> BinCounts:
    """One lesion's words and their neighbours; pairs of two voxels outside are not counted."""
    words = np.zeros(tuple(n + 2 for n in local.mask.shape), dtype=np.int64)
    words[1:-1, 1:-1, 1:-1][local.mask] = found = grid.words_of(local.features)
    codes = []
    for axis in range(3):
        here, there = (
            np.moveaxis(words, axis, 0)[:-1].ravel(),
            np.moveaxis(words, axis, 0)[1:].ravel(),
        )
        either = (here > 0) | (there > 0)
        codes.append(
            np.minimum(here, there)[either] * (grid.count + 1) + np.maximum(here, there)[either]
        )
    code, count = np.unique(np.concatenate(codes), return_counts=True)
    counts = np.bincount(found, minlength=grid.count + 1)[None, 1:].astype(np.int32)
    return BinCounts(
        grid, counts, np.zeros(code.size, np.int32), code.astype(np.int32), count.astype(np.int32)
    )


def stack_histograms(grid: HistogramGrid, lesions: Sequence[BinCounts]) -> BinCounts:
    """One lesion after the other."""
    nothing = [np.zeros(0, np.int32)]
    parts = [
        np.concatenate([getattr(w, name) for w in lesions] or nothing)
        for name in ("pair_code", "pair_count")
    ]
    rows = np.repeat(np.arange(len(lesions), dtype=np.int32), [w.pair_code.size for w in lesions])
    counts = (
        np.concatenate([w.counts for w in lesions])
        if lesions
        else np.zeros((0, grid.count), np.int32)
    )
    return BinCounts(grid, counts, rows, parts[0], parts[1])


def fit_histogram_codebook(
    words: BinCounts,
    of_patient: Sequence[str],
    patients: Collection[str],
    settings: Mapping[str, Any],
    scope: Scope,
) -> Codebook:
    """Fit the habitats on words as `fit_codebook` fits them on voxels.

    A word counts as the middle of its cell, with its count as weight. A lesion and visit weighs at
    most `voxels_per_lesion`. Those below `minimum_voxels` do not take part.

    Parameters
    ----------
    of_patient
        The patient of each row of `words`.
    patients
        All patients of the fold, those without a lesion among them: what `check_fold` asks for.

    Raises
    ------
    CodebookError
        A row of another patient, fewer than `lesions_minimum` lesions and visits, or fewer
        different words than habitats.
    """
    if not set(of_patient) <= set(patients):
        raise CodebookError(
            "words of patients outside the fold were handed over; take the fold's own first"
        )
    total = words.counts.sum(axis=1)
    enough = total >= settings["minimum_voxels"]
    if enough.sum() < settings["lesions_minimum"]:
        raise CodebookError(
            f"{enough.sum()} lesions and visits of at least {settings['lesions_minimum']}"
        )
    share = np.minimum(1.0, settings["voxels_per_lesion"] / total[enough])
    weights = np.round((words.counts[enough] * share[:, None]).sum(axis=0), WEIGHT_DECIMALS)
    known = weights > 0
    who = (
        int(enough.sum()),
        len({p for p, use in zip(of_patient, enough, strict=True) if use}),
        sorted(set(patients)),
    )
    return codebook_of_points(
        words.grid.centres[known], weights[known], settings, settings["seed"], scope, who
    )


@dataclass(frozen=True, eq=False)
class HistogramHabitats:
    """Habitats of lesions and visits: shares, mean local features and contacts.

    `shares` is (n, K), `features` the mean density and spread (n, K, 2; NaN where the habitat is
    absent), and `contacts` (n, K + 1, K + 1).

    `contacts[i, j]` is msi_i_j of `measure_habitats` on both sides of the diagonal, 0 the outside.
    """

    shares: Values
    features: Values
    contacts: Values


def measure_histograms(words: BinCounts, codebook: Codebook) -> HistogramHabitats:
    """Composition, local features and co-occurrence of the habitats.

    Computed by adding up the words nearest to each centre.
    """
    label = np.concatenate([[0], nearest_habitats(words.grid.centres, codebook) + 1])
    member = np.eye(codebook.count + 1)[label[1:]][:, 1:]
    inside = words.counts @ member
    total = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    sums = np.stack(
        [words.counts @ (member * words.grid.centres[:, i : i + 1]) for i in range(2)], axis=-1
    )
    features = np.divide(
        sums, inside[..., None], out=np.full(sums.shape, np.nan), where=inside[..., None] > 0
    )
    return HistogramHabitats(inside / total, features, _contacts(words, label, codebook.count + 1))


def _contacts(words: BinCounts, label: NDArray[np.intp], size: int) -> Values:
    first, second = (
        label[words.pair_code // (words.grid.count + 1)],
        label[words.pair_code % (words.grid.count + 1)],
    )
    n = len(words.counts)
    cell = (words.pair_row.astype(np.int64) * size + np.minimum(first, second)) * size + np.maximum(
        first, second
    )
    pairs = np.bincount(cell, words.pair_count, n * size * size).reshape(n, size, size)
    shares = pairs / np.maximum(pairs.sum(axis=(1, 2), keepdims=True), 1)
    return np.asarray(shares + np.triu(shares, 1).transpose(0, 2, 1))
