"""Events and last contacts of the case report."""

import dagster as dg

from assets.case_report import write_case_report
from dagster_project.lake.tables import FOLLOW_UP
from dagster_project.materialisation import table_asset
from dagster_project.resources import Lakehouse


@table_asset(FOLLOW_UP, deps=["patients"])
def follow_up(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Events of the site's patients."""
    return write_case_report(FOLLOW_UP, context.partition_key, lakehouse)
