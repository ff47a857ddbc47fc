"""What the predicted probabilities of the model with an alias are based on.

Contributions are those of blocks, features, regions, visits, lesions and members of the stack.
"""

import dagster as dg
import polars as pl

from dagster_project.flow.gate import gate_state
from dagster_project.flow.predictions import load_predictions
from dagster_project.lake.tables import ATTRIBUTIONS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(ATTRIBUTIONS, deps=["model_runs"])
def attributions(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Take over what was derived with the predictions."""
    state = gate_state(lakehouse.lake, lakehouse.study)
    rows = load_predictions(lakehouse).attributions.with_columns(gate=pl.lit(state))
    return materialize_result(
        lakehouse.lake.replace(ATTRIBUTIONS.name, rows),
        rows,
        facts={"patients": rows["patient"].n_unique()},
    )
