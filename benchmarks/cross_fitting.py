"""How often cross-fitted models seem to differ, or to predict, in cohorts without any signal.

    OMP_NUM_THREADS=1 python -m benchmarks.cross_fitting --results FILE
        [--seeds 40] [--patients 300]

Each cohort is simulated with none of the three causes moving response, so every AUC is 0.5 and
every difference 0 but for chance. A test at 5 % should call one in twenty. Prints the spread of z =
difference / standard error (1 where the error is right) and the share beyond 1.96, by DeLong's
variance and by that for folds (`statistics.cross_fitting.fold_variance`). Each cohort is one line
of FILE; run it again to go on.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np

from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.statistics.cross_fitting import fold_variance
from dagster_project.statistics.estimate import normal_quantile
from dagster_project.statistics.roc import auc_delong, auc_difference
from dagster_project.study import load_study
from models.data.datasets import TASKS, build_dataset
from models.evaluation.training import train
from models.learners.model_catalogue import choose_learners

MODELS = (
    "clinical",
    "size_change",
    "clinical_size",
    "baseline_radiomics",
    "delta_radiomics",
    "boosting",
)
NOTHING = Truth(clinical=0.0, size=0.0, heterogeneity=0.0)


def measure(seed: int, patients: int) -> dict[str, float]:
    """z of each model's AUC against 0.5 and of each difference of two, by DeLong's variance."""
    section = {**load_study().learning, "leave_site_out_for": "none", "held_out_intervals": "none"}
    dataset = build_dataset(
        TASKS["T1"],
        **simulate_tables(
            NOTHING, section["network_features"], patients=patients, seed=seed
        ).of_dataset(),
    )
    learners = {m.name: m for m in choose_learners(dataset, section)[0]}
    found = {
        m.name: m.probabilities
        for m in train([learners[name] for name in MODELS], dataset, section, seed)
    }
    alone = {name: (auc_delong(dataset.y, p), 0.5) for name, p in found.items()}
    pairs = {
        f"{a} - {b}": (auc_difference(dataset.y, found[a], found[b])[0], 0.0)
        for a, b in combinations(MODELS, 2)
    }
    both = alone | pairs
    errors = {n: (e.upper - e.lower) / (2 * normal_quantile()) for n, (e, _) in both.items()}
    return {name: (e.value - null) / errors[name] for name, (e, null) in both.items()}


def show(rows: list[dict[str, float]], folds: int) -> None:
    """One line for the AUCs against 0.5, one for the differences."""
    print(
        "| what | figures | spread of z | called at 5 % by DeLong "
        "| called with the variance for folds |\n|---|---|---|---|---|"
    )
    for what, names in (
        ("AUC against 0.5", MODELS),
        ("difference of two models", [n for n in rows[0] if " - " in n]),
    ):
        z = np.array([[row[name] for name in names] for row in rows])
        limits = [normal_quantile() * wider for wider in (1.0, fold_variance(folds) ** 0.5)]
        shares = [100 * np.mean(np.abs(z) > limit) for limit in limits]
        print(
            f"| {what} | {len(rows)} cohorts x {len(names)} | {np.sqrt(np.mean(z**2)):.2f} "
            f"| {shares[0]:.0f} % | {shares[1]:.0f} % |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--patients", type=int, default=300)
    asked = parser.parse_args()
    kept = asked.results.read_text(encoding="utf-8").splitlines() if asked.results.exists() else []
    for seed in range(101 + len(kept), 101 + asked.seeds):
        kept.append(json.dumps(measure(seed, asked.patients)))
        asked.results.write_text("\n".join(kept) + "\n", encoding="utf-8")
    show([json.loads(line) for line in kept], load_study().section("model")["folds"])


if __name__ == "__main__":
    main()
