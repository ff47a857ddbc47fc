"""Bounds of figures of cross-fitted models, which were fitted on the patients whom they judge."""

from __future__ import annotations

from math import inf, sqrt

from dagster_project.statistics.estimate import Estimate


def fold_variance(folds: int, share: float = 1.0) -> float:
    """1 + q K / (K - 1): by how much a variance over K folds exceeds that of given models.

    Models of K folds were fitted on the very patients whom they judge in turn. Nadeau and Bengio
    (Machine Learning 2003; 52:239-281) give the mean over folds the variance
    (1/K + n_test/n_train) s^2; here n_test / n_train = 1 / (K - 1), and s^2 within one fold is
    K times the variance of all. Of a variance σ²/m over m patients it makes σ² (1/m + 1/n_train):
    for a subgroup with the share q of all patients 1 + q K / (K - 1) times as much.

    Parameters
    ----------
    folds
        K, at least 2.
    share
        q: of all patients who were cross-fitted, those whom the figure is over.

    Returns
    -------
    float
        Above 2 for all patients.

    Examples
    --------
    >>> fold_variance(5), fold_variance(5, share=0.2)
    (2.25, 1.25)
    """
    return 1 + share * folds / (folds - 1)


def of_folds(
    estimate: Estimate, folds: int, least: float = -inf, most: float = inf, *, share: float = 1.0
) -> Estimate:
    """A figure of K folds' models, its bounds moved away from it as `fold_variance` asks.

    Parameters
    ----------
    estimate
        The figure with the bounds that it would have of models given beforehand.
    folds
        K.
    least, most
        What the figure may be; bounds are cut there.
    share
        See `fold_variance`.

    Returns
    -------
    Estimate
        As it was where it has no bounds.
    """
    value, lower, upper = estimate.value, estimate.lower, estimate.upper
    if value is None or lower is None or upper is None:
        return estimate
    wider = sqrt(fold_variance(folds, share))
    return Estimate(
        value,
        max(least, value - wider * (value - lower)),
        min(most, value + wider * (upper - value)),
    )
