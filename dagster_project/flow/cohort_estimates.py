"""Figures of the cohort, of the same patients as in the study report."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from dagster_project.domain.response.cohort_estimates import (
    Cohort,
    derive_response_rates,
    derive_survival_curves,
    derive_survival_medians,
)
from dagster_project.lake.store import Write
from dagster_project.lake.tables import (
    OUTCOMES,
    RESPONSE_RATES,
    SURVIVAL_CURVES,
    SURVIVAL_MEDIANS,
    TIME_TO_EVENT,
    Table,
)
from dagster_project.resources import Lakehouse

POPULATION_DEPS = ("eligibility", "arbitrations", "patients", "scans", "responses", "outcomes")
"""Tables by which the population is chosen."""

Derive = Callable[[pl.DataFrame, Cohort], pl.DataFrame]

ESTIMATED: Mapping[str, tuple[Table, Derive]] = {
    SURVIVAL_CURVES.name: (TIME_TO_EVENT, derive_survival_curves),
    SURVIVAL_MEDIANS.name: (TIME_TO_EVENT, derive_survival_medians),
    RESPONSE_RATES.name: (OUTCOMES, derive_response_rates),
}
"""Each table of figures, and the table and function that it is derived by."""


def estimate_cohort(lakehouse: Lakehouse, table: Table) -> tuple[Write, pl.DataFrame]:
    """Bring one table of figures up to date.

    The population is that of the study report: who is eligible and waits for no arbiter, else
    everyone who waits for none.
    """
    from dagster_project.reports.summaries.cohort import choose_population
    from dagster_project.reports.summaries.tables import completed

    of, derive = ESTIMATED[table.name]
    names = dict.fromkeys((*POPULATION_DEPS, of.name))
    tables = completed(dict(zip(names, lakehouse.read(*names), strict=True)))
    chosen = choose_population(tables)
    rows = derive(tables[of.name], Cohort(chosen.code, chosen.patients))
    return lakehouse.lake.replace(table.name, rows), rows
