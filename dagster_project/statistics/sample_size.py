"""Whether so many patients suffice for so many columns, by the criteria of Riley and others."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, log, sqrt

from dagster_project.statistics.cross_fitting import fold_variance
from dagster_project.statistics.estimate import normal_quantile
from dagster_project.statistics.roc import newcombe_variance

SHRINKAGE = 0.9
"""Wanted shrinkage of the coefficients: at most a tenth of their size is overfitting."""

OPTIMISM = 0.05
"""Largest difference of apparent and adjusted R² of Nagelkerke.

Also the half width of the interval of the overall share.
"""

EXPECTED_SHARE = 0.15
"""Share of the greatest possible R² that a model is expected to reach where nothing is known.

Riley et al., BMJ 2020; 368:m441.
"""


@dataclass(frozen=True)
class Criterion:
    """A criterion, the patients it asks for, and what it is based on."""

    name: str
    needed: int
    basis: str


def greatest_r2(prevalence: float) -> float:
    """The greatest R² of Cox and Snell at a share φ of responders.

    1 - exp(2 lnL0 / n), lnL0 / n = φ ln φ + (1 - φ) ln(1 - φ).

    Parameters
    ----------
    prevalence
        φ, within 0 and 1.

    Returns
    -------
    float
        Within 0 and 0.75.
    """
    return 1 - exp(2 * (prevalence * log(prevalence) + (1 - prevalence) * log(1 - prevalence)))


def sample_size(
    parameters: int, prevalence: float, r2: float | None = None
) -> tuple[Criterion, ...]:
    """Patients needed to develop a binary prediction model, as pmsampsize counts them.

    Riley et al., Stat Med 2019; 38:1276-1296.

    1. Shrinkage S = 0.9: n = P / ((S - 1) ln(1 - R² / S)).
    2. Optimism of Nagelkerke's R² at most 0.05: the same with S = R² / (R² + 0.05 max R²).
    3. Overall share known to ± 0.05: n = (1.96 / 0.05)² φ (1 - φ).

    The first two are for regressions without a penalty; with one, fewer may do, but how many fewer
    nobody can promise.

    Parameters
    ----------
    parameters
        Columns offered, those a selection leaves out included.
    prevalence
        Share of responders φ.
    r2
        Expected R² of Cox and Snell; EXPECTED_SHARE of the greatest where it is not given.

    Returns
    -------
    tuple of Criterion
        In the order of the rules above.

    Examples
    --------
    >>> [c.needed for c in sample_size(24, 0.174, 0.288)]
    [623, 662, 221]
    """
    greatest = greatest_r2(prevalence)
    expected = EXPECTED_SHARE * greatest if r2 is None else r2
    said = f"{parameters} columns, expected R² {expected:.3f}"
    shrinkages = (SHRINKAGE, expected / (expected + OPTIMISM * greatest))
    needed = [parameters / ((s - 1) * log(1 - expected / s)) for s in shrinkages]
    of_share = ceil((1.96 / OPTIMISM) ** 2 * prevalence * (1 - prevalence))
    return (
        Criterion("shrinkage_0.9", ceil(needed[0]), said),
        Criterion("optimism_0.05", ceil(needed[1]), said),
        Criterion("overall_share_0.05", of_share, f"share of responders {prevalence:.3f}"),
    )


def expected_auc_reach(auc: float, positives: int, negatives: int, folds: int) -> float:
    """Half width of the 95 % interval that so many patients give an AUC out of fold.

    z √(V f), with V of `roc.newcombe_variance` and f of `fold_variance`.

    Parameters
    ----------
    auc
        A, within 0 and 1.
    positives, negatives
        Responders and others.
    folds
        Number of folds.

    Returns
    -------
    float
        On the scale of the AUC.
    """
    variance = newcombe_variance(auc, positives, negatives) * fold_variance(folds)
    return normal_quantile() * sqrt(variance)
