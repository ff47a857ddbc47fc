"""End points over time: curves, medians, and reasons for censoring."""

from __future__ import annotations

import polars as pl

from dagster_project.domain.response.cohort_estimates import RESPONSE
from dagster_project.reports.summaries.cohort import Population
from dagster_project.reports.summaries.tables import WHO, Row, Tables
from dagster_project.statistics.survival import KaplanMeier, kaplan_meier, log_rank


def summarise_times(tables: Tables, population: Population) -> list[Row]:
    """Every end point by version and origin, main first.

    Patients, events, and the median with its log-log interval.
    """
    times = population.of(tables["time_to_event"]).drop_nulls(["days", "event"])
    found = []
    for (endpoint, version, origin), part in times.group_by(
        "endpoint", "version", "origin", maintain_order=True
    ):
        curve = kaplan_meier(part["days"].to_list(), part["event"].to_list())
        found.append(
            {
                "endpoint": endpoint,
                "version": version,
                "origin": origin,
                "n": part.height,
                "events": int(part["event"].sum()),
                "median": curve.median,
                "low": curve.median_lower,
                "high": curve.median_upper,
            }
        )
    order = {
        name: n
        for n, name in enumerate(("pfs", "dor", "os", "first_cycle", "T2", "response", "main"))
    }
    return sorted(
        found, key=lambda r: tuple(order.get(r[k], 99) for k in ("endpoint", "origin", "version"))
    )


def compare_curves(curves: Curves) -> Row | None:
    """Log-rank test of the groups of a figure; None with fewer than two groups or no event."""
    filled = {name: times for name, times in curves.items() if times[0]}
    if len(filled) < 2 or not any(any(events) for _, events in filled.values()):
        return None
    days, events = ([x for times in filled.values() for x in times[k]] for k in (0, 1))
    found = log_rank(days, events, [name for name, times in filled.items() for _ in times[0]])  # type: ignore[arg-type]
    return {"statistic": found.statistic, "degrees": found.degrees, "p": found.p}


Curves = dict[str, tuple[list[int], list[bool]]]


def list_survival(tables: Tables, population: Population) -> tuple[Curves, Curves]:
    """Times and events for the survival curves.

    Of all from the first cycle, and from T2 (landmark) by the response as of T2.
    """
    outcomes = population.of(tables["outcomes"])
    at_t2 = (
        tables["responses"]
        .filter(pl.col("visit") == "T2", pl.col("evaluator") == "accepted")
        .select(*WHO, at_t2=pl.col("overall_response_as_of_visit").is_in(list(RESPONSE)))
    )
    landmark = outcomes.drop_nulls(["pfs_from_t2_days", "pfs_from_t2_event"]).join(
        at_t2, on=WHO, how="left"
    )
    whole = {"All": _times(outcomes.drop_nulls(["pfs_days", "pfs_event"]), "pfs_days", "pfs_event")}
    groups = {
        "CR or PR as of T2": landmark.filter("at_t2"),
        "Neither, as of T2": landmark.filter(~pl.col("at_t2")),
        "Not evaluated at T2": landmark.filter(pl.col("at_t2").is_null()),
    }
    split = {
        name: _times(part, "pfs_from_t2_days", "pfs_from_t2_event") for name, part in groups.items()
    }
    return _filled(whole), _filled(split)


def _filled(curves: Curves) -> Curves:
    return {name: times for name, times in curves.items() if times[0]}


def _times(outcomes: pl.DataFrame, days: str, event: str) -> tuple[list[int], list[bool]]:
    return outcomes[days].to_list(), outcomes[event].to_list()


def survival_curves(curves: Curves) -> dict[str, KaplanMeier]:
    """The Kaplan-Meier curve of each group that has a time, for the figure."""
    return {name: kaplan_meier(*times) for name, times in curves.items() if times[0]}


def summarise_survival(curves: Curves) -> list[Row]:
    """By group: patients, events, and the median with its log-log interval.

    NULL where the median is not reached.
    """
    rows = []
    for name, curve in survival_curves(curves).items():
        rows.append(
            {
                "name": name,
                "n": curve.n,
                "events": sum(curve.events),
                "median": curve.median,
                "low": curve.median_lower,
                "high": curve.median_upper,
            }
        )
    return rows


def count_pfs_reasons(tables: Tables, population: Population) -> list[Row]:
    """Patients by the row of the censoring table that gave their date."""
    return (
        population.of(tables["outcomes"])
        .drop_nulls("pfs_reason")
        .group_by("pfs_reason", "pfs_event")
        .len("patients")
        .sort("pfs_event", "patients", "pfs_reason", descending=[True, True, False])
        .to_dicts()
    )
