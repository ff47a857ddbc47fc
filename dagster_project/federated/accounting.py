"""What sums with normal noise cost in differential privacy, exactly.

A sum to which each patient adds a vector of norm at most Δ, with normal noise of standard
deviation σ, is μ-Gaussian differentially private with μ = Δ/σ (Dong, Roth & Su 2022). Several cost
μ² = Σ μ_i² together, also where the later are chosen by the results of the earlier, as long as no
step is begun that would exceed the bound (Smith & Thakurta 2022). ε follows from μ and δ by the
exact curve of one normal mechanism (Balle & Wang 2018). Neighbours are cohorts that differ by one
patient who is in one of them alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, inf, isfinite, sqrt

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

LARGEST_MU = 1e3
"""Above it nothing is private."""


def compose(mus: Iterable[float]) -> float:
    """μ of several mechanisms on one cohort: the root of the sum of squares.

    Examples
    --------
    >>> compose([3.0, 4.0])
    5.0
    """
    return sqrt(sum(mu**2 for mu in mus))


def delta_of(mu: float, epsilon: float) -> float:
    """δ of a μ-Gaussian mechanism at ε: Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ).

    Parameters
    ----------
    mu
        0 or more.
    epsilon
        0 or more.

    Returns
    -------
    float
        Within 0 and 1.
    """
    if mu <= 0:
        return 0.0
    second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return max(0.0, float(ndtr(mu / 2 - epsilon / mu)) - exp(second))


def epsilon_of(mu: float, delta: float) -> float:
    """The ε of a μ-Gaussian mechanism at δ.

    Parameters
    ----------
    mu
        0 or more.
    delta
        Within 0 and 1, both excluded.

    Returns
    -------
    float
        0 where δ alone covers it; infinite above `LARGEST_MU`.

    Examples
    --------
    >>> round(epsilon_of(1 / 3.730631634815942, 1e-5), 9)
    1.0
    """
    _check(delta)
    if mu > LARGEST_MU or not isfinite(mu):
        return inf
    if delta_of(mu, 0.0) <= delta:
        return 0.0
    # δ(ε) is below any delta of use where the first term's argument is below −40.
    top = mu * (mu / 2 + 40)
    return float(brentq(lambda e: delta_of(mu, e) - delta, 0.0, top, xtol=1e-13, rtol=1e-14))


def mu_of(epsilon: float, delta: float) -> float:
    """The largest μ within a budget of ε at δ.

    Parameters
    ----------
    epsilon
        Above 0.
    delta
        Within 0 and 1, both excluded.

    Returns
    -------
    float

    Examples
    --------
    >>> round(1 / mu_of(1.0, 1e-5), 6)
    3.730632
    """
    _check(delta)
    if not (isfinite(epsilon) and epsilon > 0):
        raise ValueError("ε is a finite number above 0")
    return float(
        brentq(lambda mu: delta_of(mu, epsilon) - delta, 1e-9, LARGEST_MU, xtol=1e-14, rtol=1e-14)
    )


def noise_for(epsilon: float, delta: float, steps: int) -> float:
    """σ/Δ of each of so many equal steps that cost ε at δ together.

    Examples
    --------
    >>> noise_for(1.0, 1e-5, 4) == 2 * noise_for(1.0, 1e-5, 1)
    True
    """
    return sqrt(steps) / mu_of(epsilon, delta)


def _check(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError("δ is within 0 and 1")
