"""Survival times by every version of the censoring, from the first cycle and from T2."""

import dagster as dg

from dagster_project.domain.response.time_to_event import derive_time_to_event
from dagster_project.lake.tables import TIME_TO_EVENT
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(TIME_TO_EVENT, deps=["responses", "treatments", "follow_up", "patients", "timepoints"])
def time_to_event(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Main and sensitivity versions side by side."""
    names = ("responses", "treatments", "follow_up", "patients", "timepoints")
    responses, treatments, follow_up, patients, timepoints = lakehouse.read(*names)
    rows = derive_time_to_event(
        responses, treatments, follow_up, patients, timepoints, lakehouse.study.section("endpoints")
    )
    return materialize_result(lakehouse.lake.replace(TIME_TO_EVENT.name, rows), rows)
