"""What an attacker learns of who was in a federated cohort, and from sums of too few hospitals.

Membership (LiRA, Carlini et al. 2022): models are trained on random halves of a simulated cohort;
for each model and patient the likelihood of the patient's scaled confidence among models that had
seen the patient is compared with that among models that had not, both from all other models. The
area is over all models and patients: 0.5 is guessing. The bound is what Gaussian differential
privacy allows any attacker, Φ(μ / √2).

    python -m benchmarks.federated_attacks [--patients 500] [--models 64] [--seeds 1 2]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.stats import norm

from dagster_project.federated.accounting import mu_of, noise_for
from dagster_project.federated.logistic import LogisticPlan, descend, gradients
from dagster_project.statistics.roc import auc_delong

DELTA = 1e-5


@dataclass(frozen=True)
class Patients:
    """Columns in the plan's units and labels."""

    values: np.ndarray
    labels: np.ndarray


def trained(
    plan: LogisticPlan,
    cohort: Patients,
    rows: np.ndarray,
    epsilon: float,
    random: np.random.Generator,
) -> np.ndarray:
    """Weights of the model of some patients; ε of 0 is for no noise."""
    sd = plan.clip * noise_for(epsilon, DELTA, plan.steps) if epsilon else 0.0
    values, labels = cohort.values[rows], cohort.labels[rows]

    def total(_: int, weights: np.ndarray) -> np.ndarray:
        summed = gradients(plan, weights, values, labels).sum(axis=0)
        return summed + random.normal(0, sd, plan.length) if sd else summed

    return descend(plan, total)


def confidence(plan: LogisticPlan, weights: np.ndarray, cohort: Patients) -> np.ndarray:
    """log p / (1 - p) of each patient's own class."""
    p = np.clip(plan.probabilities(weights, cohort.values), 1e-9, 1 - 1e-9)
    return np.where(cohort.labels, 1, -1) * np.log(p / (1 - p))


def membership_auc(
    plan: LogisticPlan, cohort: Patients, epsilon: float, models: int, seed: int
) -> float:
    """LiRA's area over all models and patients."""
    random, n = np.random.default_rng(seed), len(cohort.labels)
    member = np.stack([random.permutation(n) < n // 2 for _ in range(models)])
    weights = [trained(plan, cohort, np.flatnonzero(m), epsilon, random) for m in member]
    seen = np.stack([confidence(plan, w, cohort) for w in weights])
    scores = np.stack([likelihood_ratios(seen, member, m) for m in range(models)])
    return auc_delong(member.ravel(), scores.ravel()).value or 0.0


def likelihood_ratios(seen: np.ndarray, member: np.ndarray, attacked: int) -> np.ndarray:
    """Of each patient, by the models that are not attacked."""
    others = np.arange(len(seen)) != attacked
    inside, outside = (np.where(mask[others], seen[others], np.nan) for mask in (member, ~member))
    densities = [
        norm.logpdf(seen[attacked], np.nanmean(part, axis=0), np.nanstd(part, axis=0) + 1e-3)
        for part in (inside, outside)
    ]
    return densities[0] - densities[1]


def bound(epsilon: float) -> float:
    """The largest area that any attack has."""
    return float(norm.cdf(mu_of(epsilon, DELTA) / sqrt(2)))


def simulated(seed: int, patients: int) -> tuple[LogisticPlan, Patients]:
    """The cohort and the plan of `benchmarks.federated_logistic`."""
    from benchmarks.federated_logistic import make_plan, simulate

    cohort = simulate(seed, patients)
    chosen = argparse.Namespace(steps=40, clip=1.0, rate=2.0, penalty=0.05)
    return make_plan(patients // 2, chosen), Patients(cohort.values, cohort.labels)


def shown(epsilon: float, found: Sequence[float]) -> str:
    """A row of the table."""
    limit = f"{bound(epsilon):.3f}" if epsilon else "none"
    name = f"ε = {epsilon:g}" if epsilon else "no noise"
    flagged = "yes" if not epsilon and np.mean(found) > 0.65 else "no"
    return f"| {name} | {np.mean(found):.3f} | {np.max(found):.3f} | {limit} | {flagged} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    chosen = parser.parse_args()
    print("| logistic model | LiRA, mean AUC | largest | bound for any attack | above .65 |")
    print("|---|---|---|---|---|")
    cohorts = {seed: simulated(seed, chosen.patients) for seed in chosen.seeds}
    for epsilon in (0.0, 3.0, 1.0):
        found = [
            membership_auc(plan, cohort, epsilon, chosen.models, seed)
            for seed, (plan, cohort) in cohorts.items()
        ]
        print(shown(epsilon, found), flush=True)


if __name__ == "__main__":
    main()
