"""A sheet for the tumour board per patient and visit, as of that visit."""

import dagster as dg

from dagster_project.flow.board_pages import write_board_pages
from dagster_project.materialisation import page_asset
from dagster_project.resources import Lakehouse


@page_asset(kinds=["html"])
def board_pages(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Write the pages whose rows, pictures or program changed; no gate holds them back."""
    pages, written = write_board_pages(lakehouse)
    metadata: dict[str, dg.RawMetadataValue] = {
        "pages": len(pages),
        "written": written,
        "snapshot": lakehouse.lake.snapshot(),
    }
    if pages:
        metadata["open"] = dg.MetadataValue.path(str(pages[0]))
    return dg.MaterializeResult(metadata=metadata)
