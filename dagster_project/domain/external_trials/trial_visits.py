"""Another trial's tumour tables as visits with findings, one list per subject and evaluator.

The engines of RECIST 1.1 and iRECIST take these lists.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dagster_project.domain.external_trials.trial_assessments import is_unscheduled
from dagster_project.domain.external_trials.trial_findings import (
    Lesion,
    Who,
    find_lesions,
    identified,
    lesions_of,
)
from dagster_project.domain.external_trials.trial_rows import (
    Flags,
    TrialRow,
    complete_date,
    date_text,
    evaluator_of,
    is_accepted,
    role_of,
    subject_of,
    visit_key,
    visit_name,
)
from dagster_project.domain.response.findings import Finding, RecistVisit

_BASELINE_NAME = re.compile(
    r"SCREEN|BASELINE|^(?:BL|SCR)\b|PRE-?\s?(?:DOSE|TREATMENT)|\bWEEK\s*(?:0|-\d)"
    r"|^DAY\s*(?:-\d+|0|1)$|\bC(?:YCLE\s*)?1\s*D(?:AY\s*)?1\b|筛选|基线|治疗前|用药前|入组前",
    re.IGNORECASE,
)
_ON_TREATMENT = re.compile(
    r"\b(?:WEEK|MONTH)\s*0*[1-9]|\bCYCLE\s*0*(?:[2-9]|1\d)|FOLLOW|UNSCHED|END OF"
    r"|第\s*\d+\s*(?:周|月)|随访|治疗后|用药后|计划外|治疗结束",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class TrialVisit:
    """One visit of one evaluator, with the findings for the engines.

    It has a name, a number, its first and last complete date, and its rows.
    """

    key: str
    name: str
    number: float | None
    first_date: dt.date | None
    last_date: dt.date | None
    study_day: int | None
    rows: tuple[TrialRow, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def accepted(self) -> bool | None:
        """Whether this assessment was chosen among several; None where none of its rows says so."""
        return True if any(is_accepted(r) for r in self.rows) else None

    @property
    def day(self) -> int | None:
        """Day count that orders the visits: of the last contributing date, else the study day."""
        return self.last_date.toordinal() if self.last_date else self.study_day


@dataclass(frozen=True, slots=True)
class TrialCourse:
    """A subject as one evaluator saw it: the baseline and the later visits in order.

    `baseline` is None where there is none.
    """

    baseline: TrialVisit | None
    later: tuple[TrialVisit, ...]

    def for_engines(self) -> tuple[RecistVisit, list[RecistVisit]] | None:
        """Baseline and later visits as the engines take them."""
        if self.baseline is None:
            return None
        return _visit(self.baseline), [_visit(v) for v in self.later]


def _visit(visit: TrialVisit) -> RecistVisit:
    return RecistVisit(visit.key, visit.day, visit.findings)


def build_courses(
    tu: Sequence[TrialRow], tr: Sequence[TrialRow], flags: Flags
) -> dict[Who, TrialCourse]:
    """Courses of all subjects, by subject and evaluator.

    1. what a lesion is: `trial_findings.lesions_of`
    2. the baseline is what `find_baseline` says; without one every visit is kept, and none can be
       graded
    3. later visits stand in order of their dates where all are complete, else of their numbers
    4. a lesion that TU calls new is there from the visit at which TU names it, measured or not
    5. a row of TR without a subject, or without visit number, name and date is in no visit; a
       subject in TU alone, or at
       baseline alone, has nothing to grade: both are flagged
    """
    roles, measured, new = identified(tu), _by_who(_placed(tr, flags)), _new_lesions(tu)
    _flag_unmeasured(tu, measured, flags)
    named = any(_BASELINE_NAME.search(visit_name(r)) or r("TRBLFL", "TRLOBXFL") for r in tr)
    numbers = [number for number in (_float(r("VISITNUM")) for r in tr) if number is not None]
    lowest = None if named else min(numbers, default=None)
    found = {}
    for who, own in measured.items():
        rows = [*own, *(r for r in new[who[0]] if evaluator_of(r) in {who[1], ""})]
        visits = _visits(rows, lesions_of(who, rows, roles, flags), flags)
        baseline = find_baseline(visits, lowest)
        if baseline is None:
            flags.add(
                "no_baseline",
                rows[0],
                "no assessment before treatment: every visit is not evaluable",
            )
        _flag_earlier(visits, baseline, flags)
        later = [v for v in visits if baseline is None or _is_later(v, baseline)]
        if not later:
            flags.add("baseline_only", rows[0], "no assessment after baseline: nothing to grade")
        found[who] = TrialCourse(baseline, tuple(_ordered(later, flags)))
    return found


def _placed(tr: Iterable[TrialRow], flags: Flags) -> Iterator[TrialRow]:
    """Rows of TR that belong to a visit."""
    for row in tr:
        if not subject_of(row):
            flags.add("subject_unknown", row, "no subject: left out")
        elif visit_key(row):
            yield row
        else:
            flags.add("visit_unknown", row, "neither number, name nor date of the visit: left out")


def _flag_unmeasured(tu: Iterable[TrialRow], measured: Iterable[Who], flags: Flags) -> None:
    known = {subject for subject, _ in measured}
    for row in tu:
        if subject_of(row) not in known:
            known.add(subject_of(row))
            flags.add(
                "not_measured",
                row,
                "the subject is in TU alone, no row of TR measures it: not graded",
            )


def _new_lesions(tu: Iterable[TrialRow]) -> dict[str, list[TrialRow]]:
    found: dict[str, list[TrialRow]] = defaultdict(list)
    for row in tu:
        if role_of(row("TUSTRESC", "TUORRES")) == "new":
            found[subject_of(row)].append(row)
    return found


def _by_who(rows: Iterable[TrialRow]) -> dict[Who, list[TrialRow]]:
    found: dict[Who, list[TrialRow]] = defaultdict(list)
    for row in rows:
        found[subject_of(row), evaluator_of(row)].append(row)
    return found


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def find_baseline(visits: Sequence[TrialVisit], lowest: float | None) -> TrialVisit | None:
    """The visit that later ones are compared with.

    1. the visit whose rows are marked as baseline (TRBLFL, TRLOBXFL)
    2. else the last one called screening or baseline, or with a study day up to 1, that has a
       target or non-target there
    3. else, where no visit of the whole table has such a name, the one with the lowest visit number
       of the table, unless its name says that treatment had begun (WEEK 6)
    4. else none: the first visit of a subject is not taken for a baseline
    """
    marked = [v for v in visits if any(r("TRBLFL", "TRLOBXFL").upper() == "Y" for r in v.rows)]
    before = [
        v
        for v in visits
        if _BASELINE_NAME.search(v.name) or (v.study_day is not None and v.study_day <= 1)
    ]
    lesions = [
        v for v in marked or before if any(f.present and f.role != "new" for f in v.findings)
    ]
    if marked or before:
        return max(lesions or marked or before, key=lambda v: v.day or 0)
    return next(
        (
            v
            for v in visits
            if lowest is not None and v.number == lowest and not _ON_TREATMENT.search(v.name)
        ),
        None,
    )


def _flag_earlier(visits: Sequence[TrialVisit], baseline: TrialVisit | None, flags: Flags) -> None:
    if baseline is None or baseline.day is None:
        return
    for visit in visits:
        if visit.day is not None and visit.day < baseline.day and _is_later(visit, baseline):
            flags.add("date_order", visit.rows[0], "dated before the baseline, and numbered later")


def _is_later(visit: TrialVisit, baseline: TrialVisit) -> bool:
    if visit.key == baseline.key or _BASELINE_NAME.search(visit.name):
        return False
    if visit.day is not None and baseline.day is not None:
        return visit.day > baseline.day or (visit.number or 0.0) > (baseline.number or 0.0)
    return visit.number is None or baseline.number is None or visit.number > baseline.number


def _ordered(visits: Sequence[TrialVisit], flags: Flags) -> list[TrialVisit]:
    numbered = sorted(visits, key=lambda v: (v.number is None, v.number or 0.0, v.day or 0))
    latest: int | None = None
    for visit in (v for v in numbered if not is_unscheduled(v.rows[0])):
        if visit.day is not None and latest is not None and visit.day < latest:
            flags.add("date_order", visit.rows[0], "dated before a visit that is numbered lower")
        latest = visit.day if latest is None or (visit.day or 0) > latest else latest
    return (
        sorted(numbered, key=lambda v: v.day or 0)
        if all(v.day is not None for v in visits)
        else numbered
    )


def _visits(
    rows: Sequence[TrialRow], lesions: Mapping[str, Lesion], flags: Flags
) -> list[TrialVisit]:
    by_visit: dict[str, list[TrialRow]] = defaultdict(list)
    for row in rows:
        by_visit[visit_key(row)].append(row)
    return [_trial_visit(key, at_visit, lesions, flags) for key, at_visit in by_visit.items()]


def _trial_visit(
    key: str, rows: Sequence[TrialRow], lesions: Mapping[str, Lesion], flags: Flags
) -> TrialVisit:
    dates = [*filter(None, (complete_date(date_text(row)) for row in rows))]
    unclear = next((r for r in rows if date_text(r) and complete_date(date_text(r)) is None), None)
    if unclear is not None:
        flags.add(
            "partial_date",
            unclear,
            "no complete date: the visit stands by its number, and no interval is counted from it",
        )
    numbers = (_float(row("TRDY", "TUDY")) for row in rows)
    days = [int(n) for n in numbers if n is not None]
    return TrialVisit(
        key,
        visit_name(rows[0]),
        _float(rows[0]("VISITNUM")),
        min(dates, default=None),
        max(dates, default=None),
        max(days, default=None),
        tuple(rows),
        tuple(find_lesions(rows, lesions, flags)),
    )
