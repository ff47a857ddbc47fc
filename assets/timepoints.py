"""Which scan is T0, T1, T2 or a later visit, and why."""

import dagster as dg
import polars as pl

from dagster_project.domain.imaging.timepoints import derive_timepoints, refuse_after_death
from dagster_project.lake.tables import TIMEPOINTS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(TIMEPOINTS, deps=["scans", "treatments", "follow_up"])
def timepoints(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Choose a scan for each visit by the dates of the cycles."""
    site = context.partition_key
    scans, treatments, follow_up = lakehouse.read("scans", "treatments", "follow_up", site=site)
    rows = derive_timepoints(scans, treatments, lakehouse.study.section("timepoints"))
    rows = rows.with_columns(input_fingerprint=pl.lit(lakehouse.study.section_digest("timepoints")))
    lakehouse.refuse(site, TIMEPOINTS.name, refuse_after_death(rows, follow_up))
    return materialize_result(lakehouse.lake.replace(TIMEPOINTS.name, rows, site=site), rows)
