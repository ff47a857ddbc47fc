"""Clinical states of the case report: ECOG, new symptoms, stability."""

import dagster as dg

from assets.case_report import write_case_report
from dagster_project.lake.tables import CLINICAL_STATUS
from dagster_project.materialisation import table_asset
from dagster_project.resources import Lakehouse


@table_asset(CLINICAL_STATUS, deps=["patients"])
def clinical_status(
    context: dg.AssetExecutionContext, lakehouse: Lakehouse
) -> dg.MaterializeResult:
    """Recorded states of the site's patients."""
    return write_case_report(CLINICAL_STATUS, context.partition_key, lakehouse)
