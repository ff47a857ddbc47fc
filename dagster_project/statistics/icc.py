"""Intraclass correlation of readers: how much of a measurement's spread is the lesions' own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import stats

from dagster_project.statistics.estimate import CONFIDENCE, Estimate

Floats = npt.NDArray[np.float64]
Form = Literal["ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(1,k)", "ICC(2,k)", "ICC(3,k)"]

ROUNDING = 1e-12
"""Differences this small against the values are rounding, not spread."""

TOO_FEW = "fewer than two lesions or two readers"
NO_SPREAD = "no spread between lesions: agreement cannot be told from chance"
IDENTICAL = (
    "identical reads: no difference to judge by, check that one read was not copied from the other"
)
NOT_FINITE = "values that are no numbers"
NO_ERROR = "no residual between readers: the confidence bounds do not exist"
DISCORDANT = "readers disagree more than lesions differ: the form does not exist"
NO_BOUNDS = "readers disagree more than lesions differ: the confidence bounds do not exist"


@dataclass(frozen=True)
class MeanSquares:
    """Two-way analysis of variance of n lesions by k readers.

    Mean squares of rows, columns and residual, and within rows.
    """

    n: int
    k: int
    rows: float
    columns: float
    residual: float
    within: float


def icc(values: npt.ArrayLike, form: Form = "ICC(2,1)") -> Estimate:
    """Intraclass correlation after Shrout & Fleiss 1979 with 95 % bounds.

    The bounds are McGraw & Wong's (1996, with their errata).

    ICC(2,1) = (MSR - MSE) / (MSR + (k-1) MSE + k (MSC - MSE) / n): two-way random, absolute
    agreement, single measurement. ICC(1,1) takes the readers of a lesion as drawn anew for each
    lesion; use it where the pair of readers differs between lesions. ICC(3, .) does not see a
    reader who always measures 2 mm more. The forms (., k) are about the mean of k readers.

    1. Fewer than two lesions or readers, values that are no numbers, or no spread between lesions:
       no value.
    2. All reads identical: 1 without bounds, with a reason. It is never a reason to let anything
       pass.
    3. No residual though readers differ by a constant: the value without bounds.

    It does not know that several lesions are of one patient; the bounds are too narrow where there
    are many (`icc_by_patient`).

    Parameters
    ----------
    values
        (n lesions, k readers), complete.
    form
        One of the six of Shrout & Fleiss.

    Returns
    -------
    Estimate
        Without value or bounds, and with the reason, by the rules above.

    Examples
    --------
    >>> ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8]]
    >>> ratings += [[7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    >>> round(icc(ratings, "ICC(2,1)").value, 2)
    0.29
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        return Estimate(None, None, None, TOO_FEW)
    if not np.isfinite(table).all():
        return Estimate(None, None, None, NOT_FINITE)
    return icc_of(mean_squares(table), form, tiny=(ROUNDING * float(np.abs(table).max())) ** 2)


def icc_of(squares: MeanSquares, form: Form, tiny: float) -> Estimate:
    """`icc` from the mean squares.

    Parameters
    ----------
    squares
        Of a two-way analysis of variance, in the square of the measurement's unit.
    form
        One of the six of Shrout & Fleiss.
    tiny
        Mean squares up to it are rounding.

    Returns
    -------
    Estimate
        As `icc` gives it.
    """
    if squares.rows <= tiny:
        return Estimate(None, None, None, NO_SPREAD)
    if squares.within <= tiny:
        return Estimate(1.0, None, None, IDENTICAL)
    value = _value(squares, form)
    if value is None:
        return Estimate(None, None, None, DISCORDANT)
    if squares.residual <= tiny and not form.startswith("ICC(1"):
        return Estimate(value, None, None, NO_ERROR)
    bounds = _bounds(squares, form, value)
    return Estimate(value, *bounds) if bounds else Estimate(value, None, None, NO_BOUNDS)


def mean_squares(table: Floats) -> MeanSquares:
    """Mean squares of a complete table.

    Parameters
    ----------
    table
        (n lesions, k readers), at least two of each.

    Returns
    -------
    MeanSquares
        In the square of the measurement's unit.
    """
    n, k = table.shape
    centred = table - table.mean()
    rows, columns = centred.mean(1), centred.mean(0)
    residual = centred - rows[:, None] - columns[None, :]
    return MeanSquares(
        n,
        k,
        float(k * (rows**2).sum() / (n - 1)),
        float(n * (columns**2).sum() / (k - 1)),
        float((residual**2).sum() / ((n - 1) * (k - 1))),
        float(((centred - rows[:, None]) ** 2).sum() / (n * (k - 1))),
    )


N = TypeVar("N", float, Floats)


def squares_of_pairs(
    n: N, variance_of_means: N, mean_difference: N, variance_of_differences: N
) -> tuple[N, N, N, N]:
    """Mean squares of n lesions by two readers, of one feature or, as arrays, of many.

    With m the mean and d the difference of a pair: MSR = 2 var(m), MSC = n mean(d)² / 2,
    MSE = var(d) / 2 and MSW = mean(d²) / 2.

    Parameters
    ----------
    n
        Lesions, at least 1.
    variance_of_means, mean_difference, variance_of_differences
        Of the pairs; both variances over n - 1.

    Returns
    -------
    tuple
        Rows, columns, residual, within.
    """
    within = (variance_of_differences * (n - 1) / n + mean_difference**2) / 2
    return 2 * variance_of_means, n * mean_difference**2 / 2, variance_of_differences / 2, within


def _value(s: MeanSquares, form: Form) -> float | None:
    """Share of the lesions' variance; None where the variances add up to nothing, as (2,k) can."""
    offset = (s.columns - s.residual) / s.n
    error = s.within if form.startswith("ICC(1") else s.residual
    whole = {
        "ICC(1,1)": s.rows + (s.k - 1) * error,
        "ICC(2,1)": s.rows + (s.k - 1) * error + s.k * offset,
        "ICC(3,1)": s.rows + (s.k - 1) * error,
        "ICC(1,k)": s.rows,
        "ICC(2,k)": s.rows + offset,
        "ICC(3,k)": s.rows,
    }[form]
    return (s.rows - error) / whole if whole > max(0.0, s.rows - error) * (1 - ROUNDING) else None


def _bounds(s: MeanSquares, form: Form, value: float) -> tuple[float, float] | None:
    with np.errstate(all="ignore"):
        single = (
            _absolute_bounds(s)
            if form.startswith("ICC(2")
            else _ratio_bounds(s, s.within if form.startswith("ICC(1") else s.residual, form)
        )
    if not all(math.isfinite(b) and b <= 1 for b in single):
        return None
    low, high = (of_mean(b, s.k) for b in single) if form.endswith(",k)") else single
    # The Satterthwaite bounds can miss the value by a hair where it is close to 1.
    return min(low, value), max(high, value)


def of_mean(single: float, k: int) -> float:
    """Spearman-Brown: from the ICC for one reader to that for the mean of k.

    Parameters
    ----------
    single
        ICC for one reader.
    k
        Readers.

    Returns
    -------
    float

    Examples
    --------
    >>> of_mean(0.5, 3)
    0.75
    """
    return k * single / (1 + (k - 1) * single)


def _ratio_bounds(s: MeanSquares, error: float, form: Form) -> tuple[float, float]:
    """Exact bounds of ICC(1,1) and ICC(3,1) from the F distribution."""
    ratio = s.rows / error
    freedom = s.n * (s.k - 1) if form.startswith("ICC(1") else (s.n - 1) * (s.k - 1)
    upper_tail = 0.5 + CONFIDENCE / 2
    low = ratio / stats.f.ppf(upper_tail, s.n - 1, freedom)
    high = ratio * stats.f.ppf(upper_tail, freedom, s.n - 1)
    return float((low - 1) / (low + s.k - 1)), float((high - 1) / (high + s.k - 1))


def _absolute_bounds(s: MeanSquares) -> tuple[float, float]:
    low, high = absolute_agreement_bounds(s.n, s.k, s.rows, s.columns, s.residual)
    return float(low), float(high)


def absolute_agreement(
    n: Floats, k: int, rows: Floats, columns: Floats, residual: Floats
) -> Floats:
    """ICC(2,1) from mean squares, of many features at once; see `icc`.

    Parameters
    ----------
    n
        Lesions.
    k
        Readers.
    rows, columns, residual
        Mean squares.

    Returns
    -------
    float array
        Not finite where the variances add up to nothing.
    """
    return (rows - residual) / (rows + (k - 1) * residual + k * (columns - residual) / n)


def absolute_agreement_bounds(
    n: npt.ArrayLike, k: int, rows: npt.ArrayLike, columns: npt.ArrayLike, residual: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """95 % bounds of ICC(2,1), of one or many features at once.

    Satterthwaite's degrees of freedom for the readers' and residual mean squares together
    (McGraw & Wong 1996).

    Parameters
    ----------
    n
        Lesions.
    k
        Readers.
    rows, columns, residual
        Mean squares.

    Returns
    -------
    tuple of float arrays
        Lower and upper bounds; not finite where they do not exist.
    """
    n, rows, columns, residual = (
        np.asarray(v, dtype=np.float64) for v in (n, rows, columns, residual)
    )
    rho = absolute_agreement(n, k, rows, columns, residual)
    a, b = k * rho / (n * (1 - rho)), 1 + k * rho * (n - 1) / (n * (1 - rho))
    freedom = (a * columns + b * residual) ** 2 / (
        (a * columns) ** 2 / (k - 1) + (b * residual) ** 2 / ((n - 1) * (k - 1))
    )
    upper_tail = 0.5 + CONFIDENCE / 2
    f_low, f_high = stats.f.ppf(upper_tail, n - 1, freedom), stats.f.ppf(upper_tail, freedom, n - 1)
    error = k * columns + (k * n - k - n) * residual
    low = n * (rows - f_low * residual) / (f_low * error + n * rows)
    high = n * (f_high * rows - residual) / (error + n * f_high * rows)
    return low, high
