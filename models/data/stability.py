"""Which features the readers agree on, judged anew within each training fold.

A fold is judged from the reads of its own patients alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import polars as pl

from dagster_project.statistics.icc import (
    ROUNDING,
    absolute_agreement,
    absolute_agreement_bounds,
    squares_of_pairs,
)
from dagster_project.statistics.icc_by_patient import (
    added_moments,
    fishers_scale,
    reach_by_patient,
    sums_of_moments,
)

Section = Mapping[str, Any]
"""The section [model] of study.toml, and the limit of [agreement] (`Study.learning`)."""

Feature = tuple[str, str]
"""A feature and the region it is measured in."""

_SUMS = (
    "n_pairs",
    "mean_of_means",
    "squares_of_means",
    "mean_difference",
    "squares_of_differences",
    "largest",
)


@dataclass(frozen=True, eq=False)
class ReaderMoments:
    """What two readers' values of a patient amount to; arrays (patients, columns).

    A column is a feature and region. The arrays are n, the pairs of lesion and visit; the mean, and
    the sum of squares about it, of the pairs' means m, and of their differences d; and the largest
    |value|.

    Patients are added up when a fold is fitted, so nothing of a patient left out takes part.
    """

    columns: tuple[Feature, ...]
    n_pairs: np.ndarray
    mean_of_means: np.ndarray
    squares_of_means: np.ndarray
    mean_difference: np.ndarray
    squares_of_differences: np.ndarray
    largest: np.ndarray

    @property
    def digest(self) -> bytes:
        """SHA-256 of columns and numbers."""
        arrays = (getattr(self, name) for name in _SUMS)
        return hashlib.sha256(
            repr(self.columns).encode()
            + b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
        ).digest()

    def take(self, rows: np.ndarray) -> ReaderMoments:
        """The patients of a mask, or in the order of an index."""
        return ReaderMoments(self.columns, *(getattr(self, f.name)[rows] for f in fields(self)[1:]))

    def pooled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pairs, variance of their means, mean difference and variance of differences.

        They are over all patients (Chan, Golub and LeVeque 1983).
        """
        n = self.n_pairs.sum(axis=0)
        figures = [
            added_moments(self.n_pairs, mean, squares)
            for mean, squares in (
                (self.mean_of_means, self.squares_of_means),
                (self.mean_difference, self.squares_of_differences),
            )
        ]
        free = np.maximum(n - 1, 1)
        return n, figures[0][1] / free, figures[1][0], figures[1][1] / free


def build_moments(
    roster: pl.DataFrame, visits: tuple[str, ...], reader_pairs: pl.DataFrame
) -> ReaderMoments:
    """Arrange the moments of the roster's patients at the visits that the task may see.

    Parameters
    ----------
    roster
        `row`, site and patient: the patients, in order.
    reader_pairs
        site, patient, visit, region, feature and the six sums; a row of a later visit changes
        nothing.
    """
    seen = reader_pairs.filter(pl.col("visit").is_in(list(visits)) & (pl.col("n_pairs") > 0)).join(
        roster.select("row", "site", "patient"), on=["site", "patient"]
    )
    offered = (
        seen.select("feature", "region").unique().sort("feature", "region").with_row_index("column")
    )
    placed = seen.join(offered, on=["feature", "region"]).sort("row", "column", "visit")
    index = tuple(placed[c].to_numpy().astype(np.int64) for c in ("row", "column"))
    size = (roster.height, offered.height)
    each = (
        [
            ReaderMoments(
                (), *(_filled(placed.filter(pl.col("visit") == v), name, size) for name in _SUMS)
            )
            for v in visits
        ]
        if index[0].size
        else []
    )
    columns = tuple((f, r) for f, r in offered.select("feature", "region").iter_rows())
    return ReaderMoments(columns, *_of_visits(each, size))


def _filled(placed: pl.DataFrame, name: str, size: tuple[int, int]) -> np.ndarray:
    values = np.zeros(size)
    values[
        placed["row"].to_numpy().astype(np.int64), placed["column"].to_numpy().astype(np.int64)
    ] = placed[name].cast(pl.Float64).to_numpy()
    return values


def _of_visits(each: list[ReaderMoments], size: tuple[int, int]) -> list[np.ndarray]:
    """A patient's visits added up, as patients are later."""
    if not each:
        return [np.zeros(size) for _ in _SUMS]
    stacked = {name: np.stack([getattr(m, name) for m in each]) for name in _SUMS}
    n = stacked["n_pairs"]
    means, differences = (
        added_moments(n, stacked[a], stacked[b])
        for a, b in (
            ("mean_of_means", "squares_of_means"),
            ("mean_difference", "squares_of_differences"),
        )
    )
    return [n.sum(axis=0), *means, *differences, stacked["largest"].max(axis=0)]


@dataclass(frozen=True)
class StableFeatures:
    """The features to leave out because readers disagree on them.

    Fitted on training patients, with the number of features judged and of pairs.
    """

    unstable: frozenset[Feature] = frozenset()
    judged: int = 0
    pairs: int = 0

    @classmethod
    def fitted(cls, moments: ReaderMoments | None, section: Section) -> Self:
        """Judge each feature and region by ICC(2,1) over the pairs of these patients.

        1. Without reads in pairs, or with fewer than `reader_pairs_minimum` of them, nothing is
           judged and nothing left out.
        2. A feature is stable where the lower 95 % bound reaches `feature_icc_lower_minimum`, as in
           the table feature_stability. One that has no bound (copied reads, no spread, pairs of too
           few patients) is not stable; one never measured in pairs is not judged.
        3. Where none is stable nothing is left out either, and `unstable` is empty with `judged`
           above 0: the run's figures show it.
        """
        if (
            moments is None
            or not moments.columns
            or moments.n_pairs.sum(axis=0).max() < section["reader_pairs_minimum"]
        ):
            return cls()
        keep = lower_bounds(moments) >= section["feature_icc_lower_minimum"]
        unstable = (
            frozenset(c for c, stable in zip(moments.columns, keep, strict=True) if not stable)
            if keep.any()
            else frozenset()
        )
        return cls(unstable, len(moments.columns), int(moments.n_pairs.sum(axis=0).max()))

    @property
    def facts(self) -> dict[str, float]:
        """Counts for the log; none where nothing was judged."""
        return (
            {
                "reader_pairs": float(self.pairs),
                "features_judged": float(self.judged),
                "features_unstable": float(len(self.unstable)),
            }
            if self.judged
            else {}
        )

    def leaves_out(self, column: str) -> bool:
        """Whether a column named `feature@region@visits` is of an unstable feature.

        Other columns are of none.
        """
        parts = column.split("@")
        return len(parts) == 3 and (parts[0], parts[1]) in self.unstable


def lower_bounds(moments: ReaderMoments) -> np.ndarray:
    """Lower 95 % bound of ICC(2,1) of each column, by patient; NaN where there is none.

    Computed as in `derive_feature_stability`.
    """
    n, *pooled = moments.pooled()
    tiny = (ROUNDING * moments.largest.max(axis=0, initial=0.0)) ** 2
    rows, columns, residual, within = squares_of_pairs(np.maximum(n, 1), *pooled)
    exists = (n > 1) & (rows > tiny) & (within > tiny) & (residual > tiny)
    with np.errstate(all="ignore"):
        value = absolute_agreement(n, 2, rows, columns, residual)
        for bound in absolute_agreement_bounds(n, 2, rows, columns, residual):
            exists &= np.isfinite(bound) & (bound <= 1)
        low = np.tanh(fishers_scale(value, 2) - _reach(moments))
    return np.where(exists, low, np.nan)


COLUMNS_AT_ONCE = 500
"""Columns whose bounds are computed together: those of all would take some hundred megabytes."""


def _reach(moments: ReaderMoments) -> np.ndarray:
    """Half widths of the bounds on Fisher's scale, without each patient in turn."""
    figures = [getattr(moments, name) for name in _SUMS[:-1]]
    starts = range(0, len(moments.columns), COLUMNS_AT_ONCE)
    parts = [[f[:, i : i + COLUMNS_AT_ONCE] for f in figures] for i in starts]
    return np.concatenate([reach_by_patient(sums_of_moments(*p), "ICC(2,1)") for p in parts])
