"""What tumour boards decided, and whether the page that they looked at is as it was."""

import dagster as dg

from dagster_project.flow.board_decisions import judge_board_decisions
from dagster_project.lake.tables import BOARD_DECISIONS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(
    BOARD_DECISIONS,
    deps=[
        "intake",
        "patients",
        "timepoints",
        "treatments",
        "follow_up",
        "clinical_status",
        "reads",
        "lesions",
        "arbitrations",
        "responses",
        "dynamic_evidence",
        "dynamic_irecist",
        "dynamic_risk",
    ],
    by_day=True,
)
def board_decisions(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Judge each delivered decision by the page that it names."""
    found = judge_board_decisions(lakehouse)
    written = lakehouse.lake.replace(BOARD_DECISIONS.name, found.rows)
    return materialize_result(written, found.rows, facts=found.counts)
