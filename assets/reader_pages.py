"""Each reader's worklist, and the places of known lesions on the scans to be read."""

import dagster as dg

from dagster_project.flow.reader_pages import write_pages
from dagster_project.materialisation import page_asset
from dagster_project.resources import Lakehouse


@page_asset(kinds=["html"])
def reader_pages(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Write the pages of each reader, who sees the own reads alone; no gate holds them back."""
    pages = write_pages(lakehouse)
    return dg.MaterializeResult(
        metadata={"pages": len(pages), "snapshot": lakehouse.lake.snapshot()}
    )
