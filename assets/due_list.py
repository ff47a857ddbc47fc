"""Which unconfirmed progressions need a CT, a read or a word between readers, as of today."""

import dagster as dg

from dagster_project.flow.pages import write_due_list
from dagster_project.materialisation import page_asset
from dagster_project.resources import Lakehouse


@page_asset(kinds=["html"])
def due_list(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Write the due list as a page and as a table; no gate holds it back."""
    page = write_due_list(lakehouse)
    return dg.MaterializeResult(
        metadata={"open": dg.MetadataValue.path(str(page)), "snapshot": lakehouse.lake.snapshot()}
    )
