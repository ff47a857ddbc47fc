"""A network of several hospitals by federated averaging (McMahan et al. 2017) of secure sums.

1. Moments of the inputs over all hospitals, by which they are scaled.
2. In each round a hospital trains on its own patients from the average of the round before, and
   sends its weights times its patients.
3. Counts of the scores of patients whom a network has not seen, from which the AUC follows.

`folds` networks each leave out a part of every hospital's patients, chosen by a hash of the
pseudonym; the last sees all. Habitats are no nodes here. Nothing is added to the sums: the model
stays within the consortium.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import cos, pi
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_project.federated.counts import ScoreBins
from dagster_project.federated.fixed_point import Floats
from dagster_project.federated.refusals import ColumnsMissing, OtherColumns, WrongLength
from dagster_project.statistics.logistic import sigmoid

if TYPE_CHECKING:
    from dagster_project.federated.plans import NetworkSection
    from models.data.datasets import Dataset
    from models.data.lesion_sequences import LesionSequences

Weights = Mapping[str, np.ndarray]
"""Stacked weights by name, one row a network."""

SCORE_BINS = 2000


@dataclass(frozen=True)
class Averaging:
    """The sums of a plan, and what follows from them."""

    asked: NetworkSection
    regions: tuple[str, ...]
    features: tuple[str, ...]
    visits: tuple[str, ...]
    section: Mapping[str, Any]
    """[model] of the protocol."""

    def __post_init__(self) -> None:
        """Refuse a plan whose units are not one a feature, or whose network is another."""
        if len(self.asked.units) != len(self.features):
            raise OtherColumns(len(self.asked.units), len(self.features))
        found = sum(w[0].size for w in self.start.values())
        if found != self.asked.weights:
            raise WrongLength("the network", found, self.asked.weights)

    @property
    def networks(self) -> int:
        """One a fold, and one of all."""
        return self.asked.folds + 1

    @property
    def facts(self) -> dict[str, Any]:
        """What the architecture is built from."""
        return {
            "architecture": self.asked.architecture,
            "visits": list(self.visits),
            "regions": list(self.regions),
            "features": list(self.features),
            "width": self.section["network_width"],
            "dropout": self.section["network_dropout"],
        }

    @cached_property
    def start(self) -> Weights:
        """Weights that every hospital draws alike."""
        import torch

        from models.learners.networks import architecture

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.asked.seed)
            drawn = architecture(self.asked.architecture, self.facts)
        return {
            name: np.repeat(w.detach().numpy()[None], self.networks, axis=0)
            for name, w in drawn.named_parameters()
        }

    # -- moments of the inputs ---------------------------------------------------------------------

    def moments(self, series: LesionSequences) -> Floats:
        """Number, sum and squares of each region and feature, in the plan's units; days a visit."""
        values = (series.values - np.array(self.asked.centres)) / np.array(self.asked.units)
        flat = values.transpose(2, 4, 0, 1, 3).reshape(len(self.regions) * len(self.features), -1)
        known, days = ~np.isnan(flat), series.days
        filled = np.where(known, flat, 0.0)
        seen = ~np.isnan(days)
        sums = [known.sum(1), filled.sum(1), (filled**2).sum(1)]
        return np.concatenate([*sums, seen.sum(0), np.where(seen, days, 0.0).sum(0)]).astype(float)

    def scaler(self, total: Floats) -> Any:
        """What scales the inputs at every hospital."""
        from models.data.lesion_sequences import SequenceScaler

        shape = len(self.regions), len(self.features)
        size, visits = shape[0] * shape[1], len(self.visits)
        n, first, second = total[: 3 * size].reshape(3, *shape)
        count = np.maximum(n, 1)
        mean = first / count
        spread = np.sqrt(np.maximum(second / count - mean**2, 0.0))
        units, centres = np.array(self.asked.units), np.array(self.asked.centres)
        seen, days = total[3 * size :].reshape(2, visits)
        nominal = np.arange(visits) * 63.0
        return SequenceScaler(
            centres + units * mean,
            np.where(spread > 1e-4, units * spread, np.inf),
            np.where(seen > 0, days / np.maximum(seen, 1), nominal),
        )

    # -- averages ----------------------------------------------------------------------------------

    def flat(self, weights: Weights, patients: np.ndarray, loss: float) -> Floats:
        """Weights times patients of each network, patients, and loss times patients."""
        stacked = [weights[name].reshape(self.networks, -1) for name in self.start]
        rows = np.hstack([*stacked, np.ones((self.networks, 1)), np.full((self.networks, 1), loss)])
        return (rows * patients[:, None]).ravel().astype(np.float64)

    def average(self, total: Floats) -> tuple[Weights, float]:
        """The average of all hospitals' weights, and of their loss."""
        rows = total.reshape(self.networks, -1)
        mean = rows[:, :-2] / rows[:, -2:-1]
        parts = np.split(mean, np.cumsum([w[0].size for w in self.start.values()])[:-1], axis=1)
        named = zip(self.start.items(), parts, strict=True)
        weights = {n: part.reshape(w.shape).astype(np.float32) for (n, w), part in named}
        return weights, float(rows[:, -1].sum() / rows[:, -2].sum())

    def rate(self, number: int) -> float:
        """Falls as a cosine over the rounds."""
        return self.asked.rate * (1 + cos(pi * number / self.asked.average)) / 2


def fold_of(patient: str, folds: int) -> int:
    """The fold of a patient, the same whoever else is there."""
    return int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") % folds


def train(averaging: Averaging, dataset: Dataset) -> Generator[Floats, Floats, dict[str, Any]]:
    """One hospital's vectors, and the result.

    Raises
    ------
    ColumnsMissing
        Where the hospital has no sequence of lesions.
    """
    from models.data.lesion_sequences import arrange
    from models.learners.networks import ensemble_logits

    if dataset.series is None:
        raise ColumnsMissing(["lesion series"])
    series = arrange(dataset.series, averaging.facts)
    scaler = averaging.scaler((yield averaging.moments(series)))
    arrays, folds = scaler.apply(series), averaging.asked.folds
    arrays.pop("contacts", None)
    labels = dataset.y.astype(bool)
    fold = np.array([fold_of(patient, folds) for patient in dataset.patients])
    rows = [np.flatnonzero(fold != k) for k in range(folds)] + [np.arange(len(labels))]
    weights, loss = yield from averaged(averaging, [arrays] * len(rows), labels, rows)
    logits = ensemble_logits(averaging.facts, weights, arrays)
    held_out = sigmoid(logits[fold, np.arange(len(labels))])
    query = ScoreBins(SCORE_BINS)
    total = yield query.vector(labels, held_out)
    return _result(query, total, loss, weights, scaler)


def averaged(
    averaging: Averaging,
    arrays: list[dict[str, np.ndarray]],
    labels: np.ndarray,
    rows: list[np.ndarray],
) -> Generator[Floats, Floats, tuple[Weights, float]]:
    """One hospital's vectors of the rounds; the last average of the weights and of the loss.

    Parameters
    ----------
    arrays
        Scaled inputs of the hospital's patients, for each network.
    labels : bool array (patients,)
    rows
        The patients whom each network is trained on.
    """
    from models.learners.networks import train_side_by_side

    patients = np.array([len(r) for r in rows], dtype=np.float64)
    weights, loss, asked = averaging.start, float("nan"), averaging.asked
    for number in range(asked.average):
        local = {
            **averaging.section,
            "network_epochs": asked.epochs,
            "learning_rate": averaging.rate(number),
            "device": "cpu",
        }
        seed = asked.seed + number
        trained, curve = train_side_by_side(
            averaging.facts, arrays, labels, rows, local, seed, weights
        )
        weights, loss = averaging.average((yield averaging.flat(trained, patients, curve[-1])))
    return weights, loss


UNBOUNDED = "bounds of a cross-fitted AUC need each patient's own values, which are not shared"


def _result(
    query: ScoreBins, total: Floats, loss: float, weights: Weights, scaler: Any
) -> dict[str, Any]:
    """The AUC of patients whom no network had seen, the loss, and the model of all patients."""
    found = query.read(total)
    last = {name: w[-1].tolist() for name, w in weights.items()}
    scaled = {name: part.tolist() for name, part in scaler.tensors().items()}
    return {
        "auc": {"value": found.auc.value, "lower": None, "upper": None, "reason": UNBOUNDED},
        "patients": round(float(total.sum())),
        "loss": loss,
        "own": {"weights": last, "scaler": scaled},
    }
