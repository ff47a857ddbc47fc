"""The stack: models weighed by what each is worth out of inner fold; it may abstain.

Its members are clinical, size, radiomic and network models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from dagster_project.statistics.logistic import logit, sigmoid
from dagster_project.statistics.roc import youden_cutoff
from models.data.datasets import Dataset
from models.learners.baselines import LinearModel
from models.learners.boosting import BoostedModel
from models.learners.learners import Fit, FittedModel, Learner, Section
from models.learners.networks import NetworkModel

KINDS = {kind.kind: kind for kind in (LinearModel, BoostedModel, NetworkModel)}
"""Classes of members, by the name they are stored under."""

SHRINKAGE = 0.01
"""Penalty on the squared weights: members that tell the same share their weight."""


@dataclass(frozen=True, eq=False)
class StackModel:
    """logit p = b + sum of w_i logit p_i, all w_i >= 0."""

    kind: ClassVar[str] = "fusion"
    names: tuple[str, ...]
    members: tuple[FittedModel, ...]
    weights: np.ndarray
    intercept: float

    def probabilities(self, dataset: Dataset) -> np.ndarray:
        """Probability of response of each row."""
        return sigmoid(self.intercept + self._logits(dataset) @ self.weights)

    def spread(self, dataset: Dataset) -> np.ndarray:
        """How far the members disagree, as a standard deviation of the probability.

        It combines that of the members' probabilities under the weights with that of each network's
        seeds.
        """
        share = self.weights / max(self.weights.sum(), 1e-12)
        each = sigmoid(self._logits(dataset))
        between = (share * (each - (each @ share)[:, None]) ** 2).sum(axis=1)
        within = sum(
            (
                w * m.spread(dataset) ** 2
                for w, m in zip(share, self.members, strict=True)
                if isinstance(m, NetworkModel)
            ),
            np.zeros(len(each)),
        )
        return np.sqrt(between + within)

    def _logits(self, dataset: Dataset) -> np.ndarray:
        return np.column_stack([logit(m.probabilities(dataset)) for m in self.members])

    def tensors(self) -> dict[str, np.ndarray]:
        """The members' tensors under their names, and the weights."""
        own = {"stack/weights": self.weights, "stack/intercept": np.array([self.intercept])}
        return own | {
            f"{n}/{k}": v
            for n, m in zip(self.names, self.members, strict=True)
            for k, v in m.tensors().items()
        }

    def config(self) -> dict[str, Any]:
        """Kind and facts of each member."""
        return {
            "members": {
                n: {"kind": m.kind, "model": m.config()}
                for n, m in zip(self.names, self.members, strict=True)
            }
        }

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> StackModel:
        """The model that `tensors` and `config` were taken from."""
        members = []
        for name, facts in config["members"].items():
            own = {
                k.removeprefix(f"{name}/"): v
                for k, v in tensors.items()
                if k.startswith(f"{name}/")
            }
            members.append(KINDS[facts["kind"]].from_tensors(own, facts["model"]))
        return cls(
            tuple(config["members"]),
            tuple(members),
            tensors["stack/weights"],
            float(tensors["stack/intercept"][0]),
        )


def stack_weights(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and intercept of least log loss on held-out logits, slightly shrunken.

    The logits are (patients, members); the weights are not negative.

    Breiman (Machine Learning 1996; 24:49-64) for why they must not be negative. The scale of the
    weights is the stack's temperature.
    """
    from scipy.optimize import minimize

    n, k = logits.shape

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        z = logits @ theta[:k] + theta[k]
        residual = sigmoid(z) - labels
        gradient = np.append(logits.T @ residual / n + 2 * SHRINKAGE * theta[:k], residual.mean())
        return float(
            np.mean(np.logaddexp(0, z) - labels * z) + SHRINKAGE * (theta[:k] ** 2).sum()
        ), gradient

    found = minimize(
        loss,
        np.append(np.full(k, 1 / k), 0.0),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * k + [(None, None)],
    )
    return found.x[:k], float(found.x[k])


@dataclass
class Remembered:
    """A learner that fits the same rows once.

    The stack reuses the fits that its members have already made.
    """

    learner: Learner
    fits: dict[tuple[str, int], Fit] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the learner."""
        return self.learner.name

    @property
    def blocks(self) -> tuple[str, ...]:
        """Blocks of the learner."""
        return self.learner.blocks

    @property
    def negative_control(self) -> bool:
        """Whether the learner is a control."""
        return self.learner.negative_control

    def fit(self, dataset: Dataset, section: Section, seed: int) -> Fit:
        """The learner's fit; the section must not change in between."""
        key = (dataset.digest, seed)
        if key not in self.fits:
            self.fits[key] = self.learner.fit(dataset, section, seed)
        return self.fits[key]


@dataclass(frozen=True)
class Stack:
    """A `learners.Learner` over its members."""

    members: Sequence[Learner]
    name: str = "fusion"
    negative_control: bool = False

    @property
    def blocks(self) -> tuple[str, ...]:
        """All blocks of the members, each once."""
        return tuple(dict.fromkeys(b for m in self.members for b in m.blocks))

    def fit(self, dataset: Dataset, section: Section, seed: int) -> Fit:
        """Fit on training patients.

        1. Fit each member on its blocks; all of them divide the patients into the same inner folds.
        2. Weigh them by their probabilities out of inner fold.
        3. Choose the cut-off by Youden's index on the stack of those.

        The strength of a penalised member was chosen on the same inner folds: its weight is
        flattered a little, no figure is.
        """
        fits = [m.fit(dataset.of_blocks(m.blocks), section, seed) for m in self.members]
        inner = np.column_stack([logit(f.inner) for f in fits if f.inner is not None])
        weights, intercept = stack_weights(dataset.y, inner)
        model = StackModel(
            tuple(m.name for m in self.members), tuple(f.model for f in fits), weights, intercept
        )
        held_out = sigmoid(intercept + inner @ weights)
        chosen = {f"weight_{m.name}": float(w) for m, w in zip(self.members, weights, strict=True)}
        return Fit(model, youden_cutoff(dataset.y, held_out), chosen, inner=held_out)
