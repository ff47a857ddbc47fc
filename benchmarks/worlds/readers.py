"""Two readers, perturbed copies and repeats, whose true agreement is known.

A patient has one or more lesion-visits, and a reader's errors on one patient share a part.
Sizes are normal or, as volumes are, lognormal with errors in proportion.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.worlds.cases import Cases
from dagster_project.statistics.agreement import bland_altman, weighted_kappa
from dagster_project.statistics.bootstrap import bootstrap_groups
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.icc import icc
from dagster_project.statistics.icc_by_patient import (
    bounds_on_fishers_scale,
    icc_by_patient,
    reach_of_copies,
)

MORE_LESION_VISITS = 5
"""Mean number of lesion-visits beyond a patient's first."""

BETWEEN_PATIENTS, WITHIN_PATIENTS, SHARED_ERROR, OWN_ERROR, OFFSET = 10.0, 8.0, 2.5, 2.5, 0.8
"""Standard deviations of true sizes and of reading errors, and the second reader's bias; mm."""

LOG_UNIT = 13.0
"""Millimetres of the normal sizes that are one unit of the logarithm of the skewed ones."""

COPIES, COPIED = 3, {3: 36, 8: 96}
"""Copies of a lesion, and lesions of so many hospitals, of which one a patient is copied."""

COPY_ERROR = 0.35
"""Standard deviation between copies, that between lesions being 1."""

GRADES = np.array([-0.3, 0.2])
"""Changes at which a response category ends: PR, SD, PD."""

CHANGE, OF_PATIENT, READING = 0.35, 0.08, 0.08
"""Standard deviations of the true change, of a reader's error on a patient, and on a visit."""

DRAWS, LATER, MANY = 1000, 200, 200_000
"""Draws of a bootstrap; later differences that limits should hold; patients of a truth."""


def reads(
    patients: int, random: np.random.Generator, *, skewed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of reads (n, 2), and the patient of each."""
    of = np.repeat(np.arange(patients), 1 + random.poisson(MORE_LESION_VISITS, patients))
    size = random.normal(0, BETWEEN_PATIENTS, patients)[of]
    size = size + random.normal(0, WITHIN_PATIENTS, of.size)
    error = random.normal(0, SHARED_ERROR, (patients, 2))[of]
    error = error + random.normal(0, OWN_ERROR, (of.size, 2)) + np.array([0.0, OFFSET])
    both = size[:, None] + error
    return (np.exp(both / LOG_UNIT) if skewed else 30 + both), of


def readers(patients: int, random: np.random.Generator) -> Cases:
    """Agreement of two readers, of perturbed copies, and of response categories."""
    for skewed in (False, True):
        what = "volumes" if skewed else "diameters"
        values, of = reads(patients, random, skewed=skewed)
        truth, whose = _true_icc(skewed), [("S", str(p)) for p in of]
        yield f"ICC of {what}, by patient", icc_by_patient(values, whose), truth
        yield f"ICC of {what}, as if pairs were independent", icc(values), truth
    values, _ = reads(patients, random, skewed=False)
    limits = Estimate(*bland_altman(values))
    later, _ = reads(LATER // MORE_LESION_VISITS, random, skewed=False)
    for difference in later[:, 1] - later[:, 0]:
        yield "limits of agreement, of later differences", limits, float(difference)
    yield _kappa(patients, random)


def copies(hospitals: int, random: np.random.Generator) -> Cases:
    """Perturbed copies of one lesion a patient, which are independent between lesions."""
    lesions = COPIED[hospitals]
    for skewed in (False, True):
        base = random.normal(size=(lesions, 1)) + random.normal(0, COPY_ERROR, (lesions, COPIES))
        values = np.exp(base) if skewed else base
        name = f"ICC of copies, {'skewed' if skewed else 'normal'} features, {hospitals} hospitals"
        truth, exact = _true_icc_of_copies(skewed), icc(values, "ICC(1,1)")
        yield name, _by_patient(values, exact), truth
        yield f"{name}, F distribution", exact, truth


def _by_patient(values: np.ndarray, found: Estimate) -> Estimate:
    """The bounds that `feature_stability` has; each lesion is of a patient of its own."""
    mean, within = values.mean(axis=1), values.var(axis=1, ddof=1)
    one = np.ones((len(values), 1))
    reach = reach_of_copies(one, mean[:, None], 0 * one, within[:, None], values.shape[1])
    assert found.value is not None
    bounds = bounds_on_fishers_scale(found.value, float(reach[0]), values.shape[1])
    return Estimate(found.value, *bounds)


@cache
def _true_icc(skewed: bool) -> float:
    value = icc(reads(MANY, np.random.default_rng(99), skewed=skewed)[0]).value
    assert value is not None
    return value


def _true_icc_of_copies(skewed: bool) -> float:
    """Of normal values by their variances; of lognormal ones by the moments of the lognormal."""
    between, within = 1.0, COPY_ERROR**2
    if not skewed:
        return between / (between + within)
    return float(np.expm1(between) / np.expm1(between + within))


def graded(patients: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Categories (2 visits a patient, 2 readers), and the patient of each row."""
    of = np.repeat(np.arange(patients), 2)
    change = random.normal(-0.1, CHANGE, of.size)[:, None]
    error = random.normal(0, OF_PATIENT, (patients, 2))[of] + random.normal(
        0, READING, (of.size, 2)
    )
    return np.searchsorted(GRADES, change + error), of


def _kappa(patients: int, random: np.random.Generator) -> tuple[str, Estimate, float]:
    codes, of = graded(patients, random)
    number = GRADES.size + 1
    low, high = bootstrap_groups(
        lambda i: weighted_kappa(codes[i, 0], codes[i, 1], number),
        of.tolist(),
        draws=DRAWS,
        seed=int(random.integers(2**31)),
    )
    value = weighted_kappa(codes[:, 0], codes[:, 1], number)
    return "weighted kappa, by patient", Estimate(value, low, high), _true_kappa()


@cache
def _true_kappa() -> float:
    codes, _ = graded(MANY, np.random.default_rng(99))
    value = weighted_kappa(codes[:, 0], codes[:, 1], GRADES.size + 1)
    assert value is not None
    return value
