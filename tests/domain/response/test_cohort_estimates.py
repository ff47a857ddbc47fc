"""Figures of the cohort against curves and rates worked out by hand."""

from __future__ import annotations

import polars as pl
import pytest

from dagster_project.domain.response.cohort_estimates import (
    Cohort,
    derive_response_rates,
    derive_survival_curves,
    derive_survival_medians,
)
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import OUTCOMES, RESPONSE_RATES, SURVIVAL_CURVES, TIME_TO_EVENT
from tests.domain.records import table


def cohort(*patients: str, population: str = "eligible") -> Cohort:
    sites = [patient[:4] for patient in patients]
    schema = {"site": pl.String, "patient": pl.String}
    return Cohort(population, pl.DataFrame({"site": sites, "patient": patients}, schema=schema))


def times(**days: tuple[int | None, bool | None]) -> pl.DataFrame:
    """Main PFS of each patient, whose site is the first part of the name."""
    rows = [
        {
            "site": name[:4],
            "patient": name,
            "endpoint": "pfs",
            "version": "main",
            "origin": "first_cycle",
            "days": day,
            "event": event,
            "reason": "",
            "simulated": False,
        }
        for name, (day, event) in days.items()
    ]
    return pl.DataFrame(rows, schema=polars_schema(TIME_TO_EVENT))


PFS = times(
    BJCH1=(10, True), BJCH2=(20, False), SHPH1=(30, True), SHPH2=(40, True), SHPH3=(None, None)
)
ALL = cohort("BJCH1", "BJCH2", "SHPH1", "SHPH2", "SHPH3")


def test_steps_of_all_and_of_each_hospital() -> None:
    """Four at risk on day 10; on day 20 one is censored; two are left on day 30."""
    curves = derive_survival_curves(PFS, ALL)
    assert curves.schema == polars_schema(SURVIVAL_CURVES)
    steps = curves.filter(site="*").select("day", "n_at_risk", "n_events", "n_censored", "survival")
    assert steps.rows() == [
        (10, 4, 1, 0, 0.75),
        (20, 3, 0, 1, 0.75),
        (30, 2, 1, 0, 0.375),
        (40, 1, 1, 0, 0.0),
    ]
    assert curves.filter(site="BJCH")["survival"].to_list() == [0.5, 0.5]
    assert curves.filter(survival=0)["lower"].to_list() == [None, None]
    assert curves.select(SURVIVAL_CURVES.key).is_unique().all()


def test_medians_and_follow_up() -> None:
    """By the reverse curve, the one who was censored is the only event, on day 20."""
    (row,) = derive_survival_medians(PFS, ALL).filter(site="*").to_dicts()
    assert (row["n_patients"], row["n_events"], row["median_days"]) == (4, 3, 30)
    assert row["follow_up_days"] is None
    later = times(BJCH1=(10, False), BJCH2=(20, False), SHPH1=(30, True))
    (row,) = derive_survival_medians(later, ALL).filter(site="*").to_dicts()
    assert row["follow_up_days"] == 20


def test_only_the_population_counts() -> None:
    curves = derive_survival_curves(PFS, cohort("BJCH1", population="all"))
    assert curves["n_at_risk"].to_list() == [1, 1]
    assert set(curves["population"]) == {"all"}
    assert derive_survival_curves(PFS, cohort()).is_empty()


def test_who_has_no_best_response_is_in_the_denominator() -> None:
    outcomes = table(
        "outcomes",
        {"site": "BJCH", "patient": "BJCH1", "bor": "PR", "bor_confirmed": "SD", "ibor": "iPR"},
        {"site": "SHPH", "patient": "SHPH1", "bor": "SD", "bor_confirmed": "SD", "ibor": "iSD"},
    )
    assert outcomes.schema == polars_schema(OUTCOMES)
    rates = derive_response_rates(outcomes, cohort("BJCH1", "SHPH1", "SHPH2"))
    assert rates.schema == polars_schema(RESPONSE_RATES)
    found = {(r["site"], r["rate"]): (r["n_counted"], r["n_patients"]) for r in rates.to_dicts()}
    assert found["*", "orr"] == (1, 3)
    assert found["*", "orr_confirmed"] == (0, 3)
    assert found["*", "dcr"] == (2, 3)
    assert found["*", "iorr"] == (1, 3)
    assert found["SHPH", "dcr"] == (1, 2)
    (orr,) = rates.filter(site="*", rate="orr").to_dicts()
    assert (orr["lower"], orr["upper"]) == pytest.approx((0.0084, 0.9057), abs=1e-4)
