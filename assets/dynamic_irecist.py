"""The risk layer beside iRECIST: it advises and never changes a response."""

import dagster as dg
import polars as pl

from dagster_project.domain.dynamic import derive_dynamic_irecist
from dagster_project.flow.gate import gate_state
from dagster_project.lake.tables import DYNAMIC_IRECIST
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(DYNAMIC_IRECIST, deps=["responses", "predictions", "model_runs", "dhi"])
def dynamic_irecist(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Put the model's probability beside the state of each visit."""
    responses, predictions, runs, dhi = lakehouse.read(
        "responses", "predictions", "model_runs", "dhi"
    )
    accepted = responses.filter(pl.col("evaluator") == "accepted")
    rows = derive_dynamic_irecist(
        accepted,
        predictions,
        runs,
        dhi,
        lakehouse.study.section("model"),
        gate=gate_state(lakehouse.lake, lakehouse.study),
    )
    return materialize_result(lakehouse.lake.replace(DYNAMIC_IRECIST.name, rows), rows)
