"""Figures on patients a model has not seen: ROC, AUC with DeLong's interval, Youden's cut-off, exact proportions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
"""Two-sided level of every interval here."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its bounds; None with a reason where it, or they, cannot exist."""

    value: float | None
    lower: float | None = None
    upper: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class RocPoint:
    """One corner of the curve: the rates when every score at or above `threshold` is called positive; None calls nobody."""

    threshold: float | None
    false_positive_rate: float
    true_positive_rate: float


@dataclass(frozen=True)
class Evaluation:
    """The first figures of one model's out-of-fold probabilities; `models.appraisal` has the rest.

    Predictive values are those at the cohort's share of responders, which enrolment by outcome fixes at about one half;
    `models.predictive_values` has those at the share in practice.
    """

    auc: Estimate
    sensitivity: Estimate
    specificity: Estimate
    accuracy: Estimate
    ppv: Estimate
    npv: Estimate
    brier: float
    auc_by_site: dict[str, Estimate]
    roc: tuple[RocPoint, ...]


@dataclass(frozen=True)
class Verdict:
    """A rule about a model's figures, said in words; it informs and stops nothing."""

    name: str
    verdict: str
    detail: str


def evaluate(labels: np.ndarray, probabilities: np.ndarray, positive: np.ndarray, sites: Sequence[str], folds: int) -> Evaluation:
    """Evaluate one held-out probability per patient.

    Bounds of an AUC are those for folds (`auc_of_folds`). Sensitivity and the other proportions are those of the cut-offs at hand,
    and their exact bounds cover that (docs/benchmarks.md).

    Parameters
    ----------
    labels : bool array (n,)
        Observed response.
    probabilities : float array (n,)
        Probability of response by a model that had not seen the patient.
    positive : bool array (n,)
        At or above the cut-off chosen on the patients of the other folds.
    sites : sequence of str
        The patients' hospitals.
    folds
        How many folds' held-out parts the probabilities were put together from.
    """
    labels, where = np.asarray(labels, dtype=bool), np.asarray(sites)
    return Evaluation(
        auc=auc_of_folds(labels, probabilities, folds),
        sensitivity=proportion(int(positive[labels].sum()), int(labels.sum())),
        specificity=proportion(int((~positive[~labels]).sum()), int((~labels).sum())),
        accuracy=proportion(int((positive == labels).sum()), labels.size),
        ppv=proportion(int(labels[positive].sum()), int(positive.sum())),
        npv=proportion(int((~labels[~positive]).sum()), int((~positive).sum())),
        brier=float(np.mean((probabilities - labels) ** 2)),
        auc_by_site={site: auc_of_folds(labels[where == site], probabilities[where == site], folds) for site in sorted(set(sites))},
        roc=roc_points(labels, probabilities),
    )


def roc_points(labels: np.ndarray, scores: np.ndarray) -> tuple[RocPoint, ...]:
    """The ROC curve's corners from (0, 0) to (1, 1), one a distinct score, descending; needs both classes.

    >>> [(p.false_positive_rate, p.true_positive_rate) for p in roc_points(np.array([False, True]), np.array([.2, .8]))]
    [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    """
    thresholds = np.unique(scores)[::-1]
    true_rate = [float(np.mean(scores[labels] >= t)) for t in thresholds]
    false_rate = [float(np.mean(scores[~labels] >= t)) for t in thresholds]
    corners = zip(thresholds.tolist(), false_rate, true_rate, strict=True)
    return (RocPoint(None, 0.0, 0.0), *(RocPoint(*corner) for corner in corners))


def auc_delong(labels: np.ndarray, scores: np.ndarray) -> Estimate:
    """Area under the ROC curve with the interval of DeLong et al. (Biometrics 1988; 44:837-845).

    AUC = P(score of a responder > score of a non-responder) + half the ties. Its variance is var(V10)/m + var(V01)/n over the
    placement values of the m responders and n non-responders (midranks after Sun & Xu 2014). The interval is AUC ± z·sd,
    cut to [0, 1]. The scores must come from one model that had seen none of the patients; of several folds' models see `auc_of_folds`.

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
    reach = quantile_of_confidence() * sqrt(variance)
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))


def auc_difference(labels: np.ndarray, scores: np.ndarray, reference: np.ndarray, *, folds: int | None = None) -> tuple[Estimate, float | None]:
    """AUC of `scores` minus AUC of `reference` on the same patients, with DeLong's paired interval and two-sided p.

    Not for two sets of patients; p is None where the difference has no variance.

    Parameters
    ----------
    folds
        How many folds' held-out parts both vectors were put together from: interval and p are then those of `fold_variance`.
    """
    differences = [a - b for a, b in zip(_placements(labels, scores), _placements(labels, reference), strict=True)]
    value = float(differences[0].mean())
    variance = sum(float(v.var(ddof=1)) / len(v) for v in differences) if min(map(len, differences)) > 1 else 0.0
    if variance <= 0:
        return Estimate(value, reason="the paired placements do not vary: DeLong's variance is 0"), None
    variance *= 1 if folds is None else fold_variance(folds)
    reach = quantile_of_confidence() * sqrt(variance)
    return Estimate(value, value - reach, value + reach), 2 * NormalDist().cdf(-abs(value) / sqrt(variance))


def fold_variance(folds: int) -> float:
    """1 + K / (K - 1): by how much the variance of a figure of K folds exceeds that of models given beforehand.

    Models of K folds were fitted on the very patients whom they judge in turn. Nadeau and Bengio (Machine Learning 2003; 52:239-281) give the mean over
    folds the variance (1/K + n_test/n_train) s^2; here n_test / n_train = 1 / (K - 1), and s^2 within one fold is K times DeLong's variance of all.

    >>> fold_variance(5)
    2.25
    """
    return 1 + folds / (folds - 1)


def auc_of_folds(labels: np.ndarray, scores: np.ndarray, folds: int) -> Estimate:
    """AUC of scores that models of K folds gave the patients they had not seen: DeLong's interval with `fold_variance`, cut to [0, 1].

    It covers 95 % or more with 60, 200 and 500 patients; DeLong's own covers 82 to 97 %, the less the weaker the model
    (docs/benchmarks.md). A single model that had seen none of the patients has DeLong's own: `auc_delong`.
    """
    return of_folds(auc_delong(labels, scores), folds, 0.0, 1.0)


def of_folds(estimate: Estimate, folds: int, least: float = -inf, most: float = inf) -> Estimate:
    """A figure of K folds' models with its bounds moved away from it as `fold_variance` asks, cut to what the figure may be."""
    value, lower, upper = estimate.value, estimate.lower, estimate.upper
    if value is None or lower is None or upper is None:
        return estimate
    wider = sqrt(fold_variance(folds))
    return Estimate(value, max(least, value - wider * (value - lower)), min(most, value + wider * (upper - value)))


def _placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ranks, m, n = _midranks(scores), int(labels.sum()), int((~labels).sum())
    responders = (ranks[labels] - _midranks(scores[labels])) / n
    non_responders = 1.0 - (ranks[~labels] - _midranks(scores[~labels])) / m
    return responders, non_responders


def _midranks(scores: np.ndarray) -> np.ndarray:
    _, where, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[where]


def quantile_of_confidence() -> float:
    """The normal quantile that CONFIDENCE leaves on either side."""
    return NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


def youden_cutoff(labels: np.ndarray, scores: np.ndarray) -> float:
    """The cut-off that maximises sensitivity + specificity − 1 (Youden 1950); positive is a score at or above it.

    1. Candidates lie midway between neighbouring distinct scores; a single distinct score is the only candidate.
    2. Of several maxima the one nearest to 0.5 is taken, then the lower.
    Choose it on training patients only; on the patients it is judged on it flatters.

    >>> youden_cutoff(np.array([False, False, True, True]), np.array([.1, .3, .5, .9]))
    0.4
    """
    distinct = np.unique(scores)
    candidates = (distinct[1:] + distinct[:-1]) / 2 if distinct.size > 1 else distinct
    index = np.array([np.mean(scores[labels] >= c) - np.mean(scores[~labels] >= c) for c in candidates])
    best = candidates[index >= index.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def proportion(successes: int, total: int) -> Estimate:
    """A proportion with the exact interval of Clopper and Pearson (1934).

    >>> round(proportion(7, 20).lower, 4), round(proportion(7, 20).upper, 4)
    (0.1539, 0.5922)
    """
    from scipy.stats import binomtest

    if not total:
        return Estimate(None, reason="no patient of this class or call")
    interval = binomtest(successes, total).proportion_ci(CONFIDENCE, method="exact")
    return Estimate(successes / total, float(interval.low), float(interval.high))


def leakage_verdict(auc: float, limit: float) -> Verdict:
    """Raise the alarm where a model is better than such models are outside their own paper (published: .72-.82)."""
    if auc >= limit:
        return Verdict("leakage_alarm", "raised", f"out-of-fold AUC {auc:.3f} >= {limit}: look for columns that contain the label before use")
    return Verdict("leakage_alarm", "quiet", f"out-of-fold AUC {auc:.3f} < {limit}")


def control_verdict(auc: Estimate) -> Verdict:
    """The negative control must not tell the classes apart: its interval, for folds, must not lie above 0.5."""
    if auc.value is None or auc.lower is None:
        return Verdict("negative_control", "cannot_evaluate", f"the control's AUC has no interval: {auc.reason}")
    shown = f"AUC {auc.value:.3f} ({auc.lower:.3f} to {auc.upper:.3f}) with the features permuted between patients"
    return Verdict("negative_control", "fail" if auc.lower > 0.5 else "pass", shown)
