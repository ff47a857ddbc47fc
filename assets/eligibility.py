"""Every patient against every criterion, with the evidence."""

import dagster as dg

from dagster_project.domain.cohort.eligibility import derive_eligibility
from dagster_project.lake.tables import ELIGIBILITY
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.reports.pictures import flow_picture
from dagster_project.resources import Lakehouse


@table_asset(
    ELIGIBILITY, deps=["patients", "treatments", "timepoints", "scans", "lesions", "reads"]
)
def eligibility(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Judge inclusion I1-I9 and exclusion E1-E5."""
    names = ("patients", "treatments", "timepoints", "scans", "lesions", "reads")
    patients, treatments, timepoints, scans, lesions, reads = lakehouse.read(*names)
    rows = derive_eligibility(
        patients, treatments, timepoints, scans, lesions, reads, lakehouse.study
    )
    picture = flow_picture({"eligibility": rows, "patients": patients}, lakehouse.study)
    return materialize_result(lakehouse.lake.replace(ELIGIBILITY.name, rows), rows, picture=picture)
