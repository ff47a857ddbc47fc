"""Figures of the cohort as tables: survival curves, medians and response rates, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from dagster_project.domain.response.best_response import response_rate
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import (
    OUTCOMES,
    RESPONSE_RATES,
    SURVIVAL_CURVES,
    SURVIVAL_MEDIANS,
    TIME_TO_EVENT,
)
from dagster_project.statistics.survival import KaplanMeier, kaplan_meier

RESPONSE = ("CR", "PR")
"""Best responses that count for the objective response rate."""

DISEASE_CONTROL = ("CR", "PR", "SD", "NON_CR_NON_PD")
"""Best responses that count for the disease control rate."""

ALL_SITES = "*"
"""In the place of a hospital: all of them together."""

KIND = ("endpoint", "version", "origin")
"""What tells survival times of one patient apart."""

Row = dict[str, Any]


class Rate(NamedTuple):
    """A response rate: the column of outcomes it is of, and the best responses that count."""

    column: str
    counted: tuple[str, ...]


RATES: Mapping[str, Rate] = {
    "orr": Rate("bor", RESPONSE),
    "orr_confirmed": Rate("bor_confirmed", RESPONSE),
    "dcr": Rate("bor", DISEASE_CONTROL),
    "iorr": Rate("ibor", tuple(f"i{response}" for response in RESPONSE)),
}
"""Response rates by the codes of the table response_rates."""


class Cohort(NamedTuple):
    """Site and pseudonym of the patients whom figures are of, and the code of that population."""

    population: str
    patients: pl.DataFrame


def derive_survival_curves(times: pl.DataFrame, cohort: Cohort) -> pl.DataFrame:
    """SURVIVAL_CURVES: the Kaplan-Meier estimate at each day on which a patient's time ends.

    Parameters
    ----------
    times
        TIME_TO_EVENT; rows without a time have no part.
    cohort
        Whom the curves are of.

    Returns
    -------
    pl.DataFrame
        One row per day of each curve: by hospital and of all, by end point, version and origin.
    """
    return _of_curves(times, cohort, _steps, pl.Schema(polars_schema(SURVIVAL_CURVES)))


def derive_survival_medians(times: pl.DataFrame, cohort: Cohort) -> pl.DataFrame:
    """SURVIVAL_MEDIANS: median time and median follow-up of each curve.

    Follow-up is estimated by the reverse Kaplan-Meier method: ends of observation are the events,
    and events are censored (Schemper and Smith 1996).

    Parameters
    ----------
    times
        TIME_TO_EVENT; rows without a time have no part.
    cohort
        Whom the medians are of.

    Returns
    -------
    pl.DataFrame
    """
    return _of_curves(times, cohort, _medians, pl.Schema(polars_schema(SURVIVAL_MEDIANS)))


def derive_response_rates(outcomes: pl.DataFrame, cohort: Cohort) -> pl.DataFrame:
    """RESPONSE_RATES: each rate by hospital and of all, with its exact interval.

    Every patient of the cohort is in the denominator; who has no best response yet counts as one
    without response.

    Parameters
    ----------
    outcomes
        The table of that name.
    cohort
        Whom the rates are of.

    Returns
    -------
    pl.DataFrame
    """
    people = cohort.patients.join(outcomes, on=["site", "patient"], how="left")
    rows = [
        _rate(name, rate, site, part, cohort.population)
        for site, part in _by_site(people)
        for name, rate in RATES.items()
    ]
    return pl.DataFrame(rows, schema=polars_schema(RESPONSE_RATES))


def _rate(name: str, rate: Rate, site: str, people: pl.DataFrame, population: str) -> Row:
    found = response_rate(people[rate.column].to_list(), counted=rate.counted)
    return {
        "site": site,
        "population": population,
        "rate": name,
        "n_counted": found.count,
        "n_patients": found.n,
        "value": found.value,
        "lower": found.lower,
        "upper": found.upper,
        "simulated": bool(people[OUTCOMES.column("simulated").name].any()),
    }


def _by_site(people: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    if people.is_empty():
        return
    yield ALL_SITES, people
    for site in people["site"].unique().sort():
        yield site, people.filter(pl.col("site") == site)


def _of_curves(
    times: pl.DataFrame,
    cohort: Cohort,
    derive: Callable[[Sequence[int], Sequence[bool]], list[Row]],
    schema: pl.Schema,
) -> pl.DataFrame:
    """Rows of each curve, below its hospital, population, end point, version and origin."""
    timed = times.drop_nulls(["days", "event"]).join(
        cohort.patients, on=["site", "patient"], how="semi"
    )
    rows: list[Row] = []
    for site, part in _by_site(timed):
        for kind, group in part.group_by(KIND, maintain_order=True):
            head: Row = {"site": site, "population": cohort.population}
            head |= dict(zip(KIND, kind, strict=True))
            head["simulated"] = bool(group[TIME_TO_EVENT.column("simulated").name].any())
            found = derive(group["days"].to_list(), group["event"].to_list())
            rows += [{**head, **row} for row in found]
    return pl.DataFrame(rows, schema=schema)


def _steps(days: Sequence[int], events: Sequence[bool]) -> list[Row]:
    curve = kaplan_meier(days, events)
    left = (*curve.at_risk[1:], 0)
    return [
        {
            "day": int(day),
            "n_at_risk": n,
            "n_events": died,
            "n_censored": n - died - after,
            "survival": survival,
            "lower": lower,
            "upper": upper,
        }
        for day, n, died, after, survival, lower, upper in zip(
            curve.time,
            curve.at_risk,
            curve.events,
            left,
            curve.survival,
            curve.lower,
            curve.upper,
            strict=True,
        )
    ]


def _medians(days: Sequence[int], events: Sequence[bool]) -> list[Row]:
    curve, followed = kaplan_meier(days, events), kaplan_meier(days, [not e for e in events])
    return [
        {
            "n_patients": curve.n,
            "n_events": sum(curve.events),
            **_bounds("median", curve),
            **_bounds("follow_up", followed),
        }
    ]


def _bounds(name: str, curve: KaplanMeier) -> Row:
    return {
        f"{name}_days": curve.median,
        f"{name}_lower_days": curve.median_lower,
        f"{name}_upper_days": curve.median_upper,
    }
