"""Gradient boosting over all columns: the strongest thing that is not a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dagster_project.statistics.roc import youden_cutoff
from models.data.datasets import CLINICAL, DELTA, DHI, PD_L1, SIZE, Dataset, DatasetError
from models.data.fold_dhi import limits_facts, limits_of, told_of
from models.data.splits import stratified_folds
from models.data.stability import StableFeatures
from models.learners.learners import Fit, Section

if TYPE_CHECKING:
    from dagster_project.radiomics.dhi_limits import FoldLimits

SETTINGS = {
    "objective": "binary",
    "num_leaves": 7,
    "learning_rate": 0.05,
    "min_data_in_leaf": 15,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
"""Shallow trees, strongly shrunken: hundreds of patients, not thousands."""

ROUNDS = 80
"""Trees."""


@dataclass(frozen=True, eq=False)
class BoostedModel:
    """LightGBM's own text form, which holds numbers and no code."""

    kind: ClassVar[str] = "lightgbm"
    features: tuple[str, ...]
    text: str
    limits: FoldLimits | None = None

    def values(self, dataset: Dataset) -> np.ndarray:
        """The columns it knows, DHI divided by its own limits."""
        return dataset.values_divided(self.features, self.limits)

    def probabilities(self, dataset: Dataset) -> np.ndarray:
        """Probability of response of each row.

        A missing value follows the branch chosen for it in training.
        """
        import lightgbm

        return np.asarray(
            lightgbm.Booster(model_str=self.text).predict(self.values(dataset), num_threads=1)
        )

    def tensors(self) -> dict[str, np.ndarray]:
        """The text as bytes."""
        return {"text": np.frombuffer(self.text.encode(), dtype=np.uint8).copy()}

    def config(self) -> dict[str, Any]:
        """The columns' names, and the limits of DHI."""
        return {"features": list(self.features), **limits_facts(self.limits)}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> BoostedModel:
        """The model that `tensors` and `config` were taken from."""
        return cls(tuple(config["features"]), tensors["text"].tobytes().decode(), limits_of(config))


@dataclass(frozen=True)
class Boosting:
    """A `learners.Learner`; nothing of it is tuned, so its inner folds give the cut-off alone."""

    name: str = "boosting"
    blocks: tuple[str, ...] = (CLINICAL, PD_L1, SIZE, DELTA, DHI)
    negative_control: bool = False

    def fit(self, dataset: Dataset, section: Section, seed: int) -> Fit:
        """Fit on all training patients.

        The cut-off is from fits on the complement of each inner fold.
        """
        scope = f"task {dataset.task.name}, model {self.name}, inner folds"
        fold = stratified_folds(
            dataset.patients,
            dataset.sites,
            dataset.y,
            folds=section["inner_folds"],
            seed=seed,
            scope=scope,
        )
        inner = np.zeros(fold.size)
        for k in range(fold.max() + 1):
            inner[fold == k] = self._boosted(dataset.take(fold != k), section, seed).probabilities(
                dataset.take(fold == k)
            )
        facts = StableFeatures.fitted(dataset.readers, section).facts
        model = self._boosted(dataset, section, seed)
        return Fit(
            model,
            youden_cutoff(dataset.y, inner),
            {"rounds": float(ROUNDS), **facts, **told_of(model.limits)},
            inner=inner,
        )

    def _boosted(self, dataset: Dataset, section: Section, seed: int) -> BoostedModel:
        import lightgbm

        if np.isnan(dataset.X).all():
            raise DatasetError(
                f"task {dataset.task.name}, model {self.name}: "
                f"every column is missing; materialise {', '.join(self.blocks)} first"
            )
        stable = StableFeatures.fitted(dataset.readers, section)
        names = tuple(n for n in dataset.feature_names if not stable.leaves_out(n))
        limits = dataset.fit_dhi_limits()
        if limits:
            limits.check(dataset.patients)
        rows = lightgbm.Dataset(
            dataset.scale_dhi(limits).values_of(names), label=dataset.y.astype(float)
        )
        booster = lightgbm.train({**SETTINGS, "seed": seed % 2**31}, rows, num_boost_round=ROUNDS)
        return BoostedModel(names, booster.model_to_string(), limits)
