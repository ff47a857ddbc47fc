"""One row per CT series: geometry, acquisition, artifact figures."""

import dagster as dg

from dagster_project.flow.scans import describe_new_scans
from dagster_project.lake.tables import SCANS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(SCANS, deps=["intake", "treatments"], kinds=["simpleitk"])
def scans(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Describe new series, keep what is known of the others, quarantine what cannot be stacked."""
    site = context.partition_key
    done = describe_new_scans(lakehouse, site, context.log.info)
    write = lakehouse.lake.replace(SCANS.name, done.rows, site=site)
    return materialize_result(write, done.rows, facts=done.counts)
