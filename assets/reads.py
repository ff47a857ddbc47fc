"""One row per reader, lesion and scan, as that reader judged and outlined it."""

import dagster as dg

from dagster_project.flow.reads import measure_new_reads
from dagster_project.lake.tables import READS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(READS, deps=["intake", "timepoints"], kinds=["simpleitk"])
def reads(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Measure new contours, and join every reader's outlines with the list of lesions.

    What does not fit is quarantined.
    """
    site = context.partition_key
    done = measure_new_reads(lakehouse, site, context.log.info)
    write = lakehouse.lake.replace(READS.name, done.rows, site=site)
    return materialize_result(write, done.rows, picture=done.picture, facts=done.counts)
