"""From a probability to its logit and back, without overflow and without infinite logits."""

from __future__ import annotations

import numpy as np

LEAST_PROBABILITY = 1e-6
"""How near to 0 or 1 a probability counts before its logit is taken."""


def logit(p: np.ndarray) -> np.ndarray:
    """ln(p / (1 - p)), p kept off 0 and 1 by `LEAST_PROBABILITY`.

    Parameters
    ----------
    p : float array of any shape
        Probabilities.

    Returns
    -------
    float array of the same shape
    """
    clipped = np.clip(p, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.log(clipped / (1 - clipped))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow.

    Parameters
    ----------
    logits : float array of any shape

    Returns
    -------
    float array of the same shape
        Probabilities.
    """
    return np.exp(-np.logaddexp(0.0, -logits))
