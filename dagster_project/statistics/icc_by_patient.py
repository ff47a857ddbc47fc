"""Confidence bounds of an ICC where lesions and visits are clustered within patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.icc import Floats, Form, absolute_agreement, icc
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


def icc_by_patient(
    values: Floats, patients: Sequence[tuple[str, str]], form: Form = "ICC(2,1)"
) -> Estimate:
    """ICC of two readers with 95 % bounds by leaving out one patient at a time.

    1. The value is that of `icc`; below `MINIMUM_PAIRS` there is none.
    2. The bounds are z ± t s on Fisher's scale, z = artanh(ICC): s from the values without each
       patient, t of Student's distribution with one degree of freedom fewer than patients
       (`jackknife_reach`).
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
        ICC(1,1) or ICC(2,1).

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
    whole = icc(values, form)
    if whole.value is None or whole.lower is None:
        return whole
    own = sums_by_patient(values, patients)
    if len(own) < MINIMUM_PATIENTS:
        return Estimate(whole.value, None, None, TOO_FEW_PATIENTS)
    with np.errstate(all="ignore"):
        without = np.arctanh(icc_of_sums(own.sum(0) - own, form))
    if not np.isfinite(without).all():
        return Estimate(whole.value, None, None, ONE_PATIENT_CARRIES_IT)
    reach, centre = float(jackknife_reach(without)), float(np.arctanh(whole.value))
    return Estimate(whole.value, float(np.tanh(centre - reach)), float(np.tanh(centre + reach)))


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
    float array (patients, 5)
    """
    place = {patient: i for i, patient in enumerate(dict.fromkeys(patients))}
    mean, difference = values.mean(axis=1) - values.mean(), values[:, 0] - values[:, 1]
    terms = np.column_stack([np.ones(len(values)), mean, mean**2, difference, difference**2])
    sums = np.zeros((len(place), terms.shape[1]))
    np.add.at(sums, [place[p] for p in patients], terms)
    return sums


def icc_of_sums(sums: Floats, form: Form) -> Floats:
    """ICC(1,1) or ICC(2,1) of each row of sums.

    MSR = 2 Σ(m - m̄)² / (n - 1), MSC = n d̄² / 2, MSE = Σ(d - d̄)² / 2 / (n - 1) and
    MSW = Σd² / 2 / n.

    Parameters
    ----------
    sums
        (rows, 5), as `sums_by_patient` gives them; several patients' may be added up.
    form
        ICC(1,1) or ICC(2,1).

    Returns
    -------
    float array (rows,)
    """
    n, m, m2, d, d2 = sums.T
    rows = 2 * (m2 - m**2 / n) / (n - 1)
    if form == "ICC(1,1)":
        within = d2 / 2 / n
        return (rows - within) / (rows + within)
    columns, residual = d**2 / n / 2, (d2 - d**2 / n) / 2 / (n - 1)
    return absolute_agreement(n, 2, rows, columns, residual)
