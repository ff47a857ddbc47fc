"""What habitats as nodes and tokens give each network, and what they cost, in one run.

Cohorts are simulated with and without heterogeneity signal.

.venv/bin/python -m benchmarks.habitat_nodes --seeds 1 --patients 500
.venv/bin/python -m benchmarks.habitat_nodes --cohort "decomposition_transformer, signal"
"""

from __future__ import annotations

import time

import polars as pl

from benchmarks.models import COHORTS, against, print_runs, shown
from dagster_project.simulation.tables import CARRIERS, Truth, simulate_tables
from dagster_project.study import load_study
from models.data.datasets import TASKS, Dataset, build_dataset
from models.evaluation.training import TrainedModel, train
from models.learners.networks import ARCHITECTURES, Network

HIDDEN = "habitats alone"
"""The cohort without the features that carry the signal, so that only habitats can show it."""


def dataset_of(cohort: str, seed: int, patients: int) -> Dataset:
    features = load_study().section("model")["network_features"]
    tables = simulate_tables(COHORTS.get(cohort, Truth()), features, patients=patients, seed=seed)
    left = features[CARRIERS:] if cohort == HIDDEN else features
    seen = tables.radiomic_features.filter(pl.col("feature").is_in(left))
    return build_dataset(TASKS["T1"], **tables.of_dataset() | {"radiomic_features": seen})


def trained(
    name: str, dataset: Dataset, habitat_networks: tuple[str, ...], seed: int
) -> tuple[TrainedModel, float]:
    """A network over all outer folds with inner folds and seeds, and its CPU seconds."""
    start = time.process_time()
    section = {
        **load_study().learning,
        "leave_site_out_for": "none",
        "held_out_intervals": "none",
        "habitat_networks": habitat_networks,
    }
    (model,) = train([Network(name)], dataset, section, seed)
    return model, time.process_time() - start


def run(asked: str, seed: int, patients: int) -> list[str]:
    name, cohort = asked.split(", ")
    dataset = dataset_of(cohort, seed, patients)
    (without, before), (with_, seconds) = (
        trained(name, dataset, seen, seed) for seen in ((), (name,))
    )
    return [
        name,
        cohort,
        str(patients),
        str(seed),
        shown(without),
        shown(with_),
        against(with_, without),
        f"{before:.0f}",
        f"{seconds:.0f}",
    ]


def main() -> None:
    head = [
        "network",
        "cohort",
        "patients",
        "seed",
        "without habitats",
        "with habitats",
        "gain",
        "CPU s without",
        "CPU s with",
    ]
    cohorts = {
        f"{name}, {cohort}": truth
        for name in ARCHITECTURES
        for cohort, truth in {**COHORTS, HIDDEN: Truth()}.items()
    }
    print_runs(__doc__, head, run, seeds=1, cohorts=cohorts)


if __name__ == "__main__":
    main()
