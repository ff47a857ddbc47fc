"""Whether attributions reflect the model and the data at all.

They must change when the model's weights, or the labels it was trained on, are shuffled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.data.datasets import Dataset
from models.evaluation.evaluation import ModelAlarm
from models.evaluation.explanation import attribute, stability
from models.evaluation.training import TrainedModel
from models.learners.fusion import StackModel
from models.learners.learners import FittedModel, Section
from models.learners.networks import NetworkModel, train_side_by_side

ALIKE = 0.5
"""Rank correlation from which attributions of a shuffled model count as unchanged.

The attributions are ranked with their signs.
"""


LEANT_ON = 0.05
"""Share of a stack's weight from which it leans on a member."""


@dataclass(frozen=True)
class SanityCheck:
    """Rank correlations of attributions, None where there is nothing to rank.

    Both shufflings are those of Adebayo et al. (NeurIPS 2018).

    Parameters
    ----------
    between_seeds
        Of the model's own seeds with each other: what one would expect of attributions that mean
        something.
    weights_shuffled, labels_shuffled
        Of the model with the same networks whose weights were permuted within each tensor, and with
        networks trained on permuted labels.
    """

    between_seeds: float | None
    weights_shuffled: float | None
    labels_shuffled: float | None

    @property
    def verdict(self) -> ModelAlarm:
        """Pass where both shufflings change the attributions."""
        pair = (self.weights_shuffled, self.labels_shuffled)
        shown = ", ".join(
            f"{name} {'none' if value is None else f'{value:.2f}'}"
            for name, value in vars(self).items()
        )
        changed = all(abs(v) < ALIKE for v in pair if v is not None)
        found = "pass" if changed else "fail"
        if None in pair:
            found = "cannot_evaluate"
        return ModelAlarm(
            "attribution_sanity",
            found,
            f"rank correlation of attributions: {shown}; "
            f"a shuffled model's must stay below {ALIKE}",
        )


def check_networks(trained: Sequence[TrainedModel], section: Section) -> dict[str, SanityCheck]:
    """The check of every network of a training but the controls, by name."""
    networks = {t.name: (t.final.model, t.dataset) for t in trained if not t.negative_control}
    return {
        n: check_attributions(model, data, section, section["seed"])
        for n, (model, data) in networks.items()
        if isinstance(model, NetworkModel)
    }


def judge_attributions(
    name: str, model: FittedModel, checks: Mapping[str, SanityCheck]
) -> dict[str, ModelAlarm]:
    """Verdicts that a model is based on, by network.

    A network has its own; a stack has those of the networks it leans on; another model has none.
    """
    if not isinstance(model, StackModel):
        return {name: checks[name].verdict} if name in checks else {}
    share = model.weights / max(model.weights.sum(), 1e-12)
    return {
        member: checks[member].verdict
        for member, s in zip(model.names, share, strict=True)
        if s >= LEANT_ON and member in checks
    }


def check_attributions(
    model: NetworkModel, dataset: Dataset, section: Section, seed: int
) -> SanityCheck:
    """Attribute with the model, with shuffled weights, and with shuffled labels.

    The weights are the model's, permuted; the networks of permuted labels are trained from another
    start.
    """
    rng = np.random.default_rng(seed)
    own = attribute(model, dataset)
    shuffled = replace(
        model,
        weights={
            k: rng.permuted(v.reshape(len(v), -1), axis=1).reshape(v.shape)
            for k, v in model.weights.items()
        },
    )
    others = [
        attribute(m, dataset).mean(axis=0).ravel()
        for m in (shuffled, _of_shuffled_labels(model, dataset, section, rng))
    ]
    weights, labels = (stability(np.stack([own.mean(axis=0).ravel(), other])) for other in others)
    return SanityCheck(stability(own.reshape(len(own), -1)), weights, labels)


def _of_shuffled_labels(
    model: NetworkModel, dataset: Dataset, section: Section, rng: np.random.Generator
) -> NetworkModel:
    """As many networks as the model has seeds, trained like it."""
    if dataset.series is None:
        raise ValueError(
            f"task {dataset.task.name}: a network without series; "
            "hand over the data set that it was trained on"
        )
    arrays = model.arrays(dataset)
    seeds = len(next(iter(model.weights.values())))
    weights, _ = train_side_by_side(
        model.facts,
        [arrays] * seeds,
        rng.permutation(dataset.y),
        [np.arange(dataset.y.size)] * seeds,
        section,
        int(rng.integers(2**31)),
    )
    return replace(model, weights=weights)
