"""ADRS: the response at each visit by each evaluator, best responses, and events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from dagster_project.domain.adam.subjects import Row, Subject
from dagster_project.domain.adam.variables import ADRS
from dagster_project.domain.response.best_response import Best
from dagster_project.domain.response.endpoints import best_responses
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.responses import ACCEPTED

VISIT_NUMBERS: Mapping[str, int] = {"T0": 0, "T1": 1, "T2": 2}
"""AVISITN of the study's visits."""

OTHER_VISITS = 100
"""What is added to the number of another visit: V3 is 103."""

RECIST, IRECIST = "RECIST 1.1", "iRECIST"

BY_VISIT: Mapping[str, tuple[str, str, str]] = {
    "overall_response": ("OVR", "Overall Response", RECIST),
    "overall_response_as_of_visit": ("OVRASOF", "Overall Response as of the Visit", RECIST),
    "target_response": ("TRGRESP", "Target Response", RECIST),
    "nontarget_response": ("NTRGRESP", "Non-Target Response", RECIST),
    "new_lesion": ("NEWLIND", "New Lesion Indicator", RECIST),
    "irecist_response": ("IOVR", "Overall Response", IRECIST),
}
"""Columns of `responses`: PARAMCD, PARAM and PARCAT3 of their records."""

BY_PATIENT: Mapping[str, tuple[str, str, str]] = {
    "bor": ("BOR", "Best Overall Response (confirmation not required)", RECIST),
    "bor_confirmed": ("CBOR", "Best Confirmed Overall Response", RECIST),
    "ibor": ("IBOR", "Best Overall Response (confirmation not required)", IRECIST),
}
"""Columns of `outcomes`, likewise."""

RESPONSE_CODES: Mapping[str, int] = {
    "CR": 1,
    "PR": 2,
    "SD": 3,
    "NON-CR/NON-PD": 4,
    "PD": 5,
    "NE": 6,
    "MISSING": 7,
}
"""AVAL of a response by RECIST 1.1, as admiralonco's aval_resp gives it; NED and NONE have none."""

IMMUNE_CODES: Mapping[str, int] = {
    "iCPD": 1,
    "iUPD": 2,
    "NON-iCR/NON-iUPD": 3,
    "iSD": 4,
    "iPR": 5,
    "iCR": 6,
    "MISSING": 7,
    "NE": 8,
}
"""AVAL of a response by iRECIST, as admiralonco's vignette on iRECIST gives it."""

YES_NO: Mapping[str, int] = {"Y": 1, "N": 0}

MISSING = "MISSING"
"""AVALC of a best response where there is none, as admiralonco calls it."""

_TERMS = {
    "NON_CR_NON_PD": "NON-CR/NON-PD",
    "iNON_CR_NON_PD": "NON-iCR/NON-iUPD",
    "iNE": "NE",
    "iNED": "NED",
}


def term(response: str) -> str:
    """A response in CDISC's terms.

    >>> term("NON_CR_NON_PD"), term("iNON_CR_NON_PD"), term("iNE"), term("iUPD")
    ('NON-CR/NON-PD', 'NON-iCR/NON-iUPD', 'NE', 'iUPD')
    """
    return _TERMS.get(response, response)


def visit_number(visit: str) -> int | None:
    """AVISITN of a visit.

    >>> visit_number("T2"), visit_number("V3")
    (2, 103)
    """
    number = visit.removeprefix("V")
    return VISIT_NUMBERS.get(visit, OTHER_VISITS + int(number) if number.isdecimal() else None)


def derive_adrs(
    subjects: Sequence[Subject], responses: pl.DataFrame, recist: Rules
) -> pl.DataFrame:
    """Derive ADRS, with ASEQ by PARAMCD, date and evaluator within a subject.

    1. one record per visit, evaluator and parameter of `BY_VISIT`; the accepted read has RSACPTFL
       and ANL01FL, a reader's RSEVALID
    2. best responses, one per subject: ADT is the first visit that had it; MISSING where there is
       none
    3. PD, RSP, CRSP, DEATH, CLINPD: Y with the date of the first, else N without a date; LSTA: the
       last assessment

    3 are of the accepted read. RSP and CRSP are CR or PR in 2; PD is the first by RECIST 1.1,
    whatever treatment came before it.
    """
    by_patient: dict[tuple[str, str], list[Row]] = {}
    for row in responses.iter_rows(named=True):
        by_patient.setdefault((row["site"], row["patient"]), []).append(row)
    rows = [
        record
        for subject in subjects
        for record in _of_subject(subject, by_patient.get(subject.patient, []), recist)
    ]
    return ADRS.frame(rows)


def _of_subject(subject: Subject, visits: Sequence[Row], recist: Rules) -> list[Row]:
    best = best_responses(subject.record, recist)
    rows = [*_of_visits(visits), *_best(subject, best), *_events(subject, best), *_last(subject)]
    ordered = sorted(
        rows,
        key=lambda r: (
            r["PARAMCD"],
            r["ADT"] or dt.date.max,
            r.get("AVISIT") or "",
            r.get("RSEVALID") or "",
        ),
    )
    return [
        {**subject.shared, **row, "ADY": subject.relative_day(row["ADT"]), "ASEQ": n}
        for n, row in enumerate(ordered, start=1)
    ]


def _parameter(code: str, name: str, criteria: str | None) -> Row:
    if criteria is None:
        return {"PARAMCD": code, "PARAM": name, "PARCAT1": "Reference Event"}
    return {
        "PARAMCD": code,
        "PARAM": f"{name} by {criteria}",
        "PARCAT1": "Tumor Response",
        "PARCAT2": "Reader",
        "PARCAT3": criteria,
    }


def _of_visits(visits: Iterable[Row]) -> Iterator[Row]:
    for visit in visits:
        accepted = visit["evaluator"] == ACCEPTED
        shared = {
            "ADT": visit["scan_date"],
            "AVISIT": visit["visit"],
            "AVISITN": visit_number(visit["visit"]),
            "ANL01FL": "Y" if accepted else None,
            "RSACPTFL": "Y" if accepted else None,
            "RSEVALID": None if accepted else visit["evaluator"],
        }
        for column, parameter in BY_VISIT.items():
            if visit[column] is not None:
                yield {**_parameter(*parameter), **shared, **_value(visit[column], parameter[2])}


def _value(value: Any, criteria: str) -> Row:
    if isinstance(value, bool):
        return _flag(value)
    word = term(value)
    codes = IMMUNE_CODES if criteria == IRECIST else RESPONSE_CODES
    return {"AVALC": word, "AVAL": codes.get(word)}


def _flag(value: bool) -> Row:
    word = "Y" if value else "N"
    return {"AVALC": word, "AVAL": YES_NO[word]}


def _best(subject: Subject, best: Mapping[str, Best | None]) -> Iterator[Row]:
    for column, parameter in BY_PATIENT.items():
        found = best[column]
        value = _value(found.response if found else MISSING, parameter[2])
        yield {
            **_parameter(*parameter),
            **value,
            "ADT": subject.date(found.day) if found else None,
            "ANL01FL": "Y",
        }


def _events(subject: Subject, best: Mapping[str, Best | None]) -> Iterator[Row]:
    """Whether and when each event came first."""
    response, confirmed = _if_response(best["bor"]), _if_response(best["bor_confirmed"])
    events = subject.record.events
    for parameter, happened, date in (
        (("PD", "Disease Progression", RECIST), *_progression(subject)),
        (
            ("RSP", "Response (confirmation not required)", RECIST),
            response is not None,
            _date(subject, response),
        ),
        (("CRSP", "Confirmed Response", RECIST), confirmed is not None, _date(subject, confirmed)),
        (("DEATH", "Death", None), subject.adsl["DTHFL"] == "Y", subject.adsl["DTHDT"]),
        (
            ("CLINPD", "Clinical Progression", None),
            any(e["event"] == "progression_clinical" for e in events),
            _clinical(subject),
        ),
    ):
        yield {**_parameter(*parameter), **_flag(happened), "ADT": date, "ANL01FL": "Y"}


def _if_response(best: Best | None) -> Best | None:
    return best if best is not None and best.response in {"CR", "PR"} else None


def _date(subject: Subject, best: Best | None) -> dt.date | None:
    return subject.date(best.day) if best else None


def _progression(subject: Subject) -> tuple[bool, dt.date | None]:
    found = [
        v
        for v in subject.record.visits
        if v["overall_response"] == "PD" and (v["day"] is None or v["day"] > 0)
    ]
    dates = [v["scan_date"] for v in found if v["scan_date"] is not None]
    return bool(found), min(dates, default=None)


def _clinical(subject: Subject) -> dt.date | None:
    return subject.date(subject.record.first_day("progression_clinical", after=0))


def _last(subject: Subject) -> Iterator[Row]:
    dated = [v for v in subject.record.visits if v["scan_date"] is not None]
    for visit in dated[-1:]:
        value = _value(visit["overall_response"], RECIST)
        yield {
            **_parameter("LSTA", "Last Disease Assessment", RECIST),
            **value,
            "ADT": visit["scan_date"],
            "ANL01FL": "Y",
        }
