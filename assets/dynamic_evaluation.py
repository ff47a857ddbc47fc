"""The dynamic standard judged beside its comparators; no gate holds it back."""

import dagster as dg

from dagster_project.domain.evaluation.figures import ALL_SITES
from dagster_project.flow.dynamic_evaluation import evaluate_standard
from dagster_project.flow.visit_features import FEATURE_TABLES
from dagster_project.lake.tables import DYNAMIC_EVALUATION
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(
    DYNAMIC_EVALUATION,
    deps=[
        "dynamic_irecist",
        "dynamic_risk",
        "irecist_blocks",
        "responses",
        "lesions",
        "arbitrations",
        "timepoints",
        "time_to_event",
        "follow_up",
        "treatments",
        "clinical_status",
        *FEATURE_TABLES,
    ],
    by_day=True,
)
def dynamic_evaluation(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Replay every decision from what was known then, and compare."""
    rows = evaluate_standard(lakehouse)
    return materialize_result(
        lakehouse.lake.replace(DYNAMIC_EVALUATION.name, rows), rows.filter(site=ALL_SITES)
    )
