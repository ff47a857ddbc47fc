"""Federated runs in MLflow: one run each, with its plan, what it cost and its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from pathlib import Path

EXPERIMENT = "lakehouse-federated"
DESCRIPTION = (
    "Runs over hospitals that share no rows: one run per plan, with its figures. `federated_runs` "
    "and `federated_results` in the lake have the same rows."
)
RUN_TAG = "federated_run"
LARGEST_NUMBER = 500
"""Figures of one run that are logged; a curve has more, all of them are in the lake."""


def log_runs(
    runs: pl.DataFrame, results: pl.DataFrame, *, tracking_uri: str, artifact_root: Path
) -> int:
    """Log the runs that are done and not logged yet; how many that were.

    Parameters
    ----------
    runs, results
        The tables federated_runs and federated_results.
    tracking_uri, artifact_root
        As `models.operation.log.log_models` has them.
    """
    done = runs.filter(state="done")
    if done.is_empty():
        return 0
    from models.operation.log import make_experiment
    from models.operation.registry import make_client

    artifact_root.mkdir(parents=True, exist_ok=True)
    client = make_client(tracking_uri)
    experiment = make_experiment(client, EXPERIMENT, artifact_root, DESCRIPTION)
    logged = {r.data.tags.get(RUN_TAG) for r in client.search_runs([experiment], max_results=5000)}
    fresh = done.filter(~pl.col("run").is_in([name for name in logged if name]))
    for run in fresh.iter_rows(named=True):
        figures = results.filter(run=run["run"]).drop_nulls("value").head(LARGEST_NUMBER)
        made = client.create_run(
            experiment,
            run_name=run["plan_name"],
            start_time=int(run["ended_at"].timestamp() * 1000),
            tags=_tags(run),
        )
        for name, value in figures.select("statistic", "value").iter_rows():
            client.log_metric(made.info.run_id, metric_name(name), value)
        client.set_terminated(made.info.run_id)
    return fresh.height


def _tags(run: dict) -> dict[str, str]:
    epsilon = "none: exact sums" if run["epsilon"] is None else f"{run['epsilon']:.4g}"
    names = ("plan_digest", "kind", "task", "rows_from", "model_released")
    return {
        RUN_TAG: run["run"],
        "provenance": "federated",
        "hospitals": ", ".join(run["hospitals"]),
        "epsilon": epsilon,
        **{name: str(run[name]) for name in names if run[name] is not None},
    }


def metric_name(statistic: str) -> str:
    """A name that MLflow takes; it has no @.

    Examples
    --------
    >>> metric_name("curves/all@120")
    'curves/all day 120'
    """
    return statistic.replace("@", " day ")[:250]
