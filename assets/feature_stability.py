"""How far a feature depends on who outlined the lesion, and on how it lay in the scanner."""

import dagster as dg

from dagster_project.flow.feature_stability import compare_features
from dagster_project.lake.tables import FEATURE_STABILITY
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(FEATURE_STABILITY, deps=["radiomic_features", "control_features"])
def feature_stability(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Compare each feature between repeated measurements of the same lesion.

    These are the two locked reads of every lesion and visit, perturbed copies, and repeat scans.
    """
    rows = compare_features(lakehouse)
    return materialize_result(
        lakehouse.lake.replace(FEATURE_STABILITY.name, rows),
        rows,
        facts={"stable": int(rows["stable"].sum())},
    )
