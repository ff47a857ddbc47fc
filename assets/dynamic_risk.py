"""Risk at each visit by question, behind the gate; what may not be said is withheld."""

import dagster as dg

from dagster_project.flow.courses import COURSE_TABLES
from dagster_project.flow.dynamic_risk import RISK_TABLES, find_risks
from dagster_project.flow.visit_features import FEATURE_TABLES
from dagster_project.lake.tables import DYNAMIC_RISK
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(
    DYNAMIC_RISK, deps=dict.fromkeys((*RISK_TABLES, *COURSE_TABLES, *FEATURE_TABLES)), by_day=True
)
def dynamic_risk(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Answer each question for each visit by a model that has not seen the patient."""
    rows = find_risks(lakehouse)
    facts = {"shown": int((~rows["withheld"]).sum()), "withheld": int(rows["withheld"].sum())}
    return materialize_result(lakehouse.lake.replace(DYNAMIC_RISK.name, rows), rows, facts=facts)
