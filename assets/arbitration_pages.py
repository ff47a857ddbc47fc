"""The arbiter's worklist, and a page per case with both reads side by side."""

import dagster as dg

from dagster_project.flow.arbitration_pages import write_pages
from dagster_project.materialisation import page_asset
from dagster_project.resources import Lakehouse


@page_asset(kinds=["html"])
def arbitration_pages(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Write one page per arbitration case, with the readers masked as A and B.

    A page shows both contours on the same slices, the measurements and the responses.
    """
    pages = write_pages(lakehouse)
    return dg.MaterializeResult(
        metadata={
            "cases": len(pages) - 1,
            "open": dg.MetadataValue.path(str(pages[0])),
            "snapshot": lakehouse.lake.snapshot(),
        }
    )
