"""Two simulated cohorts, with and without heterogeneity signal, by several seeds each.

Paired tests show which model beats which.

.venv/bin/python -m benchmarks.models --seeds 5 --patients 500
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.statistics.roc import auc_difference
from dagster_project.study import load_study
from models.data.datasets import TASKS, build_dataset
from models.evaluation.training import TrainedModel, train
from models.learners.model_catalogue import choose_learners

COHORTS = {"signal": Truth(), "no signal": Truth(heterogeneity=0.0)}


def shown(model: TrainedModel) -> str:
    """AUC with DeLong's interval; a control's for the folds that it was put together from."""
    e = model.evaluation.auc
    return f"{e.value:.3f} ({e.lower:.3f}-{e.upper:.3f})"


def against(model: TrainedModel, other: TrainedModel) -> str:
    gain, p = auc_difference(
        model.dataset.y, model.probabilities, other.probabilities, folds=int(model.fold.max()) + 1
    )
    return f"{gain.value:+.3f} p={'-' if p is None else f'{p:.1e}'}"


def run(cohort: str, seed: int, patients: int) -> list[str]:
    section = load_study().learning
    tables = simulate_tables(
        COHORTS[cohort], section["network_features"], patients=patients, seed=seed
    )
    dataset = build_dataset(TASKS["T1"], **tables.of_dataset())
    learners, _ = choose_learners(dataset, section)
    seconds, models = {}, {}
    for learner in learners:
        start = time.process_time()
        models[learner.name] = train([learner], dataset, section, seed)[0]
        seconds[learner.name] = time.process_time() - start
    f = models["fusion"]
    wanted = (
        "pd_l1",
        "clinical",
        "size_change",
        "clinical_size",
        "baseline_radiomics",
        "delta_radiomics",
        "boosting",
        "st_gcn",
        "decomposition_transformer",
        "fusion",
        "negative_control",
        "st_gcn_control",
    )
    return [
        cohort,
        str(seed),
        *(shown(models[n]) for n in wanted),
        against(f, models["clinical"]),
        against(f, models["size_change"]),
        against(f, models["clinical_size"]),
        f"{seconds['st_gcn']:.0f}",
        f"{seconds['decomposition_transformer']:.0f}",
    ]


def print_runs(
    description: str | None,
    head: list[str],
    run: Callable[[str, int, int], list[str]],
    seeds: int,
    cohorts: Mapping[str, Truth] = COHORTS,
) -> None:
    """A table of the results of `run` for each requested cohort and seed, row by row."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--cohort", choices=[*cohorts, "all"], default="all")
    asked = parser.parse_args()
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for cohort in cohorts if asked.cohort == "all" else [asked.cohort]:
        for seed in range(asked.first, asked.first + asked.seeds):
            print("| " + " | ".join(run(cohort, seed, asked.patients)) + " |", flush=True)


def main() -> None:
    print_runs(
        __doc__,
        [
            "cohort",
            "seed",
            "PD-L1",
            "clinical",
            "size",
            "clinical + size",
            "baseline radiomics",
            "delta",
            "boosting",
            "ST-GCN",
            "transformer",
            "fusion",
            "control",
            "ST-GCN control",
            "fusion - clinical",
            "fusion - size",
            "fusion - both",
            "ST-GCN CPU s",
            "transformer CPU s",
        ],
        run,
        seeds=5,
    )


if __name__ == "__main__":
    main()
