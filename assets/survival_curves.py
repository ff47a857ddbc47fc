"""Kaplan-Meier curves of the cohort and of each hospital, with their bands."""

import dagster as dg

from dagster_project.flow.cohort_estimates import POPULATION_DEPS, estimate_cohort
from dagster_project.lake.tables import SURVIVAL_CURVES
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(SURVIVAL_CURVES, deps=[*POPULATION_DEPS, "time_to_event"])
def survival_curves(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Every end point by version and origin."""
    return materialize_result(*estimate_cohort(lakehouse, SURVIVAL_CURVES))
