"""The study report: one static page that works offline."""

import dagster as dg

from dagster_project.flow.pages import write_study_page
from dagster_project.materialisation import page_asset
from dagster_project.resources import Lakehouse


@page_asset(kinds=["html"])
def study_report(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Enrolment, flow, agreement, response, heterogeneity, models, and what the gate said."""
    page = write_study_page(lakehouse)
    return dg.MaterializeResult(
        metadata={"open": dg.MetadataValue.path(str(page)), "snapshot": lakehouse.lake.snapshot()}
    )
