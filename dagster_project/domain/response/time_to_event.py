"""Survival times of every patient side by side.

Main and sensitivity versions of the censoring, from the first cycle and from the landmark T2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import polars as pl

from dagster_project.domain.response.best_response import (
    Graded,
    immune_progression,
    until_progression,
)
from dagster_project.domain.response.endpoints import (
    LANDMARK,
    Record,
    before_therapy,
    follow_up_of,
    graded_of,
    records_of,
)
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.progression_free import (
    FIRST_DAY,
    UNDATED_DEATH,
    FollowUp,
    Survival,
    death_query,
    landmark,
    survival_or_reason,
)
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import TIME_TO_EVENT

NEVER_MISSED = 10**6
"""Visits that may be missed in a sensitivity analysis.

Such an analysis counts an event whatever was missed before it.
"""

VERSIONS: Mapping[str, Mapping[str, Any]] = {
    "main": {},
    "new_therapy_event": {"new_therapy": "event"},
    "clinical_progression_event": {"clinical_progression": "event"},
    "missed_visits_event": {"missed_visits": NEVER_MISSED},
}
"""What each version of progression-free survival by RECIST 1.1 changes in the protocol.

The changes are to the section `endpoints`.
"""


class SurvivalTime(NamedTuple):
    """One row of time_to_event, and the days from the first cycle on which it begins and ends.

    `days` is the time between them, at least `FIRST_DAY` to an event; `start_day` and `end_day` are
    as they were.
    """

    endpoint: str
    version: str
    origin: str
    days: int | None
    event: bool | None
    reason: str
    start_day: int | None = None
    end_day: int | None = None

    @property
    def stored(self) -> tuple[str, str, str, int | None, bool | None, str]:
        """The columns of the table."""
        return self.endpoint, self.version, self.origin, self.days, self.event, self.reason


def derive_time_to_event(
    responses: pl.DataFrame,
    treatments: pl.DataFrame,
    follow_up: pl.DataFrame,
    patients: pl.DataFrame,
    timepoints: pl.DataFrame,
    endpoints: Rules,
) -> pl.DataFrame:
    """Derive the survival times of each patient of `patients`, from the accepted read.

    1. pfs by the FDA's censoring table (progression_free.py): main; a new therapy, or clinical
       progression, as an event; a progression or death after two missed visits as an event
    2. pfs by iRECIST: the event is the iUPD that was confirmed, or that death, worsening or the end
       of treatment followed without a further CT; an iUPD that iSD, iPR or iCR followed is none
    3. each of them again from T2, for the patients still at risk then
    4. dor: from the first CR or PR (iCR or iPR) to the end of pfs, for those who had one
    5. os: from the first cycle to death, else to the last day on which anything is known, a cycle
       among it

    Without a date of the first cycle there is no time, nor where dates that decide it are missing
    or contradict each other (progression_free.why_no_time); the reason says so. No time is
    negative, and none to an event is shorter than a day.

    Returns
    -------
    pl.DataFrame
        The table time_to_event.
    """
    records = records_of(responses, treatments, follow_up, timepoints)
    rows = [
        (p["site"], p["patient"], *time.stored, p["simulated"])
        for p in patients.iter_rows(named=True)
        for time in survival_times(records[p["site"], p["patient"]], endpoints)
    ]
    return pl.DataFrame(rows, schema=polars_schema(TIME_TO_EVENT), orient="row")


def survival_times(record: Record, endpoints: Rules) -> Iterable[SurvivalTime]:
    """Every survival time of one patient, by the rules of `derive_time_to_event`."""
    if not record.treated:
        yield from (
            SurvivalTime("pfs", version, "first_cycle", None, None, "no date of a first cycle")
            for version in (*VERSIONS, "irecist")
        )
        return
    therapy = record.first_day("new_therapy", after=0)
    facts = follow_up_of(record, therapy)
    found = {
        version: survival_or_reason(facts, {**endpoints, **changed})
        for version, changed in VERSIONS.items()
    }
    found["irecist"] = survival_or_reason(immune_follow_up(facts, record, therapy), endpoints)
    for version, (survival, reason) in found.items():
        days, event, end = (
            (survival.days, survival.event, _end_day(survival, facts))
            if survival
            else (None, None, None)
        )
        yield SurvivalTime("pfs", version, "first_cycle", days, event, reason, 0, end)
        yield _from_landmark(version, survival, reason, record.days.get(LANDMARK))
    visits = before_therapy(record, therapy)
    yield from _duration(
        "main",
        found["main"][0],
        until_progression(graded_of(visits, "overall_response")),
        {"CR", "PR"},
        facts,
    )
    yield from _duration(
        "irecist",
        found["irecist"][0],
        until_progression(graded_of(visits, "irecist_response"), end="iCPD"),
        {"iCR", "iPR"},
        facts,
    )
    yield _overall(record, facts)


def _end_day(survival: Survival, facts: FollowUp) -> int:
    """The day of the event or of censoring.

    It is `days` but for a death on the day of the first cycle, which counts as one of the first
    day.
    """
    died = survival.event and survival.reason.startswith("death") and facts.death_day is not None
    return facts.death_day if died else survival.days  # type: ignore[return-value]


def _from_landmark(
    version: str, survival: Survival | None, reason: str, day: int | None
) -> SurvivalTime:
    if survival is None:
        return SurvivalTime("pfs", version, LANDMARK, None, None, reason)
    later = landmark(survival, day)
    if later is None or day is None:
        why = f"no scan at {LANDMARK}" if day is None else f"not at risk any more at {LANDMARK}"
        return SurvivalTime("pfs", version, LANDMARK, None, None, why)
    return SurvivalTime(
        "pfs", version, LANDMARK, later.days, later.event, later.reason, day, survival.days
    )


def immune_follow_up(facts: FollowUp, record: Record, therapy: int | None) -> FollowUp:
    """The same facts with iRECIST's progression as the only one.

    1. the day of progression is `immune_progression`'s; visits from it on are left out but for that
       one
    2. another visit that could be evaluated is adequate, an unconfirmed progression included; iNE
       is not
    """
    visits = until_progression(
        graded_of(before_therapy(record, therapy), "irecist_response"), end="iCPD"
    )
    found = immune_progression(visits, **_end(record))
    words = [
        (v.day, "NE" if v.response == "iNE" else "SD")
        for v in visits
        if v.day is not None and (found is None or v.day < found[0])
    ]
    return replace(facts, responses=[*words, *([(found[0], "PD")] if found else [])])


def _end(record: Record) -> dict[str, Any]:
    ends = {
        name: record.first_day(name) for name in ("death", "off_treatment", "progression_clinical")
    }
    known = {day: name for name, day in reversed(ends.items()) if day is not None}
    last = max((v["day"] for v in record.visits if v["day"] is not None), default=None)
    after = [day for day in known if last is None or day >= last]
    day = min(after, default=None)
    return {"end_day": day, "end_reason": None if day is None else known[day].replace("_", " ")}


def _duration(
    version: str,
    survival: Survival | None,
    visits: Sequence[Graded],
    responses: set[str],
    facts: FollowUp,
) -> Iterable[SurvivalTime]:
    begun = next((v.day for v in visits if v.response in responses and v.day is not None), None)
    if survival is not None and begun is not None and survival.days >= begun:
        days = survival.days - begun
        counted = max(days, FIRST_DAY) if survival.event else days
        yield SurvivalTime(
            "dor",
            version,
            "response",
            counted,
            survival.event,
            survival.reason,
            begun,
            _end_day(survival, facts),
        )


def _overall(record: Record, facts: FollowUp) -> SurvivalTime:
    query = death_query(facts) or (UNDATED_DEATH if "death" in record.undated else "")
    if query:
        return SurvivalTime("os", "main", "first_cycle", None, None, query)
    if facts.death_day is not None:
        return SurvivalTime(
            "os",
            "main",
            "first_cycle",
            max(facts.death_day, FIRST_DAY),
            True,
            "death",
            0,
            facts.death_day,
        )
    last = last_day_alive(record)
    return SurvivalTime(
        "os", "main", "first_cycle", last, False, "alive when last heard of", 0, last
    )


def last_day_alive(record: Record) -> int:
    """The last day on which anything but a death is known.

    It is that of a CT, a cycle or an event; the first cycle's where nothing is known.
    """
    events = [e["day"] for e in record.events if e["event"] != "death"]
    days = (*record.days.values(), *record.cycle_days, *(v["day"] for v in record.visits), *events)
    return max([0, *(day for day in days if day is not None)])
