"""Administered cycles of the case report."""

import dagster as dg

from assets.case_report import write_case_report
from dagster_project.lake.tables import TREATMENTS
from dagster_project.materialisation import table_asset
from dagster_project.resources import Lakehouse


@table_asset(TREATMENTS, deps=["patients"])
def treatments(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Cycles of the site's patients."""
    return write_case_report(TREATMENTS, context.partition_key, lakehouse)
