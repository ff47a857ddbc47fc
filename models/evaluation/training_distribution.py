"""Whom a model was trained on, as means and deviations alone.

With them a stored model can measure how strange a new patient is to it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.data.datasets import Dataset


@dataclass(frozen=True, eq=False)
class TrainingDistribution:
    """Mean and standard deviation of each column over the training patients.

    They name no patient.
    """

    names: tuple[str, ...]
    means: np.ndarray
    deviations: np.ndarray

    @classmethod
    def fitted(cls, dataset: Dataset) -> TrainingDistribution:
        """Over the rows of the data set; a column that none of them has is NaN."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return cls(
                dataset.feature_names, np.nanmean(dataset.X, axis=0), np.nanstd(dataset.X, axis=0)
            )

    @classmethod
    def from_tensors(
        cls, names: tuple[str, ...], tensors: Mapping[str, np.ndarray]
    ) -> TrainingDistribution:
        """The reference that `tensors` was called on."""
        return cls(names, tensors["means"], tensors["deviations"])

    def tensors(self) -> dict[str, np.ndarray]:
        """What is stored beside the names."""
        return {"means": self.means, "deviations": self.deviations}

    def ood_score(self, dataset: Dataset) -> np.ndarray:
        """Root mean square of the z-scores of a row's known columns; NaN without one.

        Columns that do not vary among the training patients, and those that are gone, are left out.
        About 1 for a patient like them; it says nothing of the label.
        """
        place = {name: i for i, name in enumerate(dataset.feature_names)}
        kept = [i for i, name in enumerate(self.names) if name in place]
        x = dataset.X[:, [place[self.names[i]] for i in kept]]
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            z = (x - self.means[kept]) / self.deviations[kept]
            return np.sqrt(np.nanmean(np.where(np.isfinite(z), z, np.nan) ** 2, axis=1))
