"""Features of repeat scans and of negative controls.

Repeats show what must stay when a lesion is measured again; controls must carry no information.
"""

import dagster as dg

from dagster_project.flow.control_features import measure_new_controls
from dagster_project.lake.tables import CONTROL_FEATURES
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(CONTROL_FEATURES, deps=["reads", "scans", "timepoints"], kinds=["pyradiomics"])
def control_features(
    context: dg.AssetExecutionContext, lakehouse: Lakehouse
) -> dg.MaterializeResult:
    """Measure the protocol's sample and every repeat scan, where that has not been done yet."""
    done = measure_new_controls(lakehouse, context.partition_key, context.log.info)
    return materialize_result(done.written, facts=done.counts)
