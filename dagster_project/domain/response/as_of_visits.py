"""Responses and blocks by what was known on the day of each visit.

The tables are as of today; a page of an earlier visit must hold nothing dated later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from dagster_project.domain.response.block_rows import derive_irecist_blocks
from dagster_project.domain.response.dynamic_standard import Standard
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.planned_scans import planned_scan_day
from dagster_project.domain.response.responses import derive_responses
from dagster_project.lake.clock import CLOCK_SCHEMA
from dagster_project.lake.schema import empty
from dagster_project.lake.tables import IRECIST_BLOCKS, RESPONSES

WHO = ["site", "patient"]

PLANNED_SCHEMA = {
    "site": pl.String(),
    "patient": pl.String(),
    "visit": pl.String(),
    "planned_scan_day": pl.Int64(),
}


def derive_blocks_as_of(
    reads: Mapping[str, pl.DataFrame],
    timepoints: pl.DataFrame,
    follow_up: pl.DataFrame,
    treatments: pl.DataFrame,
    clinical_status: pl.DataFrame,
    sections: Mapping[str, Rules],
    standard: Standard,
) -> pl.DataFrame:
    """Rows of irecist_blocks as they were on the day of each visit, with a column `as_of_visit`.

    The k-th visits of all patients are one derivation, whose clock is the date of each patient's.
    Visits, events and cycles after that date, or without one, do not count.

    Parameters
    ----------
    reads
        Lesions by evaluator: `accepted`, and each reader's locked read.
    timepoints, follow_up, treatments, clinical_status
        Those tables.
    sections
        Sections of the protocol by name.
    standard
        Version and digest of the standard.
    """
    found = [empty(IRECIST_BLOCKS).with_columns(as_of_visit=pl.lit(None, pl.String))]
    for visits in _visits_in_turn(timepoints):
        blocks = derive_irecist_blocks(
            {name: _read_by(rows, timepoints, visits) for name, rows in reads.items()},
            _until(timepoints, "scan_date", visits),
            _until(follow_up, "event_date", visits),
            _until(treatments, "treatment_date", visits),
            _until(clinical_status, "status_date", visits),
            visits.select(list(CLOCK_SCHEMA)),
            sections,
            standard,
        )
        names = visits.select(*WHO, as_of_visit="visit")
        found.append(blocks.join(names, on=WHO, how="inner"))
    return pl.concat(found)


def derive_responses_as_of(
    reads: Mapping[str, pl.DataFrame],
    timepoints: pl.DataFrame,
    clinical_status: pl.DataFrame,
    sections: Mapping[str, Rules],
) -> pl.DataFrame:
    """Rows of responses of each visit, graded from that visit and earlier ones alone.

    In the table a lesion that was equivocal at a visit and called unequivocal later is new from its
    first appearance; here it is not.

    Parameters
    ----------
    reads
        Lesions by evaluator, of patients whom that evaluator has read.

    Returns
    -------
    pl.DataFrame
        The table responses without `recorded_at`.
    """
    found = [empty(RESPONSES).drop("recorded_at")]
    for visits in _visits_in_turn(timepoints):
        seen, states = (
            _until(timepoints, "scan_date", visits),
            _until(clinical_status, "status_date", visits),
        )
        for name, rows in reads.items():
            read = _read_by(rows, timepoints, visits)
            graded = derive_responses(
                read,
                seen.join(read.select(WHO).unique(), on=WHO, how="semi"),
                evaluator=name,
                recist=sections["recist"],
                irecist=sections["irecist"],
                clinical_status=states,
            )
            found.append(graded.join(visits.select(*WHO, "visit"), on=[*WHO, "visit"], how="semi"))
    return pl.concat(found)


def _read_by(rows: pl.DataFrame, timepoints: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    """Lesions of the visits up to these."""
    seen = _until(timepoints, "scan_date", visits).select(*WHO, "visit")
    return rows.join(seen, on=[*WHO, "visit"], how="semi", maintain_order="left")


def _visits_in_turn(timepoints: pl.DataFrame) -> list[pl.DataFrame]:
    """First visits of all patients, second visits, and so on, by date; with `as_of_date`."""
    dated = timepoints.drop_nulls("scan_date").sort(*WHO, "scan_date", "visit")
    numbered = dated.with_columns(
        as_of_date=pl.col("scan_date"), number=pl.int_range(pl.len()).over(WHO)
    )
    return numbered.partition_by("number", maintain_order=True)


def _until(rows: pl.DataFrame, column: str, visits: pl.DataFrame) -> pl.DataFrame:
    """Rows of these patients dated no later than the visit; those without a date do not count."""
    both = rows.join(visits.select(*WHO, "as_of_date"), on=WHO, how="inner")
    return both.filter(pl.col(column) <= pl.col("as_of_date")).drop("as_of_date")


def plan_next_scans(
    timepoints: pl.DataFrame, treatments: pl.DataFrame, sections: Mapping[str, Rules]
) -> pl.DataFrame:
    """Day of the next planned CT as it was on the day of each visit.

    Returns
    -------
    pl.DataFrame
        site, patient, visit, planned_scan_day (days from the first cycle; NULL where nothing gives
        one).
    """
    cycles = _cycles(treatments)
    rows: list[dict[str, Any]] = []
    dated = timepoints.drop_nulls(["scan_date", "day"]).sort(*WHO, "scan_date", "visit")
    for who, own in dated.group_by(WHO, maintain_order=True):
        visits = own.to_dicts()
        for place, visit in enumerate(visits):
            day = planned_scan_day(
                {n: d for n, d in cycles.get(who, {}).items() if d <= visit["day"]},
                {v["visit"] for v in visits[: place + 1]},
                visit["day"],
                visit["day"],
                timepoints=sections["timepoints"],
                endpoints=sections["endpoints"],
            )
            rows.append(
                {
                    "site": visit["site"],
                    "patient": visit["patient"],
                    "visit": visit["visit"],
                    "planned_scan_day": day,
                }
            )
    return pl.DataFrame(rows, schema=PLANNED_SCHEMA)


def _cycles(treatments: pl.DataFrame) -> dict[tuple[Any, ...], dict[int, int]]:
    dated = treatments.drop_nulls("day")
    return {
        who: dict(own.select("cycle", "day").iter_rows())
        for who, own in dated.group_by(WHO, maintain_order=True)
    }
