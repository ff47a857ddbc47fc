"""The ROC curve, the area under it with its interval, and the cut-off of Youden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from scipy.optimize import brentq

from dagster_project.statistics.cross_fitting import fold_variance, of_folds
from dagster_project.statistics.estimate import Estimate, normal_quantile


@dataclass(frozen=True)
class RocPoint:
    """A corner of the curve: the rates where scores at or above `threshold` are called positive.

    A threshold of None calls nobody.
    """

    threshold: float | None
    false_positive_rate: float
    true_positive_rate: float


def roc_points(labels: np.ndarray, scores: np.ndarray) -> tuple[RocPoint, ...]:
    """The ROC curve's corners from (0, 0) to (1, 1), one a distinct score, descending.

    Parameters
    ----------
    labels : bool array (n,)
        Both classes are needed.
    scores : float array (n,)

    Returns
    -------
    tuple of RocPoint

    Examples
    --------
    >>> points = roc_points(np.array([False, True]), np.array([.2, .8]))
    >>> [(p.false_positive_rate, p.true_positive_rate) for p in points]
    [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    """
    thresholds = np.unique(scores)[::-1]
    true_rate = [float(np.mean(scores[labels] >= t)) for t in thresholds]
    false_rate = [float(np.mean(scores[~labels] >= t)) for t in thresholds]
    corners = zip(thresholds.tolist(), false_rate, true_rate, strict=True)
    return (RocPoint(None, 0.0, 0.0), *(RocPoint(*corner) for corner in corners))


def auc_delong(labels: np.ndarray, scores: np.ndarray) -> Estimate:
    """Area under the ROC curve with the interval of DeLong et al. (Biometrics 1988; 44:837-845).

    AUC = P(score of a responder > score of a non-responder) + half the ties. Its variance is
    var(V10)/m + var(V01)/n over the placement values of the m responders and n non-responders
    (midranks after Sun & Xu 2014). The interval is AUC ± z·sd, cut to [0, 1]. The scores must come
    from one model that had seen none of the patients; of several folds' models see `auc_of_folds`.

    Parameters
    ----------
    labels : bool array (n,)
    scores : float array (n,)

    Returns
    -------
    Estimate
        Without a value where a class is missing; without bounds where a class has one patient or
        the placements do not vary.

    Examples
    --------
    >>> auc_delong(np.array([False, False, True, True]), np.array([.1, .4, .35, .8])).value
    0.75
    """
    if labels.all() or not labels.any():
        return Estimate(None, reason="all patients are of one class")
    placements = _placements(labels, scores)
    value = float(placements[0].mean())
    if min(map(len, placements)) < 2:
        return Estimate(value, reason="an interval needs two patients of each class")
    variance = sum(float(v.var(ddof=1)) / len(v) for v in placements)
    if variance <= 0:
        return Estimate(value, reason="the placements do not vary: DeLong's variance is 0")
    reach = normal_quantile() * sqrt(variance)
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))


def auc_of_folds(labels: np.ndarray, scores: np.ndarray, folds: int) -> Estimate:
    """AUC of scores that models of K folds gave the patients they had not seen.

    DeLong's interval with `fold_variance`, cut to [0, 1]. It covers 96 % or more with 60, 200 and
    500 patients; DeLong's own covers 80 to 96 %, the less the weaker the model
    (docs/benchmarks.md). A single model that had seen none of the patients has DeLong's own:
    `auc_delong`.

    Parameters
    ----------
    labels : bool array (n,)
    scores : float array (n,)
        Out of fold.
    folds
        K.

    Returns
    -------
    Estimate
        As `auc_delong` gives it, with the bounds for folds.
    """
    return of_folds(auc_delong(labels, scores), folds, 0.0, 1.0)


def auc_of_few(
    labels: np.ndarray, scores: np.ndarray, folds: int | None = None, share: float = 1.0
) -> Estimate:
    """AUC of a hospital or a subgroup, with Newcombe's interval (Stat Med 2006; 25:559-573).

    The bounds are the AUCs A whose distance from the one found is z √V(A), V being
    `newcombe_variance`: its method 5. They exist for an AUC of 1 as well, and cover 94 to 97 % of
    hospitals of 7 to 170 patients; DeLong's cover 88 to 96 %, and are missing where a hospital's
    scores do not overlap (docs/benchmarks.md).

    Parameters
    ----------
    labels : bool array (n,)
    scores : float array (n,)
    folds
        How many folds' held-out parts the scores were put together from; None for a single model
        that had seen none of the patients.
    share
        These patients' share of all who were cross-fitted; see `fold_variance`.

    Returns
    -------
    Estimate
        Without a value where a class is missing.

    Examples
    --------
    >>> found = auc_of_few(np.arange(8) > 3, np.arange(8.0))
    >>> found.value, round(found.lower, 3), found.upper
    (1.0, 0.582, 1.0)
    """
    if labels.all() or not labels.any():
        return Estimate(None, reason="all patients are of one class")
    value = float(_placements(labels, scores)[0].mean())
    positive, negative = int(labels.sum()), int((~labels).sum())
    below = _newcombe_lower(value, positive, negative)
    above = 1.0 - _newcombe_lower(1.0 - value, positive, negative)
    own = Estimate(value, min(below, value), max(above, value))
    return own if folds is None else of_folds(own, folds, 0.0, 1.0, share=share)


def newcombe_variance(auc: float, positive: int, negative: int) -> float:
    """Variance of an AUC by its true value and the sizes of both classes (Newcombe 2006).

    A (1 - A) [1 + (n/2 - 1)(1 - A)/(2 - A) + (n/2 - 1) A/(1 + A)] / (m k), n = m + k: that of
    Hanley and McNeil (1982; `pooling.hanley_mcneil`) with both classes at their mean size, so that
    exchanging the classes changes nothing.

    Parameters
    ----------
    auc
        A, within 0 and 1.
    positive, negative
        m responders and k others.

    Returns
    -------
    float
    """
    half = (positive + negative) / 2 - 1
    inside = 1 + half * (1 - auc) / (2 - auc) + half * auc / (1 + auc)
    return auc * (1 - auc) * inside / (positive * negative)


def _newcombe_lower(value: float, positive: int, negative: int) -> float:
    if value <= 0:
        return 0.0
    z, tiny = normal_quantile(), 1e-12

    def beyond(auc: float) -> float:
        return value - auc - z * sqrt(newcombe_variance(auc, positive, negative))

    return float(brentq(beyond, 0.0, min(value, 1.0 - tiny), xtol=tiny))


def auc_difference(
    labels: np.ndarray, scores: np.ndarray, reference: np.ndarray, *, folds: int | None = None
) -> tuple[Estimate, float | None]:
    """AUC of `scores` minus AUC of `reference` on the same patients, with DeLong's paired interval.

    Not for two sets of patients.

    Parameters
    ----------
    labels : bool array (n,)
        Both classes are needed.
    scores, reference : float arrays (n,)
    folds
        How many folds' held-out parts both vectors were put together from: interval and p are then
        those of `fold_variance`.

    Returns
    -------
    tuple of Estimate and float or None
        The difference, and its two-sided p; None where the difference has no variance.
    """
    pairs = zip(_placements(labels, scores), _placements(labels, reference), strict=True)
    differences = [a - b for a, b in pairs]
    value = float(differences[0].mean())
    enough = min(map(len, differences)) > 1
    variance = sum(float(v.var(ddof=1)) / len(v) for v in differences) if enough else 0.0
    if variance <= 0:
        reason = "the paired placements do not vary: DeLong's variance is 0"
        return Estimate(value, reason=reason), None
    variance *= 1 if folds is None else fold_variance(folds)
    reach = normal_quantile() * sqrt(variance)
    p = 2 * NormalDist().cdf(-abs(value) / sqrt(variance))
    return Estimate(value, value - reach, value + reach), p


def subgroup_aucs(
    labels: np.ndarray, scores: np.ndarray, groups: Mapping[str, np.ndarray], folds: int
) -> dict[str, dict[str, object]]:
    """AUC of each subgroup with its counts and bounds for folds; empty groups are left out.

    See `auc_of_few`.

    Parameters
    ----------
    labels : bool array (n,)
    scores : float array (n,)
        Out of fold.
    groups
        Name → bool array (n,).
    folds
        How many folds' held-out parts the scores were put together from.

    Returns
    -------
    dict
        Name → `n`, `n_positive` and `auc`, an Estimate.
    """
    return {
        name: {
            "n": int(mask.sum()),
            "n_positive": int(labels[mask].sum()),
            "auc": auc_of_few(labels[mask], scores[mask], folds, float(mask.mean())),
        }
        for name, mask in groups.items()
        if mask.any()
    }


def youden_cutoff(labels: np.ndarray, scores: np.ndarray) -> float:
    """The cut-off that maximises sensitivity + specificity − 1 (Youden 1950).

    Positive is a score at or above it.

    1. Candidates lie midway between neighbouring distinct scores; a single distinct score is the
       only candidate.
    2. Of several maxima the one nearest to 0.5 is taken, then the lower.

    Choose it on training patients only; on the patients it is judged on it flatters.

    Parameters
    ----------
    labels : bool array (n,)
        Both classes are needed.
    scores : float array (n,)

    Returns
    -------
    float
        On the scale of the scores.

    Examples
    --------
    >>> youden_cutoff(np.array([False, False, True, True]), np.array([.1, .3, .5, .9]))
    0.4
    """
    distinct = np.unique(scores)
    candidates = (distinct[1:] + distinct[:-1]) / 2 if distinct.size > 1 else distinct
    responders, others = (_share_from(scores[c], candidates) for c in (labels, ~labels))
    index = responders - others
    best = candidates[index >= index.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _share_from(scores: np.ndarray, cutoffs: np.ndarray) -> np.ndarray:
    """Share of the scores that are at or above each cut-off."""
    shares: np.ndarray = (
        scores.size - np.searchsorted(np.sort(scores), cutoffs, side="left")
    ) / scores.size
    return shares


def _placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each responder the share of non-responders below it, and of each non-responder above."""
    ranks, m, n = _midranks(scores), int(labels.sum()), int((~labels).sum())
    responders = (ranks[labels] - _midranks(scores[labels])) / n
    non_responders = 1.0 - (ranks[~labels] - _midranks(scores[~labels])) / m
    return responders, non_responders


def _midranks(scores: np.ndarray) -> np.ndarray:
    _, where, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[where]
