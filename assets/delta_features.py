"""Change of each feature of the accepted read between visits."""

import dagster as dg

from dagster_project.flow.delta_features import derive_changed
from dagster_project.lake.tables import DELTA_FEATURES
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(DELTA_FEATURES, deps=["radiomic_features", "lesions", "timepoints"])
def delta_features(context: dg.AssetExecutionContext, lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Subtract, compare and divide by the days between, for the patients whose data changed."""
    done = derive_changed(lakehouse, context.log.info)
    return materialize_result(done.written, facts=done.counts)
