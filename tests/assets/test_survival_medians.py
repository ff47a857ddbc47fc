"""Medians are those that the study report gives."""

from __future__ import annotations

from dagster_project.reports.summaries.cohort import choose_population
from dagster_project.reports.summaries.survival import summarise_times
from dagster_project.reports.summaries.tables import completed
from tests.trial import Stage

READ = ("eligibility", "arbitrations", "patients", "scans", "responses", "outcomes")


def test_medians_are_those_of_the_study_report(opened: Stage) -> None:
    tables = completed({name: opened.table(name) for name in (*READ, "time_to_event")})
    shown = {
        (r["endpoint"], r["version"], r["origin"]): (r["n"], r["events"], r["median"], r["low"])
        for r in summarise_times(tables, choose_population(tables))
    }
    found = {
        (r["endpoint"], r["version"], r["origin"]): (
            r["n_patients"],
            r["n_events"],
            r["median_days"],
            r["median_lower_days"],
        )
        for r in opened.table("survival_medians").filter(site="*").to_dicts()
    }
    assert found == shown
