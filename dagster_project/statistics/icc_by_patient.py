"""Confidence bounds of an ICC where lesions and visits are clustered within patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.icc import Floats, Form, absolute_agreement, icc, of_mean
from dagster_project.statistics.jackknife import jackknife_reach

MINIMUM_PAIRS = 10
"""Pairs below which no ICC is given.

Of ten independent pairs with a true ICC of 0.85 the 95 % bounds are 0.50 to 0.96 in the median.
"""

MINIMUM_PATIENTS = 3
"""Patients below which there are no bounds: of two the spread has one degree of freedom."""

TOO_FEW_PAIRS = f"fewer than {MINIMUM_PAIRS} pairs"
TOO_FEW_PATIENTS = f"fewer than {MINIMUM_PATIENTS} patients: the confidence bounds do not exist"
ONE_PATIENT_CARRIES_IT = (
    "without one of the patients the form does not exist: the confidence bounds do not exist"
)

NO_BOUNDS_BY_PATIENT = (
    f"fewer than {MINIMUM_PATIENTS} patients, or one without whom the form does not exist: "
    "the confidence bounds do not exist"
)

SINGLE: dict[Form, Form] = {
    "ICC(1,1)": "ICC(1,1)",
    "ICC(2,1)": "ICC(2,1)",
    "ICC(3,1)": "ICC(3,1)",
    "ICC(1,k)": "ICC(1,1)",
    "ICC(2,k)": "ICC(2,1)",
    "ICC(3,k)": "ICC(3,1)",
}
"""The form for a single reader that belongs to each form."""


def icc_by_patient(
    values: Floats, patients: Sequence[tuple[str, str]], form: Form = "ICC(2,1)"
) -> Estimate:
    """ICC of two readers with 95 % bounds by leaving out one patient at a time.

    1. The value is that of `icc`; below `MINIMUM_PAIRS` there is none.
    2. The bounds are z ± t s on Fisher's scale, z = artanh(ICC): s from the values without each
       patient, t of Student's distribution with one degree of freedom fewer than patients
       (`jackknife_reach`). Those of a form for the mean of both readers are Spearman and Brown's
       of the form for a single one.
    3. No bounds where `icc` has none, where there are fewer than `MINIMUM_PATIENTS`, or where the
       rest without one patient has no ICC.

    Bounds that take pairs for independent are too narrow where patients have several lesions;
    percentiles of drawn patients are too narrow where there are few patients. docs/benchmarks.md
    has the coverage of each.

    Parameters
    ----------
    values
        (n pairs, 2), complete; in the measurement's unit.
    patients
        Whose each pair is, n of them.
    form
        One of the six of Shrout & Fleiss.

    Returns
    -------
    Estimate
        Without value or bounds, and with the reason, where they do not exist.

    References
    ----------
    Miller RG. The jackknife - a review. Biometrika 1974; 61: 1-15 (on a scale that stabilises the
    variance).
    """
    if len(values) < MINIMUM_PAIRS:
        return Estimate(None, None, None, TOO_FEW_PAIRS)
    whole, single = icc(values, form), icc(values, SINGLE[form])
    if whole.value is None or whole.lower is None or single.value is None:
        return whole
    own = sums_by_patient(values, patients)
    if own.shape[1] < MINIMUM_PATIENTS:
        return Estimate(whole.value, None, None, TOO_FEW_PATIENTS)
    reach = float(reach_by_patient(own, SINGLE[form]))
    if not np.isfinite(reach):
        return Estimate(whole.value, None, None, ONE_PATIENT_CARRIES_IT)
    low, high = bounds_on_fishers_scale(single.value, reach)
    if form.endswith(",k)"):
        low, high = of_mean(low, 2), of_mean(high, 2)
    return Estimate(whole.value, low, high)


def sums_by_patient(values: Floats, patients: Sequence[tuple[str, str]]) -> Floats:
    """Of each patient the number of pairs, and the sums of m, m², d and d².

    m is the mean of a pair, about that of all pairs; d is its difference.

    Parameters
    ----------
    values
        (n pairs, 2).
    patients
        Whose each pair is.

    Returns
    -------
    float array (5, patients)
    """
    place = {patient: i for i, patient in enumerate(dict.fromkeys(patients))}
    mean, difference = values.mean(axis=1) - values.mean(), values[:, 0] - values[:, 1]
    terms = np.column_stack([np.ones(len(values)), mean, mean**2, difference, difference**2])
    sums = np.zeros((len(place), terms.shape[1]))
    np.add.at(sums, [place[p] for p in patients], terms)
    return sums.T


def added_moments(n: Floats, means: Floats, squares: Floats) -> tuple[Floats, Floats]:
    """Mean of the values of all patients, and the sum of squares about it.

    Chan, Golub & LeVeque 1983: no digits are lost where the values are large.

    Parameters
    ----------
    n, means, squares : float arrays (patients, ...)
        Of each patient the number of values, their mean, and the sum of squares about it.

    Returns
    -------
    tuple of float arrays (...)
        0 without any value.
    """
    mean = (n * means).sum(axis=0) / np.maximum(n.sum(axis=0), 1)
    return mean, squares.sum(axis=0) + (n * (means - mean) ** 2).sum(axis=0)


def sums_of_moments(
    n: Floats, mean: Floats, squares: Floats, mean_difference: Floats, squares_difference: Floats
) -> Floats:
    """`sums_by_patient` of many features, from each patient's moments.

    Parameters
    ----------
    n : float array (patients, features)
        Pairs; 0 where a patient has none, whose other moments are 0 then.
    mean, squares : float arrays (patients, features)
        Mean of the pairs' means m, and the sum of squares about it.
    mean_difference, squares_difference : float arrays (patients, features)
        The same of the differences d.

    Returns
    -------
    float array (5, patients, features)
    """
    centre, _ = added_moments(n, mean, squares)
    away = np.where(n > 0, mean - centre, 0.0)
    return np.stack(
        [
            n,
            n * away,
            squares + n * away**2,
            n * mean_difference,
            squares_difference + n * mean_difference**2,
        ]
    )


def icc_of_sums(sums: Floats, form: Form) -> Floats:
    """ICC of two readers, for a single one, from sums.

    MSR = 2 Σ(m - m̄)² / (n - 1), MSC = n d̄² / 2, MSE = Σ(d - d̄)² / 2 / (n - 1) and
    MSW = Σd² / 2 / n.

    Parameters
    ----------
    sums
        (5, ...), as `sums_by_patient` gives them; several patients' may be added up.
    form
        ICC(1,1), ICC(2,1) or ICC(3,1).

    Returns
    -------
    float array (...)
    """
    n, m, m2, d, d2 = sums
    rows = 2 * (m2 - m**2 / n) / (n - 1)
    if form == "ICC(1,1)":
        within = d2 / 2 / n
        return (rows - within) / (rows + within)
    columns, residual = d**2 / n / 2, (d2 - d**2 / n) / 2 / (n - 1)
    if form == "ICC(3,1)":
        return (rows - residual) / (rows + residual)
    return absolute_agreement(n, 2, rows, columns, residual)


def reach_by_patient(own: Floats, form: Form) -> Floats:
    """Half width on Fisher's scale of the bounds of an ICC of two readers, by leaving out patients.

    Parameters
    ----------
    own
        (5, patients) or (5, patients, features), of each patient.
    form
        ICC(1,1), ICC(2,1) or ICC(3,1).

    Returns
    -------
    float array () or (features,)
        NaN where fewer than `MINIMUM_PATIENTS` have a pair, or the rest without one of them has no
        ICC.
    """
    with np.errstate(all="ignore"):
        without = icc_of_sums(own.sum(axis=1, keepdims=True) - own, form)
    return _reach(without, own[0] > 0, 2)


def reach_of_copies(n: Floats, mean: Floats, squares: Floats, within: Floats, k: int) -> Floats:
    """The same for ICC(1,1) of k measurements of a lesion, none of which is the first.

    With m the mean of a lesion's measurements and v the variance within it: MSR = k var(m),
    MSW = mean(v) and ICC = (MSR - MSW) / (MSR + (k - 1) MSW).

    Parameters
    ----------
    n : float array (patients, features)
        Lesions; 0 where a patient has none, whose other moments are 0 then.
    mean, squares, within : float arrays (patients, features)
        Mean of m, the sum of squares about it, and the mean of v.
    k
        Measurements of a lesion.

    Returns
    -------
    float array (features,)
        As `reach_by_patient` gives it.
    """
    own = sums_of_moments(n, mean, squares, np.zeros_like(n), n * within)
    lesions, m, m2, _, v = own.sum(axis=1, keepdims=True) - own
    with np.errstate(all="ignore"):
        rows, error = k * (m2 - m**2 / lesions) / (lesions - 1), v / lesions
        without = (rows - error) / (rows + (k - 1) * error)
    return _reach(without, n > 0, k)


def _reach(without: Floats, part: np.ndarray, k: int) -> Floats:
    with np.errstate(all="ignore"):
        z = fishers_scale(without, k)
    enough = part.sum(axis=0) >= MINIMUM_PATIENTS
    exists = (np.isfinite(z) | ~part).all(axis=0) & enough
    return np.where(exists, jackknife_reach(np.where(part, z, 0.0), part), np.nan)


def fishers_scale(value: Floats, k: int) -> Floats:
    """Fisher's z of an ICC of k measurements: ½ ln((1 + (k - 1) r) / (1 - r)); artanh of two.

    Parameters
    ----------
    value
        ICC for a single measurement.
    k
        Measurements.

    Returns
    -------
    float array of the same shape

    Examples
    --------
    >>> round(float(fishers_scale(np.array(0.5), 3)), 4)
    0.6931
    """
    # artanh of kr / (2 + (k - 2) r), which is the same and loses no digits of two measurements.
    return np.arctanh(k * value / (2 + (k - 2) * value))


def bounds_on_fishers_scale(value: float, reach: float, k: int = 2) -> tuple[float, float]:
    """Bounds of an ICC that lie symmetrically on `fishers_scale`.

    Parameters
    ----------
    value
        ICC for a single measurement, below 1.
    reach
        Half width on that scale.
    k
        Measurements.

    Returns
    -------
    tuple of float
        Lower and upper bound, within -1 / (k - 1) and 1.

    Examples
    --------
    >>> [round(bound, 4) for bound in bounds_on_fishers_scale(0.0, 0.5)]
    [-0.4621, 0.4621]
    """
    centre = float(fishers_scale(np.array(value), k))
    low, high = (2 * t / (k - (k - 2) * t) for t in np.tanh([centre - reach, centre + reach]))
    return float(low), float(high)
