"""Bounds for patients of the cohort, by the jackknife of the model that had not seen them.

The jackknife uses models that lack one more fold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dagster_project.radiomics.harmonisation import HarmonisationError
from dagster_project.statistics.jackknife import FEWEST_FOLDS, held_out_bounds
from models.data.datasets import Dataset, DatasetError
from models.data.splits import SplitError
from models.learners.learners import Learner, Section


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

    def fitted(training: np.ndarray, held: np.ndarray) -> np.ndarray:
        model = learner.fit(seen.take(training), section, seed).model
        return model.probabilities(seen.take(held))

    try:
        bounds = held_out_bounds(fitted, fold, probabilities)
    except (SplitError, DatasetError, HarmonisationError) as error:
        return Bounds(empty, empty, f"two folds fewer cannot be trained on: {error}")
    return Bounds(*bounds, "jackknife over models that lack one more fold")
