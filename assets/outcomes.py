"""Best responses and progression-free survival, one row per patient."""

import dagster as dg
import polars as pl

from dagster_project.domain.response.endpoints import derive_outcomes
from dagster_project.lake.tables import OUTCOMES
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.reports.pictures import response_pictures, survival_picture
from dagster_project.resources import Lakehouse


@table_asset(OUTCOMES, deps=["responses", "treatments", "follow_up", "patients", "timepoints"])
def outcomes(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Best responses and PFS by the censoring table."""
    names = ("responses", "treatments", "follow_up", "patients", "timepoints")
    graded, treatments, follow_up, patients, timepoints = lakehouse.read(*names)
    study = lakehouse.study
    accepted = graded.filter(pl.col("evaluator") == "accepted")
    rows = derive_outcomes(
        accepted,
        treatments,
        follow_up,
        patients,
        timepoints,
        study.section("endpoints"),
        study.section("recist"),
    )
    write = lakehouse.lake.replace(OUTCOMES.name, rows)
    return materialize_result(
        write, rows, picture=survival_picture(rows), facts=response_pictures(accepted, rows)
    )
