"""Baseline data of the case report."""

import dagster as dg

from assets.case_report import write_case_report
from dagster_project.lake.tables import PATIENTS
from dagster_project.materialisation import table_asset
from dagster_project.resources import Lakehouse


@table_asset(PATIENTS, deps=["intake"])
def patients(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Patients of the site as its case report has them."""
    return write_case_report(PATIENTS, context.partition_key, lakehouse)
