"""Whom rows and images do not name alike."""

import dagster as dg

from assets.case_report import write_case_report
from dagster_project.lake.tables import RECONCILIATION
from dagster_project.materialisation import table_asset
from dagster_project.resources import Lakehouse


@table_asset(RECONCILIATION, deps=["patients"])
def reconciliation(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Rows without images, images without rows and numbers of nobody at the site."""
    return write_case_report(RECONCILIATION, context.partition_key, lakehouse)
