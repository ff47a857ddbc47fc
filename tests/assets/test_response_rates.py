"""Rates and their intervals are those that the study report gives."""

from __future__ import annotations

from dagster_project.reports.summaries.cohort import choose_population
from dagster_project.reports.summaries.response import summarise_response
from dagster_project.reports.summaries.tables import completed
from tests.assets.test_survival_medians import READ
from tests.trial import Stage


def test_rates_are_those_of_the_study_report(opened: Stage) -> None:
    tables = completed({name: opened.table(name) for name in READ})
    shown = {
        r["name"]: (r["x"], r["n"], r["share"], r["low"], r["high"])
        for r in summarise_response(tables, choose_population(tables))
    }
    found = {
        r["rate"]: (r["n_counted"], r["n_patients"], r["value"], r["lower"], r["upper"])
        for r in opened.table("response_rates").filter(site="*").to_dicts()
    }
    assert found == shown
