"""Bounds for patients of the cohort, by the jackknife of the model that had not seen them.

The jackknife uses models that lack one more fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dagster_project.radiomics.harmonisation import HarmonisationError
from dagster_project.statistics.jackknife import jackknife_interval
from models.data.datasets import Dataset, DatasetError
from models.data.splits import SplitError
from models.learners.learners import Learner, Section

FEWEST_FOLDS = 3
"""Fewest folds for bounds.

With fewer, the model of a fold has one group of training patients, and nothing to jackknife over.
"""


@dataclass(frozen=True, eq=False)
class Bounds:
    """Bounds of each patient's probability out of fold.

    `method` says how they were found; or why there are none, and then they are NaN throughout.
    """

    lower: np.ndarray
    upper: np.ndarray
    method: str


def jackknife_intervals(
    learner: Learner,
    seen: Dataset,
    fold: np.ndarray,
    probabilities: np.ndarray,
    section: Section,
    seed: int,
) -> Bounds:
    """Bounds of each probability out of fold, by the same jackknife as those of a new patient.

    The model of fold k was trained on the other folds; they are its groups. Its patients' bounds
    come from models that lack fold k and one group more each, so none of the models behind a bound
    has seen the patient. The model without j and k is the same for the patients of either: with K
    folds there are K (K - 1) / 2 fits, each patient has K - 1 groups, and Student's t has K - 2
    degrees of freedom.

    Parameters
    ----------
    seen : Dataset
        What the learner saw: its blocks, for a control permuted.
    fold, probabilities : array (patients,)
        Of the cross-fit.
    """
    number, empty = int(fold.max()) + 1, np.full(fold.size, np.nan)
    if number < FEWEST_FOLDS:
        return Bounds(
            empty, empty, f"{number} folds; a held-out patient's interval needs {FEWEST_FOLDS}"
        )
    try:
        each = _without_pairs(learner, seen, fold, section, seed)
    except (SplitError, DatasetError, HarmonisationError) as error:
        return Bounds(empty, empty, f"two folds fewer cannot be trained on: {error}")
    lower, upper = empty.copy(), empty.copy()
    for k in range(number):
        groups = np.delete(each[:, fold == k], k, axis=0)
        lower[fold == k], upper[fold == k] = jackknife_interval(probabilities[fold == k], groups)
    return Bounds(lower, upper, "jackknife over models that lack one more fold")


def _without_pairs(
    learner: Learner, seen: Dataset, fold: np.ndarray, section: Section, seed: int
) -> np.ndarray:
    """Row j, patient i: the probability by the model without fold j and i's own fold.

    NaN where j is i's own.
    """
    each = np.full((fold.max() + 1, fold.size), np.nan)
    for pair in combinations(range(len(each)), 2):
        model = learner.fit(seen.take(~np.isin(fold, pair)), section, seed).model
        for own, other in (pair, pair[::-1]):
            each[other, fold == own] = model.probabilities(seen.take(fold == own))
    return each
