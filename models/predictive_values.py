"""What a call is worth where responders are as frequent as in practice, not as frequent as enrolment by outcome made them."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from dagster_project.study import SHARE_IN_PRACTICE
from models.evaluation import Estimate, quantile_of_confidence


@dataclass(frozen=True)
class Rates:
    """Sensitivity and specificity as right calls of patients; real numbers, since the adjusted interval adds to the counts."""

    found: float
    responders: float
    cleared: float
    others: float

    @property
    def sensitivity(self) -> float:
        """Responders called positive."""
        return self.found / self.responders

    @property
    def specificity(self) -> float:
        """Others called negative."""
        return self.cleared / self.others

    @property
    def swapped(self) -> Rates:
        """The same with the classes exchanged: its PPV is the NPV."""
        return Rates(self.cleared, self.others, self.found, self.responders)

    @property
    def adjusted(self) -> Rates:
        """With z² / 2 added to the right and to the wrong calls of each class, by which no rate is 0 or 1."""
        z2 = quantile_of_confidence() ** 2
        return Rates(self.found + z2 / 2, self.responders + z2, self.cleared + z2 / 2, self.others + z2)


def predictive_values_in_practice(labels: np.ndarray, positive: np.ndarray, share: float) -> dict[str, Estimate]:
    """PPV and NPV at a share of responders that is known from elsewhere, from the calls of patients enrolled by outcome.

    By Bayes, with share π, sensitivity Se of n1 responders and specificity Sp of n0 others:

    - PPV = Se π / (Se π + (1 - Sp)(1 - π)), NPV = Sp (1 - π) / (Sp (1 - π) + (1 - Se) π).
    - Bounds on the logit scale (Mercaldo, Lau & Zhou, Statistics in Medicine 2007; 26:2170-2183):
      var logit PPV = (1 - Se) / (Se n1) + Sp / ((1 - Sp) n0), var logit NPV = Se / ((1 - Se) n1) + (1 - Sp) / (Sp n0).
    - Where a rate is 0 or 1 the bounds are their adjusted logit's, widened to hold the figure.

    The bounds hold π for certain, and calls as independent; they are silent on whether Se and Sp are the same among patients in practice.

    Parameters
    ----------
    labels, positive : bool array (n,)
        Observed response, and the call on a patient the model had not seen; both classes.
    share : float
        Share of responders in practice.

    Returns
    -------
    dict of str to Estimate
        `ppv_in_practice` and `npv_in_practice`; None with a reason where nobody would be called so.

    Raises
    ------
    ValueError
        The share is not within 0 and 1.

    >>> y, called = np.arange(4) < 2, np.array([True, False, False, False])
    >>> round(predictive_values_in_practice(y, called, 0.48)["npv_in_practice"].value, 4)
    0.6842
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"[endpoints] {SHARE_IN_PRACTICE} is {share}: give a share between 0 and 1")
    n1, n0 = int(labels.sum()), int((~labels).sum())
    rates = Rates(int(positive[labels].sum()), n1, int((~positive[~labels]).sum()), n0)
    return {"ppv_in_practice": _ppv(rates, share), "npv_in_practice": _ppv(rates.swapped, 1.0 - share)}


def _ppv(rates: Rates, share: float) -> Estimate:
    right, wrong = rates.sensitivity * share, (1.0 - rates.specificity) * (1.0 - share)
    if not right + wrong:
        return Estimate(None, reason="nobody is called so")
    value, extreme = right / (right + wrong), {rates.sensitivity, rates.specificity} & {0.0, 1.0}
    low, high = _logit_bounds(rates.adjusted if extreme else rates, share)
    return Estimate(value, min(low, value), max(high, value))


def _logit_bounds(rates: Rates, share: float) -> tuple[float, float]:
    se, sp = rates.sensitivity, rates.specificity
    middle = log(se * share / ((1.0 - sp) * (1.0 - share)))
    reach = quantile_of_confidence() * sqrt((1.0 - se) / (se * rates.responders) + sp / ((1.0 - sp) * rates.others))
    return 1.0 / (1.0 + exp(reach - middle)), 1.0 / (1.0 + exp(-reach - middle))
