"""The Dynamic Heterogeneity Index of patients, by limits of a fold.

The index is divided by limits that the fold fits on its own training patients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from dagster_project.radiomics.dhi_limits import Comparisons, FoldLimits, fit_fold_limits
from dagster_project.radiomics.dhi_limits_fit import COMPONENTS

LIMITED = ("dhi", *(f"u_{c}" for c in COMPONENTS), "dhi_maximum", "dhi_spread")
"""Columns of `dhi` that are based on limits; the others are as the table has them."""


@dataclass(frozen=True, eq=False)
class PatientComparisons:
    """The comparisons of a data set's patients between the visits of its task.

    `at` (n, 3) is patient, pair of visits and lesion of each row.
    """

    at: np.ndarray
    units: np.ndarray
    volumes: np.ndarray
    ratio_row: np.ndarray
    ratios: np.ndarray
    settings: Mapping[str, Any]
    patients: int
    pairs: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> bytes:
        """SHA-256 of numbers and settings."""
        arrays = (self.at, self.units, self.volumes, self.ratio_row, self.ratios)
        facts = repr((self.pairs, sorted(self.settings.items()))).encode()
        return hashlib.sha256(
            facts + b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
        ).digest()

    def take(self, rows: np.ndarray) -> PatientComparisons:
        """The patients of a mask, or in the order of an index without repetition."""
        order, place = np.arange(self.patients)[rows], np.full(self.patients, -1)
        place[order] = np.arange(order.size)
        kept = place[self.at[:, 0]] >= 0
        at = self.at[kept].copy()
        at[:, 0] = place[at[:, 0]]
        repeats, moved = kept[self.ratio_row], np.cumsum(kept) - 1
        return replace(
            self,
            at=at,
            units=self.units[kept],
            volumes=self.volumes[kept],
            ratio_row=moved[self.ratio_row[repeats]],
            ratios=self.ratios[repeats],
            patients=order.size,
        )

    def fit_limits(self, patients: Sequence[str]) -> FoldLimits:
        """Limits from the repeats of these patients alone, who are those of the rows."""
        if len(patients) != self.patients:
            raise ValueError(
                f"{len(patients)} patients for comparisons of {self.patients}; "
                "take both by the same rows"
            )
        behind = np.unique(self.at[np.unique(self.ratio_row)][:, [0, 2]], axis=0)
        return fit_fold_limits(self.ratios, len(behind), patients, self.settings)

    def columns(self, limits: FoldLimits) -> dict[str, np.ndarray]:
        """Each LIMITED column of each pair of visits, named `name@from-to`.

        Computed as `derive_dhi` computes them from lesions; NaN where none was compared.
        """
        units, index = limits.divide(self.units)
        found: dict[str, np.ndarray] = {}
        for k, (a, b) in enumerate(self.pairs):
            mine = self.at[:, 1] == k
            limited = self._of_patients(
                self.at[mine, 0], np.column_stack([index, units])[mine], self.volumes[mine]
            )
            found |= {
                f"{name}@{a}-{b}": values for name, values in zip(LIMITED, limited, strict=True)
            }
        return found

    def _of_patients(
        self, who: np.ndarray, values: np.ndarray, volumes: np.ndarray
    ) -> list[np.ndarray]:
        """Means weighted by volume, then maximum and standard deviation of the first."""
        n, whole = (
            np.bincount(who, minlength=self.patients),
            np.bincount(who, volumes, self.patients),
        )
        nothing = np.full(self.patients, np.nan)
        means = [
            np.divide(
                np.bincount(who, volumes * v, self.patients),
                whole,
                out=nothing.copy(),
                where=whole > 0,
            )
            for v in values.T
        ]
        largest = np.full(self.patients, -np.inf)
        np.maximum.at(largest, who, values[:, 0])
        plain = np.divide(
            np.bincount(who, values[:, 0], self.patients), n, out=nothing.copy(), where=n > 0
        )
        squares = np.bincount(who, (values[:, 0] - plain[who]) ** 2, self.patients)
        spread = np.sqrt(np.divide(squares, n - 1, out=nothing.copy(), where=n > 1))
        return [*means, np.where(n > 0, largest, np.nan), spread]


def place_comparisons(
    roster: pl.DataFrame, pairs: Sequence[tuple[str, str]], comparisons: Comparisons
) -> PatientComparisons:
    """The comparisons of the roster's patients between the pairs of visits of the task.

    `roster` has `row`, site and patient. Comparisons of other patients, or of visits that the task
    may not see, change nothing.
    """
    order = pl.DataFrame(
        [(a, b, k) for k, (a, b) in enumerate(pairs)],
        schema={"from_visit": pl.String, "to_visit": pl.String, "pair": pl.Int64},
        orient="row",
    )
    found = (
        comparisons.keys.with_row_index("at")
        .join(roster.select("row", "site", "patient"), on=["site", "patient"])
        .join(order, on=["from_visit", "to_visit"])
    )
    found = found.sort("row", "pair", "lesion").with_columns(
        place=pl.col("lesion").rank("dense").over("row")
    )
    rows = found["at"].to_numpy().astype(np.int64)
    moved = np.full(comparisons.keys.height, -1)
    moved[rows] = np.arange(rows.size)
    repeats = np.flatnonzero(moved[comparisons.ratio_row] >= 0)
    repeats = repeats[np.argsort(moved[comparisons.ratio_row[repeats]], kind="stable")]
    at = np.column_stack([found[c].to_numpy() for c in ("row", "pair", "place")]).astype(np.int64)
    return PatientComparisons(
        at,
        comparisons.units[rows],
        comparisons.volumes[rows],
        moved[comparisons.ratio_row[repeats]],
        comparisons.ratios[repeats],
        comparisons.settings,
        roster.height,
        tuple(pairs),
    )


def limits_facts(limits: FoldLimits | None) -> dict[str, Any]:
    """What is stored of limits beside a model, as JSON; nothing where it has none."""
    return {"limits": asdict(limits)} if limits else {}


def limits_of(config: Mapping[str, Any]) -> FoldLimits | None:
    """What `limits_facts` was called on."""
    stored = config.get("limits")
    return FoldLimits(**stored | {"components": tuple(stored["components"])}) if stored else None


def told_of(limits: FoldLimits | None) -> dict[str, float]:
    """Counts for the log; none where a model has no limits."""
    return {"dhi_lesions": float(limits.n_lesions), "dhi_limit": limits.combined} if limits else {}
