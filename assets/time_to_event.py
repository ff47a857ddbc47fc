"""Survival times by every version of the censoring, from the first cycle and from T2."""

import dagster as dg

from dagster_project.domain.time_to_event import derive_time_to_event
from dagster_project.lake.tables import TIME_TO_EVENT
from dagster_project.materialisation import table_asset, told
from dagster_project.resources import Lakehouse


@table_asset(TIME_TO_EVENT, deps=["responses", "treatments", "follow_up", "patients", "timepoints"])
def time_to_event(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Main and sensitivity versions side by side."""
    rows = derive_time_to_event(*lakehouse.read("responses", "treatments", "follow_up", "patients", "timepoints"), lakehouse.study.section("endpoints"))
    return told(lakehouse.lake.replace(TIME_TO_EVENT.name, rows), rows)
