"""ADTTE: each survival time with its dates, its censoring and the record that it is from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from dagster_project.domain.adam.responses import IRECIST, RECIST
from dagster_project.domain.adam.subjects import Row, Subject
from dagster_project.domain.adam.variables import ADTTE
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.progression_free import NEW_THERAPY
from dagster_project.domain.response.time_to_event import SurvivalTime, survival_times

ENDPOINTS: Mapping[str, str] = {
    "pfs": "Progression-Free Survival",
    "dor": "Duration of Response",
    "os": "Overall Survival",
}

VERSIONS: Mapping[str, tuple[str, str]] = {
    "main": ("", ""),
    "new_therapy_event": ("N", ", New Anti-Cancer Therapy as Event"),
    "clinical_progression_event": ("C", ", Clinical Progression as Event"),
    "missed_visits_event": ("M", ", Event after Missed Visits Counted"),
    "irecist": ("I", ""),
}
"""Letter that a version adds to PARAMCD, and what it adds to PARAM; the landmark from T2 adds L."""

EVENTS: Mapping[str, str] = {
    "progression": "Disease Progression",
    "death": "Death",
    NEW_THERAPY: "New Anti-Cancer Therapy",
    "clinical progression": "Clinical Progression",
}
"""EVNTDESC of an event, in admiralonco's words; another event, and censoring, by its reason."""

AT_START, AT_ASSESSMENT, ALIVE = (
    "Treatment Start",
    "Last Adequate Tumor Assessment",
    "Alive During Study",
)
"""CNSDTDSC: what the date of censoring is."""

Sources = Mapping[tuple[str, str, dt.date], int]
"""ASEQ in ADRS by USUBJID, PARAMCD and date, of the records with ANL01FL."""


def derive_adtte(subjects: Sequence[Subject], adrs: pl.DataFrame, endpoints: Rules) -> pl.DataFrame:
    """Derive ADTTE.

    PARAMCD is the end point, the letter of its version and L for the landmark: PFS, PFSI, PFSNL,
    DOR, OS.

    1. STARTDT is the first cycle, for L the scan at T2, for DOR the first response
    2. ADT is the date of the event or of censoring, AVAL = ADT - STARTDT + 1 in days, as admiral
       counts; `time_to_event` counts
       days between the two, so that it is one less but for a death on the day on which the time
       begins
    3. CNSR is 0 for an event, 1 for censoring
    4. SRCDOM, SRCVAR, SRCSEQ name where ADT is from: the PD, DEATH or CLINPD of ADRS, its IOVR for
       iRECIST, ADSL.NACTDT; for
       censoring the OVR or IOVR of the last adequate assessment, ADSL.TRTSDT without one,
       ADSL.LSTALVDT for OS

    Patients without a time have no record: `time_to_event` says why.
    """
    accepted = adrs.filter(pl.col("ANL01FL") == "Y", pl.col("ADT").is_not_null())
    sources = {
        (u, p, d): n
        for u, p, d, n in accepted.select("USUBJID", "PARAMCD", "ADT", "ASEQ").iter_rows()
    }
    return ADTTE.frame(
        [record for subject in subjects for record in _of_subject(subject, sources, endpoints)]
    )


def _of_subject(subject: Subject, sources: Sources, endpoints: Rules) -> Iterator[Row]:
    times = [time for time in survival_times(subject.record, endpoints) if time.days is not None]
    records = sorted(
        (_record(subject, time, sources) for time in times), key=lambda r: str(r["PARAMCD"])
    )
    yield from (
        {**subject.shared, **record, "ASEQ": n} for n, record in enumerate(records, start=1)
    )


def _criteria_of(time: SurvivalTime) -> str | None:
    if time.endpoint == "os":
        return None
    return IRECIST if time.version == "irecist" else RECIST


def _parameter_of_event(time: SurvivalTime) -> str:
    """PARAMCD of the record of ADRS that an event is taken from."""
    if time.reason.startswith("death"):
        return "DEATH"
    if time.reason == "clinical progression":
        return "CLINPD"
    return "IOVR" if time.version == "irecist" else "PD"


def _record(subject: Subject, time: SurvivalTime, sources: Sources) -> Row:
    start, end = subject.date(time.start_day), subject.date(time.end_day)
    letter, words = VERSIONS[time.version]
    from_landmark = time.origin not in {"first_cycle", "response"}
    criteria = _criteria_of(time)
    name = ENDPOINTS[time.endpoint] + (f" by {criteria}" if criteria else "") + words
    return {
        "PARAMCD": time.endpoint.upper() + letter + ("L" if from_landmark else ""),
        "PARAM": name + (f", from {time.origin}" if from_landmark else ""),
        "PARCAT3": criteria,
        "STARTDT": start,
        "ADT": end,
        "AVAL": None if start is None or end is None else float((end - start).days + 1),
        "AVALU": "DAYS",
        "CNSR": 0 if time.event else 1,
        "EVNTDESC": _described(time),
        **_source(subject, time, end, sources),
    }


def _described(time: SurvivalTime) -> str:
    words = EVENTS.get(time.reason) if time.event else None
    return words or time.reason[:1].upper() + time.reason[1:]


def _source(subject: Subject, time: SurvivalTime, end: dt.date | None, sources: Sources) -> Row:
    overall = "IOVR" if time.version == "irecist" else "OVR"
    if time.event:
        if time.reason == NEW_THERAPY:
            return {"SRCDOM": "ADSL", "SRCVAR": "NACTDT"}
        return _in_adrs(subject, _parameter_of_event(time), end, sources)
    if time.endpoint == "os":
        return {"SRCDOM": "ADSL", "SRCVAR": "LSTALVDT", "CNSDTDSC": ALIVE}
    if end is not None and (subject.adsl["USUBJID"], overall, end) in sources:
        return {**_in_adrs(subject, overall, end, sources), "CNSDTDSC": AT_ASSESSMENT}
    return {"SRCDOM": "ADSL", "SRCVAR": "TRTSDT", "CNSDTDSC": AT_START}


def _in_adrs(subject: Subject, code: str, end: dt.date | None, sources: Sources) -> Row:
    found = sources.get((subject.adsl["USUBJID"], code, end)) if end else None
    return {"SRCDOM": "ADRS", "SRCVAR": "ADT", "SRCSEQ": found}
