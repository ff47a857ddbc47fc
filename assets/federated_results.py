"""Statistics of all hospitals together, and their runs in MLflow."""

import dagster as dg

from dagster_project.federated.home_records import read_results
from dagster_project.federated.tracking import log_runs
from dagster_project.lake.tables import FEDERATED_RESULTS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(FEDERATED_RESULTS, deps=["federated_runs"], kinds=["mlflow"])
def federated_results(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Read the results of each run, and log those runs that MLflow does not have yet."""
    rows, home = read_results(lakehouse.home), lakehouse.home
    (runs,) = lakehouse.read("federated_runs")
    logged = log_runs(
        runs, rows, tracking_uri=home.mlflow_uri, artifact_root=home.mlflow / "artifacts"
    )
    write = lakehouse.lake.replace(FEDERATED_RESULTS.name, rows)
    return materialize_result(write, rows, facts={"logged": logged})
