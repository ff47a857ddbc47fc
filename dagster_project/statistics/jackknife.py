"""Bounds by leaving out one group at a time, where groups are patients or folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from scipy.stats import t

from dagster_project.statistics.estimate import CONFIDENCE
from dagster_project.statistics.logistic import logit, sigmoid


def jackknife_reach(without: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Half width of the 95 % interval by the delete-a-group jackknife.

    With K values z_k, each without one group: t(K - 1) · sqrt((K - 1) / K · sum (z_k - mean z)²)
    (Shao & Wu, Annals of Statistics 1989; 17:1176-1197). Take it on a scale that stabilises the
    variance.

    Parameters
    ----------
    without : float array (K, ...)
        The figure, or many, without each group; K at least 2.
    groups : bool array (K, ...), optional
        Which groups have a part in a figure, where not all have one in each; K is their number.

    Returns
    -------
    float array (...)
        Not finite where fewer than two groups have a part in a figure.
    """
    part = np.ones_like(without, dtype=bool) if groups is None else groups
    k = part.sum(axis=0)
    with np.errstate(all="ignore"):
        mean = np.where(part, without, 0.0).sum(axis=0) / k
        squares = np.where(part, (without - mean) ** 2, 0.0).sum(axis=0)
        return t.ppf(0.5 + CONFIDENCE / 2, k - 1) * np.sqrt((k - 1) / k * squares)


def jackknife_interval(
    probabilities: np.ndarray, of_folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of each patient's probability by the models of the folds.

    z ± `jackknife_reach` on the logit scale. Each model of a fold lacks one fold of the training
    patients. The bounds hold everything that was chosen within a fold: columns, strength,
    temperature, weights of the stack. They say how sure the model is of its own probability, not
    that the probability is right.

    Parameters
    ----------
    probabilities : float array (patients,)
        Of the model fitted on all training patients.
    of_folds : float array (folds, patients)
        Of the models of the folds, for the same patients; none of them was trained on.

    Returns
    -------
    tuple of float arrays (patients,)
        Lower and upper bounds; a probability nearer to 0 or 1 than logits are taken is within them.

    Raises
    ------
    ValueError
        Fewer than two folds.

    Examples
    --------
    >>> low, high = jackknife_interval(np.array([0.5]), np.array([[0.5], [0.5], [0.5]]))
    >>> float(low[0]), float(high[0])
    (0.5, 0.5)
    """
    k = len(of_folds)
    if k < 2:
        raise ValueError(
            f"{k} models of folds: an interval needs two; train with at least two folds"
        )
    z, reach = logit(probabilities), jackknife_reach(logit(of_folds))
    lower, upper = sigmoid(z - reach), sigmoid(z + reach)
    return np.minimum(lower, probabilities), np.maximum(upper, probabilities)


FEWEST_FOLDS = 3
"""With fewer the model of a fold has one group of rows, and nothing to jackknife over."""


def held_out_bounds(
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray],
    folds: np.ndarray,
    probabilities: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of cross-fitted probabilities by models that lack one fold more.

    The model of fold k was fitted on the other folds; they are the groups of `jackknife_interval`.
    No model behind a bound has seen the patient.

    Parameters
    ----------
    predict
        Of the rows to fit on and the rows to predict, two bool arrays (rows,): probabilities of
        the latter.
    folds : int array (rows,)
    probabilities : float array (rows,)
        Each by the model without its fold.

    Returns
    -------
    tuple of float arrays (rows,)
        Lower and upper bounds; NaN with fewer than three folds.
    """
    lower, upper = np.full(folds.size, np.nan), np.full(folds.size, np.nan)
    names = sorted(set(folds.tolist()))
    if len(names) < FEWEST_FOLDS:
        return lower, upper
    each = _without_pairs(predict, folds, names)
    for place, fold in enumerate(names):
        own = folds == fold
        groups = np.delete(each[:, own], place, axis=0)
        lower[own], upper[own] = jackknife_interval(probabilities[own], groups)
    return lower, upper


def _without_pairs(
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray], folds: np.ndarray, names: Sequence[int]
) -> np.ndarray:
    """Row j, column i: by the model without fold j and i's own; NaN where j is i's own."""
    each = np.full((len(names), folds.size), np.nan)
    for one, two in combinations(range(len(names)), 2):
        pair = (names[one], names[two])
        held = np.isin(folds, pair)
        found = np.full(folds.size, np.nan)
        found[held] = predict(~held, held)
        for own, other in ((one, two), (two, one)):
            mine = folds == names[own]
            each[other, mine] = found[mine]
    return each
