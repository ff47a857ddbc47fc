"""Dynamic Heterogeneity Index of every lesion and patient between visits."""

import dagster as dg

from dagster_project.flow.dhi import compare_new_pairs
from dagster_project.lake.tables import DHI
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.reports.pictures import dhi_picture
from dagster_project.resources import Lakehouse


@table_asset(DHI, deps=["lesions", "reads", "scans", "outcomes"], kinds=["pyradiomics"])
def dhi(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Compare what has not been compared yet; fit the limits over the cohort."""
    done = compare_new_pairs(lakehouse, context.log.info)
    (outcomes,) = lakehouse.read("outcomes")
    return materialize_result(
        lakehouse.lake.replace(DHI.name, done.rows),
        done.rows,
        picture=dhi_picture(done.rows, outcomes),
        facts=done.counts,
    )
