"""Figures at the share of responders in practice, which enrolment by outcome does not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from dagster_project.statistics.estimate import Estimate, normal_quantile


@dataclass(frozen=True)
class Rates:
    """Sensitivity and specificity as right calls of patients.

    Real numbers, since the adjusted interval adds to the counts.
    """

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
        """With z² / 2 added to right and wrong calls of each class: no rate is 0 or 1."""
        z2 = normal_quantile() ** 2
        return Rates(
            self.found + z2 / 2, self.responders + z2, self.cleared + z2 / 2, self.others + z2
        )


def predictive_values_in_practice(
    labels: np.ndarray, positive: np.ndarray, share: float
) -> dict[str, Estimate]:
    """PPV and NPV at a known share of responders, from the calls of patients enrolled by outcome.

    By Bayes, with share π, sensitivity Se of n1 responders and specificity Sp of n0 others:

    - PPV = Se π / (Se π + (1 - Sp)(1 - π)), NPV = Sp (1 - π) / (Sp (1 - π) + (1 - Se) π).
    - Bounds on the logit scale (Mercaldo, Lau & Zhou, Statistics in Medicine 2007; 26:2170-2183):
      var logit PPV = (1 - Se) / (Se n1) + Sp / ((1 - Sp) n0),
      var logit NPV = Se / ((1 - Se) n1) + (1 - Sp) / (Sp n0).
    - Where a rate is 0 or 1 the bounds are their adjusted logit's, widened to hold the figure.

    The bounds hold π for certain, and calls as independent (for those of a cross-fitted model see
    `cross_fitting.of_folds`); they are silent on whether Se and Sp are the same among patients in
    practice.

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

    Examples
    --------
    >>> y, called = np.arange(4) < 2, np.array([True, False, False, False])
    >>> round(predictive_values_in_practice(y, called, 0.48)["npv_in_practice"].value, 4)
    0.6842
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"the share of responders is {share}: give a share between 0 and 1")
    n1, n0 = int(labels.sum()), int((~labels).sum())
    rates = Rates(int(positive[labels].sum()), n1, int((~positive[~labels]).sum()), n0)
    return {
        "ppv_in_practice": _ppv(rates, share),
        "npv_in_practice": _ppv(rates.swapped, 1.0 - share),
    }


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
    reach = normal_quantile() * sqrt(
        (1.0 - se) / (se * rates.responders) + sp / ((1.0 - sp) * rates.others)
    )
    return 1.0 / (1.0 + exp(reach - middle)), 1.0 / (1.0 + exp(-reach - middle))


def probability_in_practice(
    probabilities: np.ndarray, enrolled: float, share_in_practice: float
) -> np.ndarray:
    """Probabilities of response among patients of practice, from those among patients enrolled.

    Enrolment by outcome changes the odds of response by one factor, whatever else is known of a
    patient (King & Zeng, Political Analysis 2001; 9:137-163):
    o' = o · [π / (1 - π)] / [e / (1 - e)]. It holds within any group that was not enrolled by
    anything else, and says nothing of patients who differ otherwise.

    Parameters
    ----------
    probabilities : float array of any shape
        Of a model that is calibrated among the patients enrolled.
    enrolled
        e, the share of responders among them.
    share_in_practice
        π.

    Returns
    -------
    float array of the same shape

    Raises
    ------
    ValueError
        A share is not within 0 and 1.

    Examples
    --------
    >>> probability_in_practice(np.array([0.5, 0.8]), 0.5, 0.25).round(3).tolist()
    [0.25, 0.571]
    """
    if not 0.0 < enrolled < 1.0 or not 0.0 < share_in_practice < 1.0:
        raise ValueError("probability_in_practice: give two shares between 0 and 1")
    odds = share_in_practice / (1 - share_in_practice) * (1 - enrolled) / enrolled
    return np.asarray(probabilities * odds / (probabilities * odds + 1 - probabilities))


def outcome_weights(responders: Sequence[bool], share_in_practice: float) -> list[float]:
    """Weights that give patients enrolled by outcome the share of responders that practice has.

    w = pi / p for a responder and (1 - pi) / (1 - p) for another one, p being the share enrolled
    (0.5 in the registration). They sum to the number of patients. What depends on the share of
    responders (disease control, predictive values, survival of the whole) may be weighted; the
    response rate itself becomes pi, which is an assumption and no result.

    Parameters
    ----------
    responders
        Of each patient, whether the tumour responded.
    share_in_practice
        pi, within 0 and 1.

    Returns
    -------
    list of float
        A weight a patient.

    Raises
    ------
    ValueError
        Where all patients are responders, or none is, or the share is not within 0 and 1.

    Examples
    --------
    >>> outcome_weights([True, True, False, False], 0.4)
    [0.8, 0.8, 1.2, 1.2]
    """
    enrolled = sum(responders) / len(responders) if responders else 0.0
    if not 0.0 < enrolled < 1.0 or not 0.0 < share_in_practice < 1.0:
        raise ValueError(
            "outcome_weights: pass patients of both outcomes, and a share between 0 and 1"
        )
    of_responders = share_in_practice / enrolled
    of_others = (1.0 - share_in_practice) / (1.0 - enrolled)
    return [of_responders if r else of_others for r in responders]
