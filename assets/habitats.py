"""Habitats of every accepted lesion at every visit."""

import dagster as dg

from dagster_project.flow.habitats import measure_new_habitats
from dagster_project.lake.tables import HABITATS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(HABITATS, deps=["lesions", "scans"])
def habitats(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Map what has not been mapped yet by the frozen codebook."""
    done = measure_new_habitats(lakehouse, context.log.info)
    return materialize_result(
        lakehouse.lake.replace(HABITATS.name, done.rows),
        done.rows,
        facts={**done.counts, **done.facts},
    )
