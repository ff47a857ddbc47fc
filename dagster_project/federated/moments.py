"""Sums of values and of their squares: means, variances and the agreement of readers.

Values are taken about a centre and in a unit that the plan states, near those of the cohort: the
sums then lose nothing to their fixed point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dagster_project.federated.fixed_point import Floats
from dagster_project.federated.refusals import NotFinite
from dagster_project.federated.rows import as_table, check_units
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.icc import TOO_FEW, MeanSquares, icc_of

ROUNDING = 2.0**-16
"""Sums of squares up to it, in squares of the plan's unit, are rounding of the fixed point.

Each hospital rounds a few sums to 2⁻²⁰; those of 16 are off by less.
"""

CLUSTERED = (
    "several pairs of one patient: bounds need each patient's own values, which are not shared"
)


@dataclass(frozen=True)
class ColumnMoments:
    """Of one column: patients with a value, mean, and standard deviation over n − 1.

    Without patients there is no mean, without two no standard deviation.
    """

    n: int
    mean: float | None
    sd: float | None


@dataclass(frozen=True)
class Moments:
    """Means and standard deviations of columns, such as those that a model is standardised by."""

    columns: tuple[str, ...]
    centres: tuple[float, ...]
    units: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse units that are none."""
        check_units(self.units)

    @property
    def length(self) -> int:
        """Values of a vector: of each column, number, sum, sum of squares."""
        return 3 * len(self.columns)

    def vector(self, values: npt.ArrayLike) -> Floats:
        """A hospital's vector.

        Parameters
        ----------
        values : float array (patients, columns)
            NaN where a patient has no value; those are not counted.

        Raises
        ------
        NotFinite
            Where a value is infinite.
        """
        table = as_table(values, len(self.columns))
        broken = np.flatnonzero(np.isinf(table).any(axis=0))
        if broken.size:
            raise NotFinite(broken.tolist())
        known = ~np.isnan(table)
        scaled = np.where(known, (table - self.centres) / self.units, 0.0)
        return np.stack([known.sum(0), scaled.sum(0), (scaled**2).sum(0)]).ravel()

    def read(self, total: Floats) -> dict[str, ColumnMoments]:
        """Moments of each column."""
        counts, sums, squares = total.reshape(3, -1)
        rows = zip(
            self.columns, counts.tolist(), sums, squares, self.centres, self.units, strict=True
        )
        return {name: _moments(round(n), *given) for name, n, *given in rows}


def _moments(n: int, first: float, second: float, centre: float, unit: float) -> ColumnMoments:
    if n < 1:
        return ColumnMoments(n, None, None)
    mean = float(centre + unit * first / n)
    if n < 2:
        return ColumnMoments(n, mean, None)
    spread = max(0.0, second - first**2 / n)
    return ColumnMoments(n, mean, float(unit * np.sqrt(spread / (n - 1))))


@dataclass(frozen=True)
class ReaderAgreement:
    """ICC(A,1) of readers who all read each lesion, from sums (McGraw & Wong's two-way model).

    `one_pair_a_patient` is whether no patient has several rows: only then are there bounds.
    """

    readers: int
    centre: float
    unit: float
    one_pair_a_patient: bool

    def __post_init__(self) -> None:
        """Refuse a unit that is none."""
        check_units([self.unit])

    @property
    def length(self) -> int:
        """Values: rows, sum of each reader, sum of squares, sum of squared sums of a row."""
        return self.readers + 3

    def vector(self, reads: npt.ArrayLike) -> Floats:
        """A hospital's vector.

        Parameters
        ----------
        reads : float array (lesions, readers)
            Complete.

        Raises
        ------
        NotFinite
            Where a read is missing or no number.
        """
        table = (as_table(reads, self.readers) - self.centre) / self.unit
        broken = np.flatnonzero(~np.isfinite(table).all(axis=0))
        if broken.size:
            raise NotFinite(broken.tolist())
        return np.concatenate(
            [[len(table)], table.sum(0), [(table**2).sum(), (table.sum(1) ** 2).sum()]]
        )

    def read(self, total: Floats) -> Estimate:
        """The coefficient as `statistics.icc` has it of all rows together.

        Sums of squares within `ROUNDING` of 0 count as 0. Without bounds, and with the reason,
        where a patient may have several rows.
        """
        n, k = round(float(total[0])), self.readers
        if n < 2 or k < 2:
            return Estimate(None, None, None, TOO_FEW)
        squares = self._mean_squares(n, total[1 : k + 1], float(total[-2]), float(total[-1]))
        tiny = ROUNDING / (n - 1) * self.unit**2
        found = icc_of(squares, "ICC(2,1)", tiny)
        if self.one_pair_a_patient or found.lower is None:
            return found
        return replace(found, lower=None, upper=None, reason=CLUSTERED)

    def _mean_squares(self, n: int, readers: Floats, squares: float, rows: float) -> MeanSquares:
        k, whole = self.readers, float(readers.sum()) ** 2
        total = squares - whole / (n * k)
        of_rows = rows / k - whole / (n * k)
        of_columns = float((readers**2).sum()) / n - whole / (n * k)
        residual = total - of_rows - of_columns
        unit = self.unit**2
        return MeanSquares(
            n,
            k,
            unit * max(0.0, of_rows) / (n - 1),
            unit * max(0.0, of_columns) / (k - 1),
            unit * max(0.0, residual) / ((n - 1) * (k - 1)),
            unit * max(0.0, total - of_rows) / (n * (k - 1)),
        )
