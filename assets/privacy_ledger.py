"""What this hospital gave away to federated runs, line by line of its ledger."""

import dagster as dg

from dagster_project.federated.home_records import read_ledger
from dagster_project.lake.tables import PRIVACY_LEDGER
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(PRIVACY_LEDGER, deps=["federated_runs"])
def privacy_ledger(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Follow the ledger's chain and add it up; a damaged one fails here by name."""
    rows = read_ledger(lakehouse.home)
    return materialize_result(lakehouse.lake.replace(PRIVACY_LEDGER.name, rows), rows)
