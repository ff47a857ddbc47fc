"""The federated logistic model with and without privacy, beside one hospital alone.

Simulated cohorts are trained on, one the size of the study each; all models are judged on one other
simulated cohort. The columns are fixed before anything is looked at: PD-L1, change of the sum of
diameters, the twelve delta features of the tumour that the networks have, and DHI. Settings are
round numbers, tried once on cohorts 101 and 102 and not changed. With noise, means over `--draws`
draws.

- alone: each hospital's own model, mean over hospitals
- pooled: all patients in one place, no noise, no clip
- federated: the secure sum, no noise
- ε: the secure sum with one noise for all, δ = 1e-5, against each of the hospitals too
- local ε: every one of 8 hospitals adds the whole noise itself, as it must without secure sum

    python -m benchmarks.federated_logistic [--seeds 1 2 3 4 5 6] [--patients 500] [--draws 20]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np

from dagster_project.federated.accounting import noise_for
from dagster_project.federated.fixed_point import add_residues, from_residues, to_residues
from dagster_project.federated.logistic import LogisticPlan, descend, gradients
from dagster_project.federated.noise import noise_share
from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.statistics.roc import auc_delong
from dagster_project.study import load_study
from models.data.datasets import TASKS, build_dataset

DELTA = 1e-5
JUDGED_ON = 999
"""Seed of the cohort that all models are judged on."""

COLUMNS = {"pd_l1_tps": (50.0, 25.0), "sum_mm_change@T0-T1": (-0.1, 0.2), "dhi@T0-T1": (1.0, 0.5)}
"""Centre and unit of each; those of delta features are 0 and 0.5."""


@dataclass(frozen=True)
class Cohort:
    """Columns of the plan, labels, and each patient's hospital, from 0 to 7."""

    values: np.ndarray
    labels: np.ndarray
    hospitals: np.ndarray

    def of(self, count: int) -> list[np.ndarray]:
        """Rows of each hospital where neighbours are put together to so many."""
        return [np.flatnonzero(self.hospitals % count == h) for h in range(count)]


def names_and_scales(section: dict) -> dict[str, tuple[float, float]]:
    features = {f"{name}@tumor@T0-T1": (0.0, 0.5) for name in section["network_features"]}
    return {**COLUMNS, **features}


def simulate(seed: int, patients: int) -> Cohort:
    section = load_study().learning
    tables = simulate_tables(Truth(), section["network_features"], patients=patients, seed=seed)
    dataset = build_dataset(TASKS["T1"], **tables.of_dataset())
    sites = np.unique(np.asarray(dataset.sites), return_inverse=True)[1]
    values = dataset.values_of(list(names_and_scales(section)))
    return Cohort(values, np.asarray(dataset.y, dtype=bool), sites)


def make_plan(patients: int, chosen: argparse.Namespace) -> LogisticPlan:
    scales = names_and_scales(load_study().learning)
    centres, units = zip(*scales.values(), strict=True)
    return LogisticPlan(
        tuple(scales),
        centres,
        units,
        patients=patients,
        steps=chosen.steps,
        clip=chosen.clip,
        rate=chosen.rate,
        penalty=chosen.penalty,
    )


def gradient(plan: LogisticPlan, weights: np.ndarray, cohort: Cohort, rows: Any) -> np.ndarray:
    return gradients(plan, weights, cohort.values[rows], cohort.labels[rows]).sum(axis=0)


def fit(
    plan: LogisticPlan, cohort: Cohort, rows: Sequence[np.ndarray], noise: float = 0.0
) -> np.ndarray:
    """Through the fixed point; masks and encryption change nothing in a sum.

    `noise` is the standard deviation that is left for each hospital, over the clip: with √7 times
    as much each of 8 hospitals adds the whole.
    """

    def total_of(_: int, weights: np.ndarray) -> np.ndarray:
        total = to_residues(np.zeros(plan.length), len(rows))
        for r in rows:
            own = gradient(plan, weights, cohort, r)
            own = own + noise_share(plan.length, noise * plan.clip, len(rows))
            total = add_residues(total, to_residues(own, len(rows)))
        return from_residues(total)

    return descend(plan, total_of)


def auc(plan: LogisticPlan, weights: np.ndarray, judged: Cohort) -> float:
    return auc_delong(judged.labels, plan.probabilities(weights, judged.values)).value or 0.0


def alone(plan: LogisticPlan, cohort: Cohort, count: int, judged: Cohort) -> float:
    found = []
    for r in cohort.of(count):
        own = replace(plan, patients=len(r), clip=1e6)
        weights = descend(own, lambda _, w, r=r, own=own: gradient(own, w, cohort, r))
        found.append(auc(own, weights, judged))
    return float(np.mean(found))


def noisy(
    plan: LogisticPlan, cohort: Cohort, epsilon: float, scale: float, judged: Cohort, draws: int
) -> float:
    noise = scale * noise_for(epsilon, DELTA, plan.steps)
    found = [auc(plan, fit(plan, cohort, cohort.of(8), noise), judged) for _ in range(draws)]
    return float(np.mean(found))


def measure(cohort: Cohort, judged: Cohort, chosen: argparse.Namespace) -> list[float]:
    plan = make_plan(chosen.patients, chosen)
    free = replace(plan, clip=1e6)
    pooled = fit(free, cohort, [np.arange(len(cohort.labels))])
    federated = fit(plan, cohort, cohort.of(8))
    clipped = descend(plan, lambda _, w: gradient(plan, w, cohort, slice(None)))
    return [
        alone(plan, cohort, 3, judged),
        alone(plan, cohort, 8, judged),
        auc(plan, pooled, judged),
        auc(plan, federated, judged),
        *(noisy(plan, cohort, e, 1.0, judged, chosen.draws) for e in (3.0, 1.0)),
        noisy(plan, cohort, 1.0, sqrt(7), judged, chosen.draws),
        float(np.abs(federated - clipped).max()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=2.0)
    parser.add_argument("--penalty", type=float, default=0.05)
    chosen = parser.parse_args()
    judged = simulate(JUDGED_ON, 2 * chosen.patients)
    print(
        "| cohort | alone, 3 hospitals | alone, 8 hospitals | pooled | federated | ε = 3 | ε = 1 | "
        "local ε = 1, 8 hospitals | federated − pooled with the same clip, largest coefficient |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for seed in chosen.seeds:
        rows.append(measure(simulate(seed, chosen.patients), judged, chosen))
        print(f"| {seed} | {shown(rows[-1])} |", flush=True)
    means = [*np.mean(rows, axis=0)[:-1], max(row[-1] for row in rows)]
    print(f"| mean | {shown(means)} |")


def shown(row: Sequence[float]) -> str:
    *aucs, difference = row
    return " | ".join([*(f"{a:.3f}" for a in aucs), f"{difference:.0e}"])


if __name__ == "__main__":
    main()
