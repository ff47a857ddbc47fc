"""Both networks and the logistic model: one hospital alone, all rows in one place, federated.

Simulated cohorts are trained on, one the size of the study each; all models are judged on one other
simulated cohort. Sums go through the fixed point; masks and encryption change nothing in a sum.

- alone: each hospital's own model, mean over hospitals
- pooled: all patients in one place; networks by the study's own training, one seed of it
- federated: the secure sum without noise; networks by `federated.network`, one epoch a round, as
  many rounds as the protocol has epochs
- ε: clipped gradients of all patients, one noise for all, δ = 1e-5, 8 hospitals. No plan does this
  for networks: it is measured here alone. Inputs are scaled by another cohort, which costs no ε.
  Settings are the best of five on cohorts 101 and 102, judged on cohort 103.

    python -m benchmarks.federated_networks [--seeds 1 2 3 4 5 6] [--patients 500] [--starts 1]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import cos, pi
from typing import Any

import numpy as np

from benchmarks import federated_logistic as logistic
from benchmarks.federated_logistic import DELTA, JUDGED_ON
from dagster_project.federated.accounting import noise_for
from dagster_project.federated.fixed_point import Floats, add_residues, from_residues, to_residues
from dagster_project.federated.network import Averaging, averaged
from dagster_project.federated.noise import clip_rows, noise_share
from dagster_project.federated.plans import NetworkSection
from dagster_project.radiomics.regions import region_names
from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.statistics.logistic import sigmoid
from dagster_project.statistics.roc import auc_delong
from dagster_project.study import load_study
from models.data.datasets import TASKS, Dataset, build_dataset
from models.data.lesion_sequences import SequenceScaler, arrange
from models.learners.networks import (
    ARCHITECTURES,
    INPUTS,
    ensemble_logits,
    frame_of,
    train_side_by_side,
)

SCALED_BY = 104
"""Seed of the cohort by which inputs are scaled where there is noise."""

STEPS, CLIP, RATE, MOMENTUM = 40, 0.3, 0.5, 0.9
"""Of the descent with noise."""

Arrays = Mapping[str, np.ndarray]


def simulate(seed: int, patients: int) -> Dataset:
    features = load_study().learning["network_features"]
    tables = simulate_tables(Truth(), features, patients=patients, seed=seed).of_dataset()
    return build_dataset(TASKS["T1"], **{**tables, "habitat_histograms": None})


def averaging_of(name: str, rounds: int, networks: int = 1, seed: int = 1) -> Averaging:
    """So many networks side by side; a plan has some by its folds, and one more."""
    study = load_study()
    features = tuple(study.learning["network_features"])
    regions = tuple(region_names(study.section("radiomics")))
    facts = {"visits": list(TASKS["T1"].visits), "regions": list(regions), "features": features}
    facts |= {k: study.learning[f"network_{k}"] for k in ("width", "dropout")}
    weights = sum(w.numel() for w in frame_of({**facts, "architecture": name}).parameters())
    asked = NetworkSection(
        architecture=name,
        weights=weights,
        centres=[1.0] * len(features),
        units=[1.0] * len(features),
        average=rounds,
        epochs=1,
        rate=float(study.learning["learning_rate"]),
        folds=2,
        seed=seed,
    )
    chosen = asked.model_copy(update={"folds": networks - 1})
    return Averaging(chosen, regions, features, TASKS["T1"].visits, study.learning)


# -- federated averaging ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Learned:
    """Stacked weights, each network's scaler, and what each hospital sent in the last round."""

    weights: Arrays
    scalers: Sequence[SequenceScaler]
    parts: Sequence[Floats]


def fixed_sum(vectors: Sequence[Floats]) -> Floats:
    """Through the fixed point, as the secure sum has it."""
    total = to_residues(np.zeros(len(vectors[0])), len(vectors))
    for vector in vectors:
        total = add_residues(total, to_residues(vector, len(vectors)))
    return from_residues(total)


def inputs_of(averaging: Averaging, scaler: SequenceScaler, dataset: Dataset) -> dict[str, Any]:
    assert dataset.series is not None
    arrays = scaler.apply(arrange(dataset.series, averaging.facts))
    return {name: arrays[name] for name in INPUTS}


def scaler_of(
    averaging: Averaging, hospitals: Sequence[Dataset], rows: Sequence[np.ndarray]
) -> SequenceScaler:
    """By the moments of some patients of each hospital."""
    series = [h.take(r).series for h, r in zip(hospitals, rows, strict=True)]
    moments = [averaging.moments(arrange(s, averaging.facts)) for s in series if s is not None]
    return averaging.scaler(fixed_sum(moments))


def learn(
    averaging: Averaging, hospitals: Sequence[Dataset], rows: Sequence[list[np.ndarray]]
) -> Learned:
    """All rounds; each network by some patients of each hospital (`rows`, by hospital)."""
    scalers = [
        scaler_of(averaging, hospitals, of_network) for of_network in zip(*rows, strict=True)
    ]
    computations = [
        averaged(
            averaging, [inputs_of(averaging, s, own) for s in scalers], own.y.astype(bool), chosen
        )
        for own, chosen in zip(hospitals, rows, strict=True)
    ]
    sent = [next(c) for c in computations]
    for _ in range(averaging.asked.average - 1):
        total = fixed_sum(sent)
        sent = [c.send(total) for c in computations]
    return Learned(averaging.average(fixed_sum(sent))[0], scalers, sent)


def score(averaging: Averaging, weights: Arrays, arrays: Arrays, labels: np.ndarray) -> float:
    """AUC of the first network."""
    first = {name: w[:1] for name, w in weights.items()}
    logits = ensemble_logits(averaging.facts, first, arrays)[0]
    return auc_delong(labels.astype(bool), sigmoid(logits)).value or 0.0


def everyone(dataset: Dataset) -> np.ndarray:
    return np.arange(len(dataset.patients))


def federated(averaging: Averaging, hospitals: Sequence[Dataset], judged: Dataset) -> float:
    learned = learn(averaging, hospitals, [[everyone(own)] for own in hospitals])
    arrays = inputs_of(averaging, learned.scalers[0], judged)
    return score(averaging, learned.weights, arrays, judged.y)


def in_one_place(averaging: Averaging, own: Dataset, judged: Dataset) -> float:
    """The study's own training of one network."""
    scaler = scaler_of(averaging, [own], [everyone(own)])
    section = {**averaging.section, "device": "cpu", "network_epochs": averaging.asked.average}
    weights, _ = train_side_by_side(
        averaging.facts,
        [inputs_of(averaging, scaler, own)],
        own.y,
        [everyone(own)],
        section,
        averaging.asked.seed,
        averaging.start,
    )
    return score(averaging, weights, inputs_of(averaging, scaler, judged), judged.y)


# -- with noise ------------------------------------------------------------------------------------


def patient_gradients(averaging: Averaging) -> Callable[[Floats, Arrays, np.ndarray], Floats]:
    """Of each patient's loss by flat weights (patients, weights); dropout is off."""
    import torch
    from torch.func import functional_call, grad, vmap

    network, shapes = frame_of(averaging.facts), {n: w[0].shape for n, w in averaging.start.items()}
    sizes = [int(np.prod(shape)) for shape in shapes.values()]

    def loss(weights: dict[str, Any], label: Any, *patient: Any) -> Any:
        logit = functional_call(network, weights, tuple(one[None] for one in patient))
        return torch.nn.functional.binary_cross_entropy_with_logits(logit, label[None])

    each = vmap(grad(loss), in_dims=(None, 0, *(0 for _ in INPUTS)))

    def found(flat: Floats, arrays: Arrays, labels: np.ndarray) -> Floats:
        parts = torch.from_numpy(flat.astype(np.float32)).split(sizes)
        named = zip(shapes.items(), parts, strict=True)
        weights = {name: part.reshape(shape) for (name, shape), part in named}
        tensors = [torch.from_numpy(arrays[name]) for name in INPUTS]
        gradients = each(weights, torch.from_numpy(labels.astype(np.float32)), *tensors)
        return np.hstack([g.reshape(len(labels), -1).numpy() for g in gradients.values()])

    return found


def with_noise(
    averaging: Averaging,
    scaler: SequenceScaler,
    hospitals: Sequence[Dataset],
    judged: Dataset,
    epsilon: float,
) -> float:
    """Descent with momentum on the noisy sum of clipped gradients."""
    gradients, sd = patient_gradients(averaging), CLIP * noise_for(epsilon, DELTA, STEPS)
    inputs = [inputs_of(averaging, scaler, own) for own in hospitals]
    patients = sum(len(own.patients) for own in hospitals)
    weights = np.concatenate([w[0].ravel() for w in averaging.start.values()]).astype(np.float64)
    speed = np.zeros_like(weights)
    for step in range(STEPS):
        sent = [
            clip_rows(gradients(weights, arrays, own.y), CLIP).sum(axis=0)
            + noise_share(weights.size, sd, len(hospitals))
            for arrays, own in zip(inputs, hospitals, strict=True)
        ]
        speed = MOMENTUM * speed + fixed_sum(sent) / patients
        weights = weights - RATE * (1 + cos(pi * step / STEPS)) / 2 * speed
    row = np.append(weights, [1.0, 0.0])
    found, _ = averaging.average(row)
    return score(averaging, found, inputs_of(averaging, scaler, judged), judged.y)


# -- the table -------------------------------------------------------------------------------------


def parts_of(cohort: Dataset, count: int) -> list[Dataset]:
    """Hospitals, where neighbours are put together to so many."""
    sites = np.unique(np.array(cohort.sites), return_inverse=True)[1] % count
    return [cohort.take(sites == k) for k in range(count)]


def of_network(
    averaging: Averaging, cohort: Dataset, judged: Dataset, other: Dataset
) -> list[float]:
    """By the columns of the table."""
    parts = {count: parts_of(cohort, count) for count in (3, 8)}
    alone = [np.mean([in_one_place(averaging, own, judged) for own in parts[n]]) for n in (3, 8)]
    scaler = scaler_of(averaging, [other], [everyone(other)])
    return [
        *map(float, alone),
        in_one_place(averaging, cohort, judged),
        *(federated(averaging, parts[n], judged) for n in (3, 8)),
        *(with_noise(averaging, scaler, parts[8], judged, e) for e in (3.0, 1.0)),
    ]


def of_logistic(seed: int, patients: int, draws: int) -> list[float]:
    """The same columns of the model of `benchmarks.federated_logistic`, by its settings."""
    cohort, judged = (
        logistic.simulate(s, n) for s, n in ((seed, patients), (JUDGED_ON, 2 * patients))
    )
    chosen = argparse.Namespace(steps=40, clip=1.0, rate=2.0, penalty=0.05)
    plan = logistic.make_plan(patients, chosen)
    everybody = [np.arange(len(cohort.labels))]
    fitted = [
        logistic.fit(replace(plan, clip=1e6), cohort, everybody),
        *(logistic.fit(plan, cohort, cohort.of(n)) for n in (3, 8)),
    ]
    return [
        *(logistic.alone(plan, cohort, n, judged) for n in (3, 8)),
        *(logistic.auc(plan, weights, judged) for weights in fitted),
        *(logistic.noisy(plan, cohort, e, 1.0, judged, draws) for e in (3.0, 1.0)),
    ]


def rows(chosen: argparse.Namespace) -> Iterator[tuple[int, str, list[float]]]:
    judged, other = (
        simulate(seed, n)
        for seed, n in ((JUDGED_ON, 2 * chosen.patients), (SCALED_BY, chosen.patients))
    )
    rounds = int(load_study().learning["network_epochs"])
    for seed in chosen.seeds:
        yield seed, "logistic", of_logistic(seed, chosen.patients, chosen.draws)
        cohort = simulate(seed, chosen.patients)
        for name in ARCHITECTURES:
            found = [
                of_network(
                    averaging_of(name, rounds, seed=100 * seed + start), cohort, judged, other
                )
                for start in range(1, chosen.starts + 1)
            ]
            yield seed, name, np.mean(found, axis=0).tolist()


COLUMNS = (
    "alone, 3 hospitals",
    "alone, 8 hospitals",
    "pooled",
    "federated, 3 hospitals",
    "federated, 8 hospitals",
    "ε = 3",
    "ε = 1",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--starts", type=int, default=1, help="first weights, of which the mean is")
    parser.add_argument("--draws", type=int, default=10, help="of the logistic model's noise")
    chosen = parser.parse_args()
    print("| cohort | model | " + " | ".join(COLUMNS) + " |")
    print("|---|---|" + "---|" * len(COLUMNS))
    by_model: dict[str, list[list[float]]] = {}
    for seed, name, found in rows(chosen):
        by_model.setdefault(name, []).append(found)
        print(f"| {seed} | {name} | {' | '.join(f'{a:.3f}' for a in found)} |", flush=True)
    for name, each in by_model.items():
        shown = [
            f"{np.mean(column):.3f} ({min(column):.3f}–{max(column):.3f})"
            for column in zip(*each, strict=True)
        ]
        print(f"| mean (range) | {name} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
