"""What habitats as nodes give the ST-GCN on simulated cohorts with and without heterogeneity signal, and what they cost, in one run.

    .venv/bin/python -m benchmarks.habitat_nodes --seeds 2 --patients 500
"""

from __future__ import annotations

import time
from dataclasses import replace

from benchmarks.models import COHORTS, print_runs, shown
from dagster_project.simulation.tables import simulate_tables
from dagster_project.study import load_study
from models.datasets import TASKS, Dataset, build_dataset
from models.evaluation import auc_difference
from models.networks import Network
from models.training import TrainedModel, train


def trained(dataset: Dataset, seed: int) -> tuple[TrainedModel, float]:
    """The ST-GCN over all outer folds with inner folds and seeds, and its CPU seconds."""
    start = time.process_time()
    (model,) = train([Network("st_gcn")], dataset, {**load_study().learning, "held_out_sites": "none"}, seed)
    return model, time.process_time() - start


def run(cohort: str, seed: int, patients: int) -> list[str]:
    tables = simulate_tables(COHORTS[cohort], load_study().section("model")["network_features"], patients=patients, seed=seed)
    dataset = build_dataset(TASKS["T1"], **tables.of_dataset())
    assert dataset.series is not None, "lesions are simulated"
    (with_, seconds), (without, before) = (trained(d, seed) for d in (dataset, replace(dataset, series=replace(dataset.series, words=None))))
    gain, p = auc_difference(dataset.y, with_.probabilities, without.probabilities)
    fitted = with_.appraisal.tables["folds"]["habitat_lesions"]
    return [cohort, str(seed), shown(without), shown(with_), f"{gain.value:+.3f} p={p:.2g}", f"{before:.0f}", f"{seconds:.0f}", f"{fitted.min():.0f}-{fitted.max():.0f}"]


def main() -> None:
    print_runs(__doc__, ["cohort", "seed", "without habitats", "with habitats", "gain", "CPU s without", "CPU s with",
                         "lesions and visits behind a fold's codebook"], run, seeds=2)


if __name__ == "__main__":
    main()
