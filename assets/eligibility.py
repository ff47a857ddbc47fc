"""Every patient against every criterion, with the evidence."""

import dagster as dg

from dagster_project.domain.eligibility import derive_eligibility
from dagster_project.lake.tables import ELIGIBILITY
from dagster_project.materialisation import table_asset, told
from dagster_project.reports.pictures import flow_picture
from dagster_project.resources import Lakehouse


@table_asset(ELIGIBILITY, deps=["patients", "treatments", "timepoints", "scans", "lesions", "reads"])
def eligibility(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Judge inclusion I1-I9 and exclusion E1-E5."""
    tables = lakehouse.read("patients", "treatments", "timepoints", "scans", "lesions", "reads")
    rows = derive_eligibility(*tables, lakehouse.study)
    return told(lakehouse.lake.replace(ELIGIBILITY.name, rows), rows, picture=flow_picture({"eligibility": rows, "patients": tables[0]}, task="T1"))
