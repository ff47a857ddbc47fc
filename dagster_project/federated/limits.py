"""DHI's limits from the held-back ratios of all hospitals: quantiles of counts on a fine grid.

Two rounds, as `radiomics.dhi_limits_fit.fit_limits` has two steps: the quantile of each component,
then that of the combination divided by them. The bins are equal on a logarithmic scale, so that a
limit is within `REACH` of that of the ratios themselves, relative to its size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dagster_project.federated.counts import Counts, whole_numbers
from dagster_project.federated.fixed_point import Floats
from dagster_project.federated.refusals import OutsideGrid
from dagster_project.federated.rows import as_table
from dagster_project.radiomics.dhi_limits_fit import COMPONENTS, Limits

SMALLEST, LARGEST = 0.02, 50.0
"""Ends of the grid: a ratio of 1 is a repeat as far apart as its null."""

BINS = 2000
"""Between the ends; four components with the bins outside fit into one ciphertext."""

REACH = float(np.sqrt(LARGEST / SMALLEST) ** (1 / BINS) - 1)
"""Half a bin, relative: 0.2 %."""

EDGES = np.geomspace(SMALLEST, LARGEST, BINS + 1)
MIDDLES = np.sqrt(EDGES[1:] * EDGES[:-1])


def _counted(values: Floats) -> Floats:
    """Values by bin: those below the grid first, those above last."""
    bins = np.searchsorted(EDGES, values, side="right")
    return np.bincount(bins, minlength=BINS + 2).astype(np.float64)


def _quantile(counts: Counts, quantile: float) -> float:
    """Linear between neighbours (Hyndman & Fan's definition 7), each in the middle of its bin.

    Raises
    ------
    OutsideGrid
        Where a neighbour is in no bin, or there are no values.
    """
    n = int(counts.sum())
    if not n:
        raise OutsideGrid
    place = quantile * (n - 1)
    low = int(np.floor(place))
    bins = np.searchsorted(np.cumsum(counts), [low, min(low + 1, n - 1)], side="right") - 1
    if (bins < 0).any() or (bins >= BINS).any():
        raise OutsideGrid
    first, second = MIDDLES[bins]
    return float(first + (place - low) * (second - first))


@dataclass(frozen=True)
class ComponentRatios:
    """First round: held-back ratios of each component, and the number of lesions."""

    quantile: float

    @property
    def length(self) -> int:
        """Values of a vector."""
        return len(COMPONENTS) * (BINS + 2) + 1

    def vector(self, ratios: Floats, n_lesions: int) -> Floats:
        """A hospital's vector.

        Parameters
        ----------
        ratios : float array (pairs of copies, components)
            Rows with what is no number are left out, as `fit_limits` does.
        n_lesions
            Lesions that they are of.
        """
        known = _known(ratios)
        return np.concatenate([*(_counted(column) for column in known.T), [n_lesions]])

    def read(self, total: Floats) -> tuple[tuple[float, ...], int]:
        """q_c of each component, and the number of lesions.

        Raises
        ------
        NotCounts, OutsideGrid
        """
        counts = whole_numbers(total)
        by_component = counts[:-1].reshape(len(COMPONENTS), -1)
        return tuple(_quantile(c, self.quantile) for c in by_component), int(counts[-1])


@dataclass(frozen=True)
class CombinedRatios:
    """Second round: sqrt(mean u_c²), u_c = ratio / q_c of the first round."""

    quantile: float
    components: tuple[float, ...]
    n_lesions: int

    @property
    def length(self) -> int:
        """Values of a vector."""
        return BINS + 2

    def vector(self, ratios: Floats) -> Floats:
        """A hospital's vector, of the ratios of the first round."""
        units = _known(ratios) / self.components
        return _counted(np.sqrt(np.mean(units**2, axis=1)))

    def read(self, total: Floats) -> Limits:
        """The limits of all hospitals' lesions.

        Raises
        ------
        NotCounts, OutsideGrid
        """
        combined = _quantile(whole_numbers(total), self.quantile)
        return Limits(self.components, combined, self.n_lesions)


def _known(ratios: Floats) -> Floats:
    table = as_table(ratios, len(COMPONENTS))
    return table[np.isfinite(table).all(axis=1)]
