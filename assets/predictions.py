"""Out-of-fold probability of response of each patient of the cohort."""

import dagster as dg

from dagster_project.flow.model_runs import kept_predictions
from dagster_project.lake.tables import PREDICTIONS
from dagster_project.materialisation import table_asset, told
from dagster_project.reports.pictures import roc_picture
from dagster_project.resources import Lakehouse


@table_asset(PREDICTIONS, deps=["model_runs"])
def predictions(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Take the probabilities of the last training over."""
    rows = kept_predictions(lakehouse)
    (runs,) = lakehouse.read("model_runs")
    return told(lakehouse.lake.replace(PREDICTIONS.name, rows), rows, picture=roc_picture(rows, runs, lakehouse.study.section("model")["task"]))
