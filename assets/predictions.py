"""Probability of response: out of fold for the cohort, by the champion or candidate for the eligible patients outside it."""

import dagster as dg
import polars as pl

from dagster_project.flow.predictions import kept_said
from dagster_project.lake.tables import PREDICTIONS
from dagster_project.materialisation import table_asset, told
from dagster_project.reports.pictures import roc_picture
from dagster_project.resources import Lakehouse


@table_asset(PREDICTIONS, deps=["model_runs"])
def predictions(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Take the probabilities of the last training over."""
    rows = kept_said(lakehouse).predictions
    (runs,) = lakehouse.read("model_runs")
    return told(lakehouse.lake.replace(PREDICTIONS.name, rows), rows, picture=roc_picture(rows, runs, lakehouse.study.section("model")["primary_task"]),
                by_alias=str(dict(rows.filter(pl.col("fold").is_null()).group_by("alias").len().iter_rows())),
                abstained=rows["abstained"].sum())
