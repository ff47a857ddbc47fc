"""How far one patient's probability would move with other training patients: the grouped jackknife over the outer folds."""

from __future__ import annotations

import numpy as np

from models.evaluation import CONFIDENCE
from models.fusion import logit
from models.networks import sigmoid


def jackknife_interval(probabilities: np.ndarray, of_folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of each patient's probability by the models of the folds, each of which lacks one fold of the training patients.

    On the logit scale, with K models z_k: z ± t(K - 1) · sqrt((K - 1) / K · sum (z_k - mean z)²), Shao & Wu's delete-a-group jackknife
    (Annals of Statistics 1989; 17:1176-1197). It holds everything that was chosen within a fold: columns, strength, temperature,
    weights of the stack. It says how sure the model is of its own probability, not that the probability is right.

    Parameters
    ----------
    probabilities : float array (patients,)
        Of the model fitted on all training patients.
    of_folds : float array (folds, patients)
        Of the models of the folds, for the same patients; none of them was trained on.

    Raises
    ------
    ValueError
        Fewer than two folds.

    >>> low, high = jackknife_interval(np.array([0.5]), np.array([[0.5], [0.5], [0.5]]))
    >>> float(low[0]), float(high[0])
    (0.5, 0.5)
    """
    from scipy.stats import t

    k = len(of_folds)
    if k < 2:
        raise ValueError(f"{k} models of folds: an interval needs two; train with at least two folds")
    z, each = logit(probabilities), logit(of_folds)
    deviation = np.sqrt((k - 1) / k * ((each - each.mean(axis=0)) ** 2).sum(axis=0))
    reach = t.ppf(0.5 + CONFIDENCE / 2, k - 1) * deviation
    return sigmoid(z - reach), sigmoid(z + reach)
