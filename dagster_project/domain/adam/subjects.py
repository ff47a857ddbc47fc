"""ADSL: who is in the study, when treatment began and ended, who died."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dagster_project.domain.adam.variables import ADSL, SUBJECT
from dagster_project.domain.response.endpoints import Record, follow_up_of, records_of
from dagster_project.domain.response.progression_free import death_query
from dagster_project.domain.response.time_to_event import last_day_alive

Tables = Mapping[str, pl.DataFrame]
"""Tables of the lake by name: patients, treatments, follow_up, timepoints, lesions, responses."""

Row = dict[str, Any]
Patient = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Subject:
    """A patient: the record in ADSL, what the lake holds, and the date of day 0."""

    patient: Patient
    adsl: Mapping[str, Any]
    record: Record

    @property
    def shared(self) -> Row:
        """The variables that stand in each dataset."""
        return {name: self.adsl[name] for name in SUBJECT}

    def date(self, day: int | None) -> dt.date | None:
        """The date of a day counted from the first cycle as 0."""
        start = self.adsl["TRTSDT"]
        return None if start is None or day is None else start + dt.timedelta(day)

    def relative_day(self, date: dt.date | None) -> int | None:
        """ADY: the first cycle is day 1, the day before it day -1; there is no day 0."""
        start = self.adsl["TRTSDT"]
        if start is None or date is None:
            return None
        days = (date - start).days
        return days + 1 if days >= 0 else days


def subjects_of(tables: Tables, study: str) -> list[Subject]:
    """Every patient who has not withdrawn, and whose consent is not contradictory, in order.

    1. TRTSDT is the date of cycle 1, TRTEDT that of the last dated cycle; SAFFL is Y where any
       cycle was given
    2. TRT01P is the regimen of the case report, TRT01A what was given in the first cycle
    3. DTHDT is the date of death; missing where it is not known, or contradicts another date: DTHFL
       says that the subject died
    4. NACTDT is the first date on which another anticancer therapy began
    5. LSTALVDT is the last date on which anything but the death is known; missing without a first
       cycle
    """
    records = records_of(
        tables["responses"], tables["treatments"], tables["follow_up"], tables["timepoints"]
    )
    cycles = _rows(tables["treatments"].sort("cycle"))
    patients = (
        tables["patients"]
        .filter(pl.col("consent").is_null() | (pl.col("consent") == "given"))
        .sort("patient", "site")
    )
    return [
        _subject(
            row,
            records[row["site"], row["patient"]],
            cycles.get((row["site"], row["patient"]), []),
            study,
        )
        for row in patients.iter_rows(named=True)
    ]


def _rows(frame: pl.DataFrame) -> dict[Patient, list[Row]]:
    found: dict[Patient, list[Row]] = {}
    for row in frame.iter_rows(named=True):
        found.setdefault((row["site"], row["patient"]), []).append(row)
    return found


def _subject(row: Row, record: Record, cycles: Sequence[Row], study: str) -> Subject:
    dated = [c["treatment_date"] for c in cycles if c["treatment_date"] is not None]
    start = (
        next((c["treatment_date"] for c in cycles if c["cycle"] == 1), None)
        if record.treated
        else None
    )
    adsl: Row = {
        "STUDYID": study,
        "USUBJID": row["patient"],
        "SUBJID": row["patient"],
        "SITEID": row["site"],
        "AGE": row["age_years"],
        "AGEU": None if row["age_years"] is None else "YEARS",
        "SEX": row["sex"] or "U",
        "SAFFL": "Y" if cycles else "N",
        "TRT01P": row["regimen"],
        "TRT01A": cycles[0]["drugs"] if cycles else None,
        "TRTSDT": start,
        "TRTEDT": max(dated, default=None),
        "SIMFL": "Y" if row["simulated"] else "N",
        "NACTDT": _first(record, "new_therapy"),
        **_death(record),
    }
    found = Subject((row["site"], row["patient"]), adsl, record)
    adsl["LSTALVDT"] = found.date(last_day_alive(record))
    return found


def _first(record: Record, event: str) -> dt.date | None:
    return min(
        (
            e["event_date"]
            for e in record.events
            if e["event"] == event and e["event_date"] is not None
        ),
        default=None,
    )


def _death(record: Record) -> Row:
    died = any(e["event"] == "death" for e in record.events)
    contradicted = died and bool(death_query(follow_up_of(record, None)))
    return {
        "DTHFL": "Y" if died else None,
        "DTHDT": None if contradicted else _first(record, "death"),
    }


def derive_adsl(subjects: Sequence[Subject]) -> pl.DataFrame:
    """ADSL: one record per subject."""
    return ADSL.frame([subject.adsl for subject in subjects])
