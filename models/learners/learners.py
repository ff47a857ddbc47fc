"""The interface that every model must offer.

Networks and baselines are trained, judged and logged by the same code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from models.data.datasets import Dataset

Section = Mapping[str, Any]
"""The section [model] of study.toml."""


class FittedModel(Protocol):
    """A model that can be asked, and written as tensors and plain facts.

    `from_tensors(tensors, config)` gives a model whose probabilities are the same to the last bit;
    `kind` finds the class again.
    """

    kind: ClassVar[str]

    def probabilities(self, dataset: Dataset) -> np.ndarray:
        """Probability of response of each row; each row's depends on that row alone."""

    def tensors(self) -> dict[str, np.ndarray]:
        """Every number the model was fitted with."""

    def config(self) -> dict[str, Any]:
        """Everything else that `from_tensors` needs, as JSON."""


@dataclass(frozen=True)
class Fit:
    """A fitted model, its cut-off, and what was chosen on the way.

    The cut-off is chosen on the model's own training patients out of inner fold.

    `inner` holds the training patients' probabilities out of inner fold, which a stack learns from;
    `curve` the loss an epoch.
    """

    model: FittedModel
    cutoff: float
    chosen: dict[str, float]
    inner: np.ndarray | None = None
    curve: tuple[float, ...] = ()


class Learner(Protocol):
    """Something that learns from a data set and from nothing else.

    `fit` receives training patients only; every choice it makes (imputation, scaling, selection,
    strength, cut-off) is based on them. A learner with `negative_control` is given features
    permuted between patients, and never the registry's alias.
    """

    @property
    def name(self) -> str:
        """Name of the model in every table."""

    @property
    def blocks(self) -> tuple[str, ...]:
        """Blocks of columns it may see."""

    @property
    def negative_control(self) -> bool:
        """True where it must not be able to learn anything."""

    def fit(self, dataset: Dataset, section: Section, seed: int) -> Fit:
        """Learn from the rows of `dataset`, which has the learner's blocks."""
