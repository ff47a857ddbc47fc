"""AUCs of hospitals pooled by random effects; the bounds hold where hospitals are few and small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from scipy.stats import t as student

from dagster_project.statistics.cross_fitting import fold_variance
from dagster_project.statistics.estimate import CONFIDENCE, Estimate
from dagster_project.statistics.roc import auc_of_few

TOO_FEW = "fewer than two sites have both classes"


@dataclass(frozen=True)
class Pooled:
    """The mean AUC of hospitals, I2, and each hospital's own."""

    auc: Estimate
    i2: float | None
    sites: dict[str, Estimate]


def pool_sites(
    labels: np.ndarray, probabilities: np.ndarray, sites: Sequence[str], folds: int
) -> Pooled:
    """AUC of each site and their random-effects mean, with I2 = max(0, (Q - df)/Q).

    1. A site without both classes is shown and left out of the mean. Every other counts, one with
       an AUC of 1 too.
    2. Variance within a site: Hanley and McNeil's (Radiology 1982; 143:29-36) at the AUC of all
       sites together. A site's own DeLong variance is the smaller the better its AUC and 0 at 1:
       weights by it pull the mean away from the best sites.
    3. Variance between sites: DerSimonian and Laird's (Control Clin Trials 1986; 7:177-188).
    4. Bounds: Student's t with k - 1 degrees of freedom and the variance of Hartung and Knapp
       (Stat Med 2001; 20:3875-3889), on the logit scale, times `fold_variance`. Of a model given
       beforehand they would cover 94.7 to 96.5 % without that factor; of models fitted on the very
       patients whom they judge in turn they would cover 80 to 97 % (docs/benchmarks.md).
    5. Each site's own bounds are those of a single model (`roc.auc_of_few`).

    Parameters
    ----------
    labels : bool array (n,)
    probabilities : float array (n,)
        Of models that had not seen the patient.
    sites : sequence of str (n,)
    folds
        How many models gave them: that of the folds, or of the hospitals that were left out in
        turn.

    Returns
    -------
    Pooled
        Without a mean, and with the reason, where fewer than two sites have both classes.
    """
    where = np.asarray(sites)
    each = {
        s: auc_of_few(labels[where == s], probabilities[where == s]) for s in sorted(set(sites))
    }
    usable = {s: e.value for s, e in each.items() if e.value is not None}
    if len(usable) < 2:
        return Pooled(Estimate(None, reason=TOO_FEW), None, each)
    positive, negative = (
        np.array([(of_class & (where == s)).sum() for s in usable], dtype=np.float64)
        for of_class in (labels, ~labels)
    )
    return Pooled(*pool_aucs(np.array(list(usable.values())), positive, negative, folds), each)


def pool_aucs(
    aucs: np.ndarray, positive: np.ndarray, negative: np.ndarray, folds: int | None = None
) -> tuple[Estimate, float]:
    """The mean of k AUCs with its bounds, and I2; see `pool_sites`.

    Parameters
    ----------
    aucs, positive, negative : float arrays (k,)
        AUC, responders and non-responders of each site; k at least 2.
    folds
        How many models gave the scores; None where one model was given beforehand.

    Returns
    -------
    tuple of Estimate and float
        The mean with its bounds, and I2 within 0 and 1.
    """
    pairs = positive * negative
    size = pairs / (positive + negative)
    variance = hanley_mcneil(
        _inside(float((size * aucs).sum() / size.sum()), pairs), positive, negative
    )
    mean, weights, i2 = _random_effects(aucs, variance)
    spread = float((weights * (aucs - mean) ** 2).sum()) / (aucs.size - 1)
    # Sites that agree exactly still have what lies within them.
    factor = 1.0 if folds is None else fold_variance(folds)
    deviation = sqrt(factor * (spread or 1.0) / float(weights.sum()))
    middle = _inside(mean, pairs)
    reach = (
        float(student.ppf(0.5 + CONFIDENCE / 2, aucs.size - 1))
        * deviation
        / (middle * (1 - middle))
    )
    centre = log(middle / (1 - middle))
    lower, upper = (1 / (1 + exp(-(centre + side * reach))) for side in (-1, 1))
    return Estimate(mean, lower, upper), i2


def hanley_mcneil(auc: float, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Variance of an AUC by its value and the sizes of both classes (Hanley & McNeil 1982).

    Parameters
    ----------
    auc
        Within 0 and 1.
    positive, negative : float arrays (k,)
        Patients of each class.

    Returns
    -------
    float array (k,)

    Examples
    --------
    >>> round(float(hanley_mcneil(0.5, np.array([10.0]), np.array([10.0]))[0]), 6)
    0.0175
    """
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (positive - 1) * (q1 - auc**2) + (negative - 1) * (q2 - auc**2)
    return spread / (positive * negative)


def _inside(auc: float, pairs: np.ndarray) -> float:
    """Not nearer to 0 or 1 than half of one pair of patients."""
    edge = 0.5 / float(pairs.sum())
    return min(max(auc, edge), 1 - edge)


def _random_effects(effects: np.ndarray, variance: np.ndarray) -> tuple[float, np.ndarray, float]:
    """Mean, weights, and I2."""
    w = 1 / variance
    q = float((w * (effects - (w * effects).sum() / w.sum()) ** 2).sum())
    df = effects.size - 1
    between = max(0.0, (q - df) / float(w.sum() - (w**2).sum() / w.sum()))
    w = 1 / (variance + between)
    return float((w * effects).sum() / w.sum()), w, max(0.0, (q - df) / q) if q > 0 else 0.0
