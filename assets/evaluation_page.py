"""The dynamic standard beside its comparators, as a page."""

import dagster as dg

from dagster_project.flow.pages import write_evaluation_page
from dagster_project.materialisation import page_asset
from dagster_project.resources import Lakehouse


@page_asset(kinds=["html"])
def evaluation_page(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Write what the evaluation found, rows that are not estimable included."""
    page = write_evaluation_page(lakehouse)
    return dg.MaterializeResult(
        metadata={"open": dg.MetadataValue.path(str(page)), "snapshot": lakehouse.lake.snapshot()}
    )
