"""Change of each feature of the accepted read between visits."""

import dagster as dg

from dagster_project.flow.delta_features import accepted_features
from dagster_project.lake.tables import DELTA_FEATURES
from dagster_project.materialisation import table_asset, told
from dagster_project.radiomics.delta import derive_delta_features
from dagster_project.resources import Lakehouse


@table_asset(DELTA_FEATURES, deps=["radiomic_features", "lesions", "timepoints"])
def delta_features(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Subtract, compare and divide by the days between."""
    rows = derive_delta_features(accepted_features(lakehouse), lakehouse.lake.read("timepoints"))
    return told(lakehouse.lake.replace(DELTA_FEATURES.name, rows), rows)
