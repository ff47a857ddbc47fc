"""Evidence beside the state of each visit; no gate holds it back."""

import dagster as dg

from dagster_project.flow.dynamic_evidence import gather_evidence
from dagster_project.lake.tables import DYNAMIC_EVIDENCE
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(
    DYNAMIC_EVIDENCE,
    deps=["responses", "irecist_blocks", "lesions", "timepoints", "dhi"],
    by_day=True,
)
def dynamic_evidence(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """How sure each change is, and what became of progressions like it."""
    rows = gather_evidence(lakehouse)
    return materialize_result(lakehouse.lake.replace(DYNAMIC_EVIDENCE.name, rows), rows)
