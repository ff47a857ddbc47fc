"""State, block and advice beside iRECIST, and a probability where one may be shown."""

import dagster as dg

from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic import derive_dynamic_irecist
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.flow.gate import gate_state
from dagster_project.lake.tables import DYNAMIC_IRECIST
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(
    DYNAMIC_IRECIST, deps=["responses", "irecist_blocks", "predictions", "model_runs", "dhi"]
)
def dynamic_irecist(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """State and advice of each visit; a closed gate takes nothing of them away."""
    names = ("responses", "irecist_blocks", "predictions", "model_runs", "dhi")
    responses, blocks, predictions, runs, dhi = lakehouse.read(*names)
    rows = derive_dynamic_irecist(
        responses,
        blocks,
        predictions,
        runs,
        dhi,
        lakehouse.study.sections,
        standard_of(lakehouse.study, shipped_classes()),
        gate=gate_state(lakehouse.lake, lakehouse.study),
    )
    return materialize_result(lakehouse.lake.replace(DYNAMIC_IRECIST.name, rows), rows)
