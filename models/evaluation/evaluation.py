"""First figures of a model on patients it has not seen, and the verdicts that rest on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dagster_project.statistics.binomial import proportion
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.roc import RocPoint, auc_of_few, auc_of_folds, roc_points


@dataclass(frozen=True)
class Evaluation:
    """The first figures of one model's out-of-fold probabilities.

    `models.evaluation.appraisal` has the rest.
    Predictive values are those at the cohort's share of responders, which enrolment by outcome
    fixes at about one half; `statistics.predictive_values` has those at the share in practice.
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
class ModelAlarm:
    """A rule about a model's figures, said in words; it informs and stops nothing."""

    name: str
    verdict: str
    detail: str


def evaluate(
    labels: np.ndarray,
    probabilities: np.ndarray,
    positive: np.ndarray,
    sites: Sequence[str],
    folds: int,
) -> Evaluation:
    """Evaluate one held-out probability per patient.

    Bounds of an AUC and of the accuracy are those for folds. Sensitivity, specificity and
    predictive values are those of the cut-offs at hand, and have exact bounds; docs/benchmarks.md
    has what they cover.

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
        accuracy=of_folds(
            proportion(int((positive == labels).sum()), labels.size), folds, 0.0, 1.0
        ),
        ppv=proportion(int(labels[positive].sum()), int(positive.sum())),
        npv=proportion(int((~labels[~positive]).sum()), int((~positive).sum())),
        brier=float(np.mean((probabilities - labels) ** 2)),
        auc_by_site={
            site: auc_of_few(labels[own], probabilities[own], folds, float(own.mean()))
            for site, own in ((site, where == site) for site in sorted(set(sites)))
        },
        roc=roc_points(labels, probabilities),
    )


def leakage_verdict(auc: float, limit: float) -> ModelAlarm:
    """Raise the alarm where the AUC reaches `limit`.

    Such models reach 0.72 to 0.82 outside their own paper, as published; a better one is suspect.
    """
    if auc >= limit:
        return ModelAlarm(
            "leakage_alarm",
            "raised",
            f"out-of-fold AUC {auc:.3f} >= {limit}: "
            "look for columns that contain the label before use",
        )
    return ModelAlarm("leakage_alarm", "quiet", f"out-of-fold AUC {auc:.3f} < {limit}")


def control_verdict(auc: Estimate) -> ModelAlarm:
    """Whether the negative control tells the classes apart, which it must not.

    It fails where its interval, the one for folds, lies above 0.5.
    """
    if auc.value is None or auc.lower is None:
        return ModelAlarm(
            "negative_control",
            "cannot_evaluate",
            f"the control's AUC has no interval: {auc.reason}",
        )
    shown = (
        f"AUC {auc.value:.3f} ({auc.lower:.3f} to {auc.upper:.3f}) "
        "with the features permuted between patients"
    )
    return ModelAlarm("negative_control", "fail" if auc.lower > 0.5 else "pass", shown)
