"""What analysts open: they hold no lock that the pipeline needs."""

import dagster as dg

from dagster_project.flow.publication import publish_home
from dagster_project.flow.vault_audit import blocked_sites
from dagster_project.materialisation import page_asset
from dagster_project.resources import Lakehouse


@page_asset(kinds=["duckdb", "parquet"])
def published(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Publish the newest snapshot as one self-contained DuckDB file and plain Parquet.

    A link swaps the new publication in. Sites that an audit blocks are left out.
    """
    made = publish_home(lakehouse.lake, lakehouse.home, lakehouse.study)
    blocked = ", ".join(sorted(blocked_sites(lakehouse.home)))
    return dg.MaterializeResult(
        metadata={
            "snapshot": made.snapshot,
            "fresh": made.fresh,
            "blocked": blocked,
            "database": dg.MetadataValue.path(str(made.database)),
        }
    )
