"""The response at every visit of the cohort, by RECIST 1.1 and iRECIST.

Brings the lake's rows to the two engines and back.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.response.findings import Finding, RecistVisit, Rules
from dagster_project.domain.response.irecist import ImmuneAssessment, assess_irecist
from dagster_project.domain.response.recist import Assessment, assess, assess_as_of
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import RESPONSES

ACCEPTED = "accepted"
"""The evaluator of the accepted read; every other evaluator is a reader."""

Row = Mapping[str, Any]
Patient = tuple[str, str]


class RepeatedLesionError(ValueError):
    """One lesion has two rows at one visit, so the rows of several readers were passed at once."""

    def __init__(self, site: str, patient: str, visit: str, lesion: str) -> None:
        super().__init__(
            f"lesions: {site} {patient} {visit} has two rows of {lesion}; "
            "pass the rows of one evaluator"
        )


def derive_responses(
    lesions: pl.DataFrame,
    timepoints: pl.DataFrame,
    *,
    evaluator: str,
    recist: Rules,
    irecist: Rules,
    clinical_status: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Grade every visit after T0 by RECIST 1.1 and iRECIST, for all patients.

    1. visits before T0 are left out; the others are taken in order of date; a visit without a date
       is NE
    2. a visit that the accepted read says nothing of is NE; a reader's visits are those that the
       reader has read
    3. without T0, or without a read of it, every visit is NE
    4. else the engines' responses (recist.py, irecist.py)
    5. a CT was made for symptoms where the clinical state of a day after the CT before it, at most
       `symptom_days` before this one, has new symptoms; where nothing is recorded it was not

    `irecist_response` is based on this visit and earlier ones alone. `overall_response` may be
    based on a later one in one case: a new lesion that was equivocal here and called unequivocal
    later is PD from its first appearance. `overall_response_as_of_visit` is what the engine gives
    for the visits up to this one alone.

    Parameters
    ----------
    lesions : pl.DataFrame
        Rows of one evaluator, with at least the columns that `lesions` and `reads` share.
    timepoints : pl.DataFrame
        The table timepoints.
    evaluator : str
        `accepted`, or the reader whose rows these are.
    recist, irecist : Mapping
        Those sections of the protocol.
    clinical_status : pl.DataFrame, optional
        That table.

    Returns
    -------
    pl.DataFrame
        The table responses without `recorded_at`.
    """
    findings, visits = _findings_of(lesions), _visits_of(timepoints)
    courses = read_courses(
        lesions, timepoints, evaluator=evaluator, irecist=irecist, clinical_status=clinical_status
    )
    rows = [
        row
        for patient, own in visits.items()
        for row in _grade(
            patient,
            _visits_read(own, findings[patient], evaluator),
            courses.get(patient),
            evaluator,
            recist,
            irecist,
            has_baseline=_baseline_of(own) is not None,
        )
    ]
    schema = {
        name: kind for name, kind in polars_schema(RESPONSES).items() if name != "recorded_at"
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


@dataclass(frozen=True, slots=True)
class Course:
    """The dated visits of one patient as one evaluator read them, ready for the engines.

    `rows` are those of timepoints for `later`, in the same order; `read` are visits with findings.
    """

    baseline: Row
    first: RecistVisit
    rows: tuple[Row, ...]
    later: tuple[RecistVisit, ...]
    read: frozenset[str]


def read_courses(
    lesions: pl.DataFrame,
    timepoints: pl.DataFrame,
    *,
    evaluator: str,
    irecist: Rules,
    clinical_status: pl.DataFrame | None = None,
) -> dict[Patient, Course]:
    """The courses that can be graded, by patient; see `derive_responses` for what is in them."""
    findings, symptoms = _findings_of(lesions), _days_of_symptoms(clinical_status)
    within = dt.timedelta(irecist["symptom_days"])
    found = {
        patient: _course_of(visits, findings[patient], evaluator, symptoms[patient], within)
        for patient, visits in _visits_of(timepoints).items()
    }
    return {patient: course for patient, course in found.items() if course is not None}


def _days_of_symptoms(clinical_status: pl.DataFrame | None) -> dict[Patient, list[dt.date]]:
    found: dict[Patient, list[dt.date]] = defaultdict(list)
    if clinical_status is not None:
        for row in clinical_status.filter(pl.col("new_symptoms")).iter_rows(named=True):
            found[row["site"], row["patient"]].append(row["status_date"])
    return found


def _course_of(
    visits: Sequence[Row],
    findings: Mapping[str, list[Finding]],
    evaluator: str,
    symptoms: Sequence[dt.date],
    within: dt.timedelta,
) -> Course | None:
    baseline = _baseline_of(visits)
    if baseline is None or not findings.get(BASELINE):
        return None
    rows = [
        v
        for v in _visits_read(visits, findings, evaluator)
        if v["scan_date"] is not None and v["scan_date"] > baseline["scan_date"]
    ]
    return Course(
        baseline,
        _visit(baseline, baseline, findings),
        tuple(rows),
        tuple(
            _visit(
                row,
                baseline,
                findings,
                for_symptoms=_is_for_symptoms(row, _before(row, visits), symptoms, within),
            )
            for row in rows
        ),
        frozenset(findings),
    )


def _before(row: Row, visits: Iterable[Row]) -> dt.date:
    """Date of the CT before a visit's, whether it was read or not."""
    dates = [v["scan_date"] for v in visits if v["scan_date"] is not None]
    return max(date for date in dates if date < row["scan_date"])


def _is_for_symptoms(
    row: Row, before: dt.date, symptoms: Iterable[dt.date], within: dt.timedelta
) -> bool:
    scan = row["scan_date"]
    return any(before < day <= scan and scan - day <= within for day in symptoms)


def _baseline_of(visits: Iterable[Row]) -> Row | None:
    return next((v for v in visits if v["visit"] == BASELINE), None)


def _visits_read(
    visits: Iterable[Row], findings: Mapping[str, list[Finding]], evaluator: str
) -> list[Row]:
    """Visits but T0; of a reader those alone that the reader has read."""
    return [
        v
        for v in visits
        if v["visit"] != BASELINE and (evaluator == ACCEPTED or v["visit"] in findings)
    ]


def _findings_of(lesions: pl.DataFrame) -> dict[Patient, dict[str, list[Finding]]]:
    found: dict[Patient, dict[str, dict[str, Finding]]] = defaultdict(lambda: defaultdict(dict))
    for row in lesions.iter_rows(named=True):
        at_visit = found[row["site"], row["patient"]][row["visit"]]
        if row["lesion"] in at_visit:
            raise RepeatedLesionError(row["site"], row["patient"], row["visit"], row["lesion"])
        at_visit[row["lesion"]] = finding_of(row)
    return defaultdict(
        dict, {p: {v: list(fs.values()) for v, fs in visits.items()} for p, visits in found.items()}
    )


def finding_of(row: Row) -> Finding:
    """One row of lesions or reads as a finding of the engine.

    Its diameter is the short axis for a node, else the longest diameter.
    """
    return Finding(
        lesion=row["lesion"],
        role=row["role"],
        node=row["is_lymph_node"],
        present=row["is_present"],
        too_small=row["too_small_to_measure"],
        diameter_mm=row["short_axis_mm"] if row["is_lymph_node"] else row["longest_diameter_mm"],
        state=row["nontarget_state"],
        unequivocal=row["unequivocal"],
        organ=row["organ"],
    )


def _visits_of(timepoints: pl.DataFrame) -> dict[Patient, list[Row]]:
    found: dict[Patient, list[Row]] = defaultdict(list)
    for row in timepoints.sort("scan_date", "visit", nulls_last=True).iter_rows(named=True):
        found[row["site"], row["patient"]].append(row)
    return found


def _grade(
    patient: Patient,
    read: Sequence[Row],
    course: Course | None,
    evaluator: str,
    recist: Rules,
    irecist: Rules,
    *,
    has_baseline: bool,
) -> list[tuple[Any, ...]]:
    if course is None:
        why = "the scan at T0 was not read" if has_baseline else "no scan at T0 to compare with"
        return [_not_evaluable(patient, v, evaluator, why) for v in read]
    undated = [v for v in read if v["scan_date"] is None]
    graded = zip(
        course.rows,
        assess(course.first, course.later, recist),
        assess_as_of(course.first, course.later, recist),
        assess_irecist(course.first, course.later, recist, irecist),
        strict=True,
    )
    return [
        *(
            _row(patient, v, evaluator, a, then.overall, i, read=v["visit"] in course.read)
            for v, a, then, i in graded
        ),
        *(_not_evaluable(patient, v, evaluator, "scan without a date") for v in undated),
    ]


def _visit(
    row: Row, baseline: Row, findings: Mapping[str, list[Finding]], *, for_symptoms: bool = False
) -> RecistVisit:
    return RecistVisit(
        row["visit"],
        (row["scan_date"] - baseline["scan_date"]).days,
        tuple(findings.get(row["visit"], ())),
        for_symptoms,
    )


def _row(
    patient: Patient,
    visit: Row,
    evaluator: str,
    found: Assessment,
    then: str,
    immune: ImmuneAssessment,
    *,
    read: bool,
) -> tuple[Any, ...]:
    rule = (
        f"{found.rule} | {immune.rule}" if read else f"visit not read; {found.rule} | {immune.rule}"
    )
    return (
        *patient,
        visit["visit"],
        evaluator,
        visit["scan_date"],
        visit["day"],
        found.sum_mm,
        found.baseline_sum_mm,
        found.nadir_mm,
        immune.new_lesion_sum_mm,
        change_percent(found.sum_mm, found.baseline_sum_mm),
        change_percent(found.sum_mm, found.nadir_mm),
        found.target_arithmetic,
        found.target,
        found.nontarget,
        bool(found.new_lesions),
        found.overall,
        then,
        immune.response,
        rule,
        visit["simulated"],
    )


def change_percent(size: float | None, reference: float | None) -> float | None:
    """Change in per cent of the reference; None where either is missing or the reference is 0.

    >>> change_percent(70.0, 100.0)
    -30.0
    """
    return None if size is None or not reference else 100.0 * (size - reference) / reference


def _not_evaluable(patient: Patient, visit: Row, evaluator: str, why: str) -> tuple[Any, ...]:
    numbers: Iterable[None] = (None,) * 6
    return (
        *patient,
        visit["visit"],
        evaluator,
        visit["scan_date"],
        visit["day"],
        *numbers,
        "NE",
        "NE",
        "NE",
        False,
        "NE",
        "NE",
        "iNE",
        why,
        visit["simulated"],
    )
