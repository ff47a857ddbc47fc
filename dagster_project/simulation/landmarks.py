"""Visits after baseline of a cohort that is simulated as tables, with what came after."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from dagster_project.domain.evaluation.courses import Landmark
from dagster_project.domain.evaluation.supermodel import CONTROLLED
from dagster_project.simulation.comparisons import VISITS
from dagster_project.simulation.tables import DAYS, SimulatedTables


def landmarks_of_tables(tables: SimulatedTables) -> list[Landmark]:
    """One row per patient and visit after baseline at which the patient is at risk.

    Every visit counts as controlled: these tables have no response. Times are those of `outcomes`,
    which the simulation counts from baseline.
    """
    sums = tables.responses.select("site", "patient", "visit", "sum_mm")
    outcomes = tables.outcomes.select("site", "patient", "pfs_days", "pfs_event").sort(
        "site", "patient"
    )
    of_patients = dict(iter(sums.group_by("site", "patient")))
    return [
        landmark
        for row in outcomes.iter_rows()
        for landmark in _visits(row, of_patients[row[0], row[1]])
    ]


def _visits(row: tuple[str, str, int, bool], sums: pl.DataFrame) -> Iterator[Landmark]:
    site, patient, days, event = row
    sizes = dict(sums.select("visit", "sum_mm").iter_rows())
    for number, (visit, day) in enumerate(zip(VISITS, DAYS, strict=True)):
        if not number or days <= day:
            continue
        yield Landmark(
            patient=(site, patient),
            visit=visit,
            number=number,
            state=CONTROLLED,
            recist="SD",
            irecist="iSD",
            sum_mm=sizes[visit],
            baseline_sum_mm=sizes[VISITS[0]],
            nadir_mm=min(sizes[v] for v in VISITS[: number + 1]),
            elapsed_days=day,
            days=days - day,
            event=event,
            earliest_days=days - day,
            days_alive=None,
            died=None,
            responds_next=None,
            state_of_table=None,
            response_risk=None,
            progression_risk=None,
            asked=0,
            withheld=0,
        )
