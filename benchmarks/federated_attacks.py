"""What an attacker learns of who was in a federated cohort, and from sums of too few hospitals.

Membership (LiRA, Carlini et al. 2022): models are trained on random halves of a simulated cohort;
for each model and patient the likelihood of the patient's scaled confidence among models that had
seen the patient is compared with that among models that had not, both from all other models. The
area is over all models and patients: 0.5 is guessing. The bound is what Gaussian differential
privacy allows any attacker, Φ(μ / √2).

Networks are learned by federated averaging at three hospitals, without noise. Beside the released
average, the last part of one hospital is attacked, on that hospital's patients: what is seen of it
where the sum is of two, or where all others put their own parts together.

    python -m benchmarks.federated_attacks [--patients 500] [--models 64] [--seeds 1 2]
    python -m benchmarks.federated_attacks --networks 16 100 [--models 32]
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
    return area_of(np.stack([confidence(plan, w, cohort) for w in weights]), member)


def area_of(seen: np.ndarray, member: np.ndarray) -> float:
    """Over all models and patients, both (models, patients)."""
    scores = np.stack([likelihood_ratios(seen, member, m) for m in range(len(seen))])
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


# -- networks --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attacked:
    """Areas, of the released average and one hospital's part; AUC on who took part or not."""

    released: float
    part: float
    members: float
    others: float


def network_attacked(name: str, rounds: int, patients: int, models: int, seed: int) -> Attacked:
    """LiRA on networks of random halves of a cohort at three hospitals, each attacked by all."""
    from benchmarks.federated_networks import averaging_of, learn, parts_of, simulate

    averaging = averaging_of(name, rounds, models)
    hospitals = parts_of(simulate(seed, patients), 3)
    random = np.random.default_rng(seed)
    member = [halves(len(own.patients), models, random) for own in hospitals]
    learned = learn(averaging, hospitals, [[np.flatnonzero(m) for m in own] for own in member])
    labels = [own.y.astype(bool) for own in hospitals]
    logits = [network_logits(averaging, learned.weights, learned.scalers, o) for o in hospitals]
    part, _ = averaging.average(learned.parts[0])
    first = network_logits(averaging, part, learned.scalers, hospitals[0])
    everybody, who, y = np.hstack(logits), np.hstack(member), np.hstack(labels)
    return Attacked(
        area_of(np.where(y, 1, -1) * everybody, who),
        area_of(np.where(labels[0], 1, -1) * first, member[0]),
        mean_auc(everybody, y, who),
        mean_auc(everybody, y, ~who),
    )


def halves(patients: int, models: int, random: np.random.Generator) -> np.ndarray:
    """Who is a member (models, patients)."""
    return np.stack([random.permutation(patients) < patients // 2 for _ in range(models)])


def network_logits(averaging, weights, scalers, own) -> np.ndarray:
    """Of each network for all patients of a hospital (models, patients)."""
    from benchmarks.federated_networks import inputs_of
    from models.learners.networks import ensemble_logits

    return np.vstack(
        [
            ensemble_logits(
                averaging.facts,
                {name: w[k : k + 1] for name, w in weights.items()},
                inputs_of(averaging, scaler, own),
            )
            for k, scaler in enumerate(scalers)
        ]
    )


def mean_auc(logits: np.ndarray, labels: np.ndarray, who: np.ndarray) -> float:
    """Of each model, for some patients; the mean."""
    each = [auc_delong(labels[w], z[w]).value or 0.0 for z, w in zip(logits, who, strict=True)]
    return float(np.mean(each))


def print_networks(chosen: argparse.Namespace) -> None:
    """A row for each network and number of rounds."""
    from models.learners.networks import ARCHITECTURES

    print(
        "| network | rounds | AUC of those who took part | of others "
        "| LiRA on the released average | on one hospital's part | above .65 |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in ARCHITECTURES:
        for rounds in chosen.networks:
            each = [
                network_attacked(name, rounds, chosen.patients, chosen.models, seed)
                for seed in chosen.seeds
            ]
            found = np.mean([list(vars(a).values()) for a in each], axis=0)
            released, part, members, others = found.tolist()
            flag = "yes" if released > FLAGGED else "no"
            areas = f"{members:.3f} | {others:.3f} | {released:.3f} | {part:.3f}"
            print(f"| {name} | {rounds} | {areas} | {flag} |", flush=True)


# -- tables ----------------------------------------------------------------------------------------

FLAGGED = 0.65
"""Area above which a model without noise is flagged."""


def shown(epsilon: float, found: Sequence[float]) -> str:
    """A row of the table."""
    limit = f"{bound(epsilon):.3f}" if epsilon else "none"
    name = f"ε = {epsilon:g}" if epsilon else "no noise"
    flagged = "yes" if not epsilon and np.mean(found) > FLAGGED else "no"
    return f"| {name} | {np.mean(found):.3f} | {np.max(found):.3f} | {limit} | {flagged} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--networks", type=int, nargs="+", metavar="ROUNDS")
    chosen = parser.parse_args()
    if chosen.networks:
        print_networks(chosen)
        return
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
