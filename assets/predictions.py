"""Probability of response.

It is out of fold for the cohort, and by the champion or candidate for the eligible patients
outside it.
"""

import dagster as dg
import polars as pl

from dagster_project.flow.predictions import marked_predictions
from dagster_project.lake.tables import PREDICTIONS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.reports.pictures import roc_picture
from dagster_project.resources import Lakehouse


@table_asset(PREDICTIONS, deps=["model_runs"])
def predictions(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Store the probabilities of the last training."""
    (runs,) = lakehouse.read("model_runs")
    rows = marked_predictions(lakehouse, runs)
    outside = rows.filter(pl.col("fold").is_null())
    facts = {
        "by_alias": str(dict(outside.group_by("alias").len().iter_rows())),
        "abstained": rows["abstained"].sum(),
    }
    picture = roc_picture(rows, runs, lakehouse.study.section("model")["primary_task"])
    return materialize_result(
        lakehouse.lake.replace(PREDICTIONS.name, rows), rows, picture=picture, facts=facts
    )
