"""Federated runs that this hospital took part in, as they lie in its home."""

import dagster as dg

from dagster_project.federated.home_records import read_runs
from dagster_project.lake.tables import FEDERATED_RUNS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(FEDERATED_RUNS, deps=[])
def federated_runs(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Read how each run ended here."""
    rows = read_runs(lakehouse.home)
    return materialize_result(lakehouse.lake.replace(FEDERATED_RUNS.name, rows), rows)
