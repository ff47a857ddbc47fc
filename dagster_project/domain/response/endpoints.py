"""The end points of each patient: best response, progression-free survival, pseudoprogression."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.response import pseudoprogression
from dagster_project.domain.response.best_response import (
    Best,
    Graded,
    confirmed_progression_day,
    find_best,
    find_confirmed_best,
    find_immune_best,
    response_query,
    until_progression,
)
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.progression_free import (
    UNDATED_THERAPY,
    FollowUp,
    Survival,
    death_query,
    landmark,
    survival_or_reason,
    why_no_time,
)
from dagster_project.domain.response.responses import ACCEPTED
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import OUTCOMES

LANDMARK = "T2"
"""The visit from which survival is counted a second time: all patients of the study have it.

The task of this name has no response as its label, since few respond later, but progression-free
survival for `six_months_days`.
"""

Row = Mapping[str, Any]
Patient = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    """What the lake holds of one patient.

    It has dated visits with their responses in order, days of all CTs, events and days of cycles.

    `treated` says that the date of the first cycle is known; without it there is no day of
    anything.
    """

    visits: Sequence[Row]
    days: Mapping[str, int | None]
    treated: bool
    events: Sequence[Row]
    cycle_days: Sequence[int] = ()

    @property
    def undated(self) -> frozenset[str]:
        """Events on a day that is not known."""
        return frozenset(e["event"] for e in self.events if e["event_date"] is None)

    def first_day(self, event: str, *, after: int | None = None) -> int | None:
        """Day of the first such event, after a day where one is given."""
        days = [e["day"] for e in self.events if e["event"] == event and e["day"] is not None]
        return min((d for d in days if after is None or d > after), default=None)


def derive_outcomes(
    responses: pl.DataFrame,
    treatments: pl.DataFrame,
    follow_up: pl.DataFrame,
    patients: pl.DataFrame,
    timepoints: pl.DataFrame,
    endpoints: Rules,
    recist: Rules,
) -> pl.DataFrame:
    """Derive one row per patient of `patients`, from the accepted read.

    1. best responses (best_response.py): visits up to the first PD (iRECIST: iCPD), none after a
       new anticancer therapy, and none at all where the day on which one began, or the day of the
       first cycle, is not known
    2. responder: best overall response, without confirmation, is CR or PR; NULL where there was no
       visit after baseline
    3. progression-free survival and its landmark from T2 (progression_free.py); NULL without a
       first cycle, and where dates that decide it are missing or contradict each other
    4. day of the confirmed iUPD; pseudoprogression (pseudoprogression.py), none after a new
       anticancer therapy

    Returns
    -------
    pl.DataFrame
        The table outcomes.
    """
    records = records_of(responses, treatments, follow_up, timepoints)
    rows = [
        (
            p["site"],
            p["patient"],
            *_outcome(records[p["site"], p["patient"]], endpoints, recist),
            p["simulated"],
        )
        for p in patients.iter_rows(named=True)
    ]
    return pl.DataFrame(rows, schema=polars_schema(OUTCOMES), orient="row")


def records_of(
    responses: pl.DataFrame,
    treatments: pl.DataFrame,
    follow_up: pl.DataFrame,
    timepoints: pl.DataFrame,
) -> dict[Patient, Record]:
    """What the lake holds of each patient, of the accepted read.

    A patient without any row has an empty record.
    """
    accepted = responses.filter(pl.col("evaluator") == ACCEPTED).sort(
        "scan_date", "visit", nulls_last=True
    )
    visits, events, scans = _by_patient(accepted), _by_patient(follow_up), _by_patient(timepoints)
    treated = _by_patient(treatments)
    names = {*visits, *events, *scans, *treated}
    found = {
        p: Record(
            visits[p],
            {s["visit"]: s["day"] for s in scans[p]},
            _is_dated(treated[p]),
            events[p],
            _days_of(treated[p]),
        )
        for p in names
    }
    return defaultdict(lambda: Record((), {}, treated=False, events=()), found)


def _is_dated(cycles: Iterable[Row]) -> bool:
    return any(c["cycle"] == 1 and c["day"] is not None for c in cycles)


def _days_of(cycles: Iterable[Row]) -> list[int]:
    return [c["day"] for c in cycles if c["day"] is not None]


def _by_patient(frame: pl.DataFrame) -> dict[Patient, list[Row]]:
    found: dict[Patient, list[Row]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        found[row["site"], row["patient"]].append(row)
    return found


def _outcome(record: Record, endpoints: Rules, recist: Rules) -> tuple[Any, ...]:
    therapy = record.first_day("new_therapy", after=0)
    before = before_therapy(record, therapy)
    graded, immune = _decisive(before)
    best, pfs = best_responses(record, recist), _pfs(record, therapy, endpoints)
    bor, confirmed, ibor = (found.response if found else None for found in best.values())
    later = landmark(pfs, record.days.get(LANDMARK)) if pfs else None
    found = pseudoprogression.find_pseudoprogression(
        [_for_pseudoprogression(v) for v in before], recist
    )
    return (
        bor,
        confirmed,
        ibor,
        None if bor is None else bor in {"CR", "PR"},
        _best_change(before[: len(graded)]),
        *_columns(pfs),
        *_columns(later)[:2],
        confirmed_progression_day(immune),
        found.d1,
        found.d1_nadir,
        found.d2,
        found.d2_nadir,
        _reason(record, graded, therapy, endpoints),
    )


def best_responses(record: Record, recist: Rules) -> dict[str, Best | None]:
    """Best responses of one patient, by column of `outcomes`.

    Each has the day of the first visit that had it.
    """
    graded, immune = _decisive(before_therapy(record, record.first_day("new_therapy", after=0)))
    return {
        "bor": find_best(graded, recist),
        "bor_confirmed": find_confirmed_best(graded, recist),
        "ibor": find_immune_best(immune, recist),
    }


def _decisive(visits: Sequence[Row]) -> tuple[list[Graded], list[Graded]]:
    """Responses that may decide a best response.

    By RECIST 1.1 up to the first PD, by iRECIST up to the first iCPD.
    """
    return until_progression(graded_of(visits, "overall_response")), until_progression(
        graded_of(visits, "irecist_response"), end="iCPD"
    )


def before_therapy(record: Record, therapy: int | None) -> list[Row]:
    """The visits after day 0, up to the day on which another anticancer therapy began.

    None where that day, or the day of the first cycle, is not known.
    """
    if not record.treated or "new_therapy" in record.undated:
        return []
    return [
        v
        for v in record.visits
        if v["day"] is None or (v["day"] > 0 and (therapy is None or v["day"] <= therapy))
    ]


def graded_of(visits: Iterable[Row], column: str) -> list[Graded]:
    """Responses of a column of `responses`, for best_response.py."""
    return [Graded(v["day"], v[column], no_target=v["target_response"] == "NONE") for v in visits]


def _pfs(record: Record, therapy: int | None, endpoints: Rules) -> Survival | None:
    return (
        survival_or_reason(follow_up_of(record, therapy), endpoints)[0] if record.treated else None
    )


def follow_up_of(record: Record, therapy: int | None) -> FollowUp:
    """The facts of one patient that the censoring table needs.

    RECIST 1.1 responses of the visits after day 0, and events by day.
    """
    dated = [
        (v["day"], v["overall_response"])
        for v in record.visits
        if v["day"] is not None and v["day"] > 0
    ]
    stops = {"off_treatment", "lost", "progression_clinical"} & {e["event"] for e in record.events}
    return FollowUp(
        has_baseline=BASELINE in record.days,
        responses=dated,
        death_day=record.first_day("death"),
        new_therapy_day=therapy,
        clinical_progression_day=record.first_day("progression_clinical", after=0),
        stopped=bool(stops),
        undated=record.undated,
        last_scan_day=max((d for d in record.days.values() if d is not None), default=None),
    )


def _columns(survival: Survival | None) -> tuple[int | None, bool | None, str | None]:
    return (survival.days, survival.event, survival.reason) if survival else (None, None, None)


def _best_change(visits: Sequence[Row]) -> float | None:
    """Smallest change of the sum up to and including the first PD."""
    return min(
        (
            v["change_from_baseline_percent"]
            for v in visits
            if v["change_from_baseline_percent"] is not None
        ),
        default=None,
    )


def _for_pseudoprogression(visit: Row) -> pseudoprogression.Graded:
    return pseudoprogression.Graded(
        visit["sum_mm"],
        visit["baseline_sum_mm"],
        visit["nadir_mm"],
        visit["target_response_arithmetic"],
        visit["nontarget_response"],
        visit["new_lesion"],
        visit["overall_response"],
    )


def _reason(
    record: Record, graded: Sequence[Graded], therapy: int | None, endpoints: Rules
) -> str | None:
    facts = follow_up_of(record, therapy)
    missing = (
        [why_no_time(facts, endpoints) or death_query(facts)]
        if record.treated
        else ["no date of a first cycle: no survival time"]
    )
    unseen = (
        f"{UNDATED_THERAPY}: no best response"
        if "new_therapy" in record.undated
        else "no visit after baseline: no best response"
    )
    if not graded:
        missing += [unseen]
    return "; ".join(filter(None, [*missing, response_query(graded)])) or None
