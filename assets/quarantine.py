"""Every refused file, scan, read or row with its reason: nothing is dropped in silence."""

import dagster as dg

from dagster_project.flow.step_result import gather_refusals
from dagster_project.lake.tables import QUARANTINE
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(
    QUARANTINE,
    deps=[
        "intake",
        "scans",
        "timepoints",
        "reads",
        "radiomic_features",
        "control_features",
        "arbitrations",
        "dhi",
        "habitats",
        "lesion_locations",
    ],
)
def quarantine(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Gather what each stage of each site refuses now."""
    written, rows = gather_refusals(lakehouse)
    by_stage = {f"refused_{stage}": n for stage, n in rows.group_by("stage").len().iter_rows()}
    return materialize_result(written, rows, facts=by_stage)
