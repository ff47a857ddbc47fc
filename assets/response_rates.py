"""Response rates of the cohort and of each hospital, with exact intervals."""

import dagster as dg

from dagster_project.flow.cohort_estimates import POPULATION_DEPS, estimate_cohort
from dagster_project.lake.tables import RESPONSE_RATES
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(RESPONSE_RATES, deps=[*POPULATION_DEPS])
def response_rates(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Objective response, confirmed and not, disease control, and response by iRECIST."""
    return materialize_result(*estimate_cohort(lakehouse, RESPONSE_RATES))
