"""What analysts open: they hold no lock that the pipeline needs."""

import dagster as dg

from dagster_project.lake.publish import publish
from dagster_project.materialisation import page_asset
from dagster_project.resources import Lakehouse


@page_asset(kinds=["duckdb", "parquet"])
def published(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """One self-contained DuckDB file and plain Parquet of the newest snapshot, swapped in by a link."""
    made = publish(lakehouse.lake, lakehouse.home.published)
    return dg.MaterializeResult(metadata={"snapshot": made.snapshot, "fresh": made.fresh, "database": dg.MetadataValue.path(str(made.database))})
