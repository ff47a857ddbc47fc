"""Response at each visit as of that visit, for the accepted read and for each reader."""

import dagster as dg

from dagster_project.flow.responses import grade_all_evaluators
from dagster_project.lake.tables import RESPONSES
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(RESPONSES, deps=["lesions", "reads", "timepoints", "clinical_status"])
def responses(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Grade by RECIST 1.1 and iRECIST; a row keeps the time when its content was first known."""
    rows = grade_all_evaluators(lakehouse)
    return materialize_result(lakehouse.lake.replace(RESPONSES.name, rows), rows)
