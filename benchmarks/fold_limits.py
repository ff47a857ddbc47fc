"""What limits of DHI fitted in each training fold change for the cheap learners that see it.

They are compared with the table's limits of the whole cohort.

.venv/bin/python -m benchmarks.fold_limits --seeds 1 --patients 500
"""

from __future__ import annotations

import time

from benchmarks.models import COHORTS, against, print_runs, shown
from dagster_project.simulation.tables import Truth, simulate_tables
from dagster_project.study import load_study
from models.data.datasets import DELTA, DHI, TASKS, build_dataset
from models.evaluation.training import TrainedModel, train
from models.learners.baselines import Baseline
from models.learners.boosting import Boosting

LEARNERS = (
    Baseline("dhi", (DHI,), "ridge"),
    Baseline("delta_radiomics_dhi", (DELTA, DHI), "elastic_net"),
    Boosting(),
)

TRUTHS = {**COHORTS, "amount of change": Truth(heterogeneity=0.0, amount=1.5)}
"""In the last one, response depends on how much the texture changes, which is what DHI sees.

In the first two it depends on the direction, or on neither.
"""


def run(cohort: str, seed: int, patients: int) -> list[str]:
    section = {**load_study().learning, "leave_site_out_for": "none", "held_out_intervals": "none"}
    tables = simulate_tables(
        TRUTHS[cohort], section["network_features"], patients=patients, seed=seed
    )
    found: list[list[TrainedModel]] = []
    seconds = []
    for dataset in (
        build_dataset(TASKS["T1"], **tables.of_dataset() | {"comparisons": c})
        for c in (tables.comparisons, None)
    ):
        start = time.process_time()
        found.append(train(LEARNERS, dataset, section, seed))
        seconds.append(f"{time.process_time() - start:.0f}")
    columns = [
        text
        for fold, table in zip(*found, strict=True)
        for text in (shown(table), shown(fold), against(fold, table))
    ]
    return [cohort, str(seed), *columns, *seconds[::-1]]


def main() -> None:
    head = [
        f"{model}, {what}"
        for model in ("DHI alone", "delta + DHI", "boosting")
        for what in ("limits of the cohort", "limits of the fold", "difference")
    ]
    print_runs(
        __doc__,
        ["cohort", "seed", *head, "CPU s, cohort", "CPU s, fold"],
        run,
        seeds=1,
        cohorts=TRUTHS,
    )


if __name__ == "__main__":
    main()
