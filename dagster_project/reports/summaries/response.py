"""Response rates, disease control and courses of patients."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dagster_project.domain.response.best_response import response_rate
from dagster_project.domain.response.cohort_estimates import DISEASE_CONTROL, RATES, RESPONSE
from dagster_project.reports.figures.response import Course
from dagster_project.reports.summaries.cohort import Population
from dagster_project.reports.summaries.tables import WHO, Row, Tables
from dagster_project.statistics.binomial import Proportion, clopper_pearson
from dagster_project.statistics.predictive_values import outcome_weights


def summarise_response(tables: Tables, population: Population) -> list[Row]:
    """Response and disease control of the population, with exact 95 % intervals.

    All patients are in the denominator.
    """
    n, outcomes = population.patients.height, population.of(tables["outcomes"])
    if not n or outcomes.is_empty():
        return []
    counts = {
        code: int(outcomes[rate.column].is_in(list(rate.counted)).sum())
        for code, rate in RATES.items()
    }
    return [_rate(name, clopper_pearson(x, n)) for name, x in counts.items()]


def _rate(name: str, found: Proportion) -> Row:
    bounds = {"low": found.lower, "high": found.upper}
    return {"name": name, "x": found.count, "n": found.n, "share": found.value, **bounds}


SUBGROUPS = ("site", "stage", "histology", "line")
"""Columns of `patients` by whose values response rates are compared."""


def summarise_response_by(tables: Tables, population: Population) -> list[tuple[str, list[Row]]]:
    """Response and disease control by site and by group of patients.

    Each has exact intervals. Small groups are shown as they are, and nothing is tested.
    """
    people = population.of(tables["patients"]).join(
        tables["outcomes"].select(*WHO, "bor"), on=WHO, how="left"
    )
    found = []
    for column in SUBGROUPS:
        groups = (
            people.with_columns(group=pl.col(column).cast(pl.String).fill_null("not known"))
            .group_by("group")
            .agg("bor")
            .sort("group")
        )
        rows = [_rates_of(group, best) for group, best in groups.iter_rows()]
        if len(rows) > 1 or column == "site":
            found.append((column, rows))
    return [(column, rows) for column, rows in found if rows]


def _rates_of(group: str, best: Sequence[str | None]) -> Row:
    rates = (("orr", "ORR", RESPONSE), ("dcr", "DCR", DISEASE_CONTROL))
    found = {key: _rate(name, response_rate(best, counted=of)) for key, name, of in rates}
    return {"group": group, **found}


def weight_disease_control(
    tables: Tables, population: Population, share_in_practice: float
) -> Row | None:
    """Disease control as enrolled, and weighted to the share of responders in practice.

    None without patients of both outcomes.
    """
    outcomes = population.of(tables["outcomes"]).drop_nulls("responder")
    responders = outcomes["responder"].to_list()
    if len(set(responders)) < 2:
        return None
    controlled, weights = (
        outcomes["bor"].is_in(list(DISEASE_CONTROL)).to_list(),
        outcome_weights(responders, share_in_practice),
    )
    weighted = sum(w for w, c in zip(weights, controlled, strict=True) if c) / sum(weights)
    return {
        "n": len(responders),
        "enrolled": sum(controlled) / len(controlled),
        "weighted": weighted,
        "share": share_in_practice,
        "responders": sum(responders) / len(responders),
    }


def count_best_responses(tables: Tables, population: Population) -> list[Row]:
    """Patients by best overall response, those without one as NULL."""
    return (
        population.patients.join(tables["outcomes"].select(*WHO, "bor"), on=WHO, how="left")
        .group_by("bor")
        .len("patients")
        .sort("patients", descending=True)
        .to_dicts()
    )


def count_pseudoprogressions(tables: Tables, population: Population) -> Row:
    """Patients with a pseudoprogression by each of the four definitions.

    Also those in whom it could be determined.
    """
    outcomes = population.of(tables["outcomes"])
    definitions = (
        "pseudoprogression",
        "pseudoprogression_d1_nadir",
        "pseudoprogression_d2",
        "pseudoprogression_d2_nadir",
    )
    return {
        "n": int(outcomes["pseudoprogression"].count()),
        **{name: int(outcomes[name].sum() or 0) for name in definitions},
    }


def list_courses(tables: Tables, population: Population) -> list[Course]:
    """The population's patients over time by the accepted read.

    For the spider plot and the swimmer plot.
    """
    rows = (
        population.of(tables["responses"])
        .filter(pl.col("evaluator") == "accepted")
        .drop_nulls("day")
        .sort("day")
    )
    visits = {
        who: list(part.iter_rows(named=True))
        for who, part in rows.group_by(WHO, maintain_order=True)
    }
    return [
        _course(o, visits.get((o["site"], o["patient"]), []))
        for o in population.of(tables["outcomes"]).sort(WHO).iter_rows(named=True)
    ]


def _course(outcome: Row, visits: Sequence[Row]) -> Course:
    return Course(
        best=outcome["bor"] or "NE",
        changes=[
            (v["day"], v["change_from_baseline_percent"])
            for v in visits
            if v["change_from_baseline_percent"] is not None
        ],
        responses=[(v["day"], v["overall_response"]) for v in visits],
        days=outcome["pfs_days"],
        died=outcome["pfs_reason"] == "death",
        going_on=outcome["pfs_event"] is False,
    )
