"""How far a feature depends on who outlined the lesion."""

import dagster as dg

from dagster_project.domain.feature_stability import derive_feature_stability
from dagster_project.flow.feature_stability import spread_between_readers
from dagster_project.lake.tables import FEATURE_STABILITY
from dagster_project.materialisation import table_asset, told
from dagster_project.resources import Lakehouse


@table_asset(FEATURE_STABILITY, deps=["radiomic_features"])
def feature_stability(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Compare each feature between the two locked reads of every lesion and visit."""
    rows = derive_feature_stability(spread_between_readers(lakehouse))
    return told(lakehouse.lake.replace(FEATURE_STABILITY.name, rows), rows, stable=int(rows["stable"].sum()))
