"""Grades another trial's tumour tables by RECIST 1.1 and iRECIST.

The responses that the trial recorded are set beside ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any

import polars as pl

from dagster_project.domain.external_trials.recorded_responses import Recorded, find_contradictions
from dagster_project.domain.external_trials.trial_assessments import separate_visits
from dagster_project.domain.external_trials.trial_blocks import blocks_of_trial
from dagster_project.domain.external_trials.trial_findings import UNNAMED, Who
from dagster_project.domain.external_trials.trial_rows import (
    SUM_TEST,
    Flags,
    TrialRow,
    complete_date,
    date_text,
    evaluator_of,
    lesion_label,
    response_word,
    size_of,
    subject_of,
    visit_key,
    visit_name,
)
from dagster_project.domain.external_trials.trial_spellings import with_one_spelling
from dagster_project.domain.external_trials.trial_visits import (
    TrialCourse,
    TrialVisit,
    build_courses,
)
from dagster_project.domain.response.findings import RecistVisit, Rules, parents, read_baseline
from dagster_project.domain.response.irecist import ImmuneAssessment, assess_irecist
from dagster_project.domain.response.recist import Assessment, assess, overall_response

SUM_TOLERANCE_MM = 0.5
"""By how much a sum that the trial recorded may differ from ours, being rounded to a millimetre."""

TENFOLD = (8.0, 12.5)
"""Ratio of the targets' sizes between two visits that a wrong unit explains better than growth."""

TESTS = {
    "TRGRESP": "target",
    "NTRGRESP": "nontarget",
    "OVRLRESP": "overall",
    "NEWLIND": "new_lesion",
}
"""Codes of RSTESTCD that are compared."""

_YES = {"Y": True, "YES": True, "UNEQUIVOCAL": True, "N": False, "NO": False, "EQUIVOCAL": False}

GRADED: Mapping[str, Any] = {
    "subject": pl.String,
    "evaluator": pl.String,
    "visit": pl.String,
    "visit_number": pl.Float64,
    "first_date": pl.Date,
    "date": pl.Date,
    "days_from_baseline": pl.Int64,
    "accepted": pl.Boolean,
    "sum_mm": pl.Float64,
    "baseline_sum_mm": pl.Float64,
    "nadir_mm": pl.Float64,
    "new_lesion_sum_mm": pl.Float64,
    "target_response_arithmetic": pl.String,
    "target_response": pl.String,
    "nontarget_response": pl.String,
    "new_lesion": pl.Boolean,
    "overall_response": pl.String,
    "irecist_response": pl.String,
    "rule": pl.String,
    "irecist_rule": pl.String,
    "recorded_target": pl.String,
    "recorded_nontarget": pl.String,
    "recorded_new_lesion": pl.Boolean,
    "recorded_overall": pl.String,
    "recorded_irecist": pl.String,
    "differences": pl.List(pl.String),
    "flags": pl.List(pl.String),
}
"""Columns of the graded table: one row per subject, evaluator and visit after baseline.

Responses are in this project's words.
"""

FLAGS: Mapping[str, Any] = dict.fromkeys(
    ("rule", "place", "subject", "evaluator", "visit", "what"), pl.String
)
"""Columns of the table of flags: a row a rule and row of the trial's files."""

Key = tuple[str, str, str]
"""Subject, evaluator, visit."""


@dataclass(frozen=True, slots=True)
class Graded:
    """What the command writes: graded visits, blocks of unconfirmed progression, and flags.

    `dm` has the rows of DM with the one spelling of each subject.
    """

    visits: pl.DataFrame
    flags: pl.DataFrame
    blocks: pl.DataFrame
    dm: Sequence[TrialRow] = ()

    @property
    def differences(self) -> int:
        """Visits at which the trial recorded something else."""
        return self.visits.filter(pl.col("differences").list.len() > 0).height


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The trial's record of one visit under one set of criteria; its first row gives the place."""

    row: TrialRow
    words: Mapping[str, Any]


def grade_trial(
    tu: Sequence[TrialRow],
    tr: Sequence[TrialRow],
    rs: Sequence[TrialRow],
    dm: Sequence[TrialRow],
    recist: Rules,
    irecist: Rules,
) -> Graded:
    """Grade every visit of every evaluator, and compare.

    1. one spelling for each subject and lesion (trial_spellings.py)
    2. visits (trial_assessments.py) with their findings (trial_visits.py); what is unreadable was
       flagged there and counts as not evaluated
    3. RECIST 1.1 and iRECIST; without a baseline NE and iNE
    4. breaches of the selection of targets, sums that differ from SUMDIAM, assessments after death
       (DM.DTHDTC): flagged
    5. RS: words that are no response and rows that contradict each other: flagged, not compared
    6. RS by RECIST 1.1: each component and the overall response that differs from ours; RS by
       iRECIST: the overall response
    7. RS that contradicts itself (recorded_responses.py): flagged, also for subjects without any
       measurement

    Nothing recorded is used for grading, and nothing is corrected.
    """
    flags = Flags()
    tu, tr, rs, dm = with_one_spelling(flags, tu, tr, rs, dm)
    tu, tr, rs = separate_visits(flags, tu, _with_evaluator(tr, rs), rs)
    courses = build_courses(tu, tr, flags)
    recorded, immune = (
        _recorded([r for r in rs if _is_immune(r) is kind], flags) for kind in (False, True)
    )
    for who, course in courses.items():
        _flag_course(who, course, dm, flags)
    rows = [
        row
        for who, course in courses.items()
        for row in _grade_course(who, course, recist, irecist, flags)
    ]
    _flag_contradictions(recorded, immune, flags)
    visits, flagged = _laid_out(rows, recorded, immune, flags)
    return Graded(visits, flagged, blocks_of_trial(courses, dm, recist, irecist), dm)


def _with_evaluator(tr: Sequence[TrialRow], rs: Sequence[TrialRow]) -> list[TrialRow]:
    """TR without a word on who assessed is that of RS's only evaluator."""
    names = {evaluator_of(r) for r in rs}
    if len(names) != 1 or any(evaluator_of(r) for r in tr) or not rs:
        return list(tr)
    return [
        replace(r, cells={**r.cells, "TREVAL": rs[0]("RSEVAL"), "TREVALID": rs[0]("RSEVALID")})
        for r in tr
    ]


def _is_immune(row: TrialRow) -> bool:
    category = row("RSCAT").upper().replace(" ", "")
    return (
        "IRECIST" in category
        if category
        else row("RSSTRESC", "RSORRES").startswith(("iUPD", "iCPD"))
    )


def _flag_course(who: Who, course: TrialCourse, dm: Sequence[TrialRow], flags: Flags) -> None:
    own = [row for row in dm if subject_of(row) == who[0]]
    begun = next(filter(None, (complete_date(row("RFXSTDTC")) for row in own)), None)
    before = course.baseline and course.baseline.last_date
    if course.baseline and before and begun and before > begun:
        what = "the baseline is dated after the first dose (DM.RFXSTDTC); graded as it stands"
        flags.add("baseline_after_treatment", course.baseline.rows[0], what)
    dates = (complete_date(row("DTHDTC", "DTHDT")) for row in own)
    died = next(filter(None, dates), None)
    for visit in (*((course.baseline,) if course.baseline else ()), *course.later):
        if died is not None and visit.last_date is not None and visit.last_date > died:
            flags.add(
                "after_death",
                visit.rows[0],
                "assessed after the date of death: one of the two dates is wrong; "
                "graded as it stands",
            )
        if visit.first_date != visit.last_date:
            flags.add(
                "several_dates",
                visit.rows[0],
                "rows of several dates: first_date and date hold both; "
                "a progression is of the first, a sum of the last",
            )


def _grade_course(
    who: Who, course: TrialCourse, recist: Rules, irecist: Rules, flags: Flags
) -> Iterable[dict[str, Any]]:
    ready = course.for_engines()
    if ready is None or course.baseline is None:
        for visit in course.later:
            yield _facts(who, visit, None) | {
                "target_response_arithmetic": "NE",
                "target_response": "NE",
                "nontarget_response": "NE",
                "new_lesion": None,
                "overall_response": "NE",
                "irecist_response": "iNE",
                "rule": "no baseline assessment",
                "irecist_rule": "no baseline assessment",
            }
        return
    graded, immune = assess(*ready, recist), assess_irecist(*ready, recist, irecist)
    _flag_baseline(course.baseline, ready[0], recist, flags)
    _flag_unknown_targets(course, ready[0], recist, flags)
    _flag_tenfold(course, flags)
    for visit, found, immunely in zip(course.later, graded, immune, strict=True):
        _flag_sum(visit, found, flags)
        yield _facts(who, visit, course.baseline) | _responses(found, immunely)


def _flag_unknown_targets(
    course: TrialCourse, baseline: RecistVisit, recist: Rules, flags: Flags
) -> None:
    """Targets of later visits that the baseline does not have: their diameters are in no sum."""
    targets = read_baseline(baseline, recist).targets
    for visit in course.later:
        for finding in visit.findings:
            known = finding.lesion == UNNAMED or parents(finding.lesion, targets)
            if finding.role == "target" and not known:
                row = next(r for r in visit.rows if lesion_label(r) == finding.lesion)
                flags.add(
                    "target_not_at_baseline",
                    row,
                    "no target of the baseline, nor a part of one: left out of the sum",
                )


def _flag_tenfold(course: TrialCourse, flags: Flags) -> None:
    """Visits at which the targets are about ten times what they were at the visit before."""
    assert course.baseline is not None
    for before, visit in pairwise((course.baseline, *course.later)):
        sizes, earlier = _target_sizes(visit), _target_sizes(before)
        ratios = [sizes[label] / earlier[label] for label in sizes.keys() & earlier.keys()]
        middle = median(ratios) if ratios else 1.0
        if TENFOLD[0] <= max(middle, 1 / middle) <= TENFOLD[1]:
            what = "the targets are ten times larger or smaller than at the visit before"
            flags.add(
                "tenfold", visit.rows[0], f"{what}: is one of them in cm? graded as it stands"
            )


def _target_sizes(visit: TrialVisit) -> dict[str, float]:
    found = {f.lesion: f.diameter_mm for f in visit.findings if f.role == "target"}
    return {label: size for label, size in found.items() if size}


def _facts(who: Who, visit: TrialVisit, baseline: TrialVisit | None) -> dict[str, Any]:
    days = None
    if baseline is not None and baseline.day is not None and visit.day is not None:
        days = visit.day - baseline.day if visit.day > baseline.day else None
    return {
        "key": (*who, visit.key),
        "subject": who[0],
        "evaluator": who[1],
        "visit": visit.name,
        "visit_number": visit.number,
        "first_date": visit.first_date,
        "date": visit.last_date,
        "accepted": visit.accepted,
        "days_from_baseline": days,
    }


def _responses(found: Assessment, immune: ImmuneAssessment) -> dict[str, Any]:
    return {
        "sum_mm": found.sum_mm,
        "baseline_sum_mm": found.baseline_sum_mm,
        "nadir_mm": found.nadir_mm,
        "new_lesion_sum_mm": immune.new_lesion_sum_mm,
        "target_response_arithmetic": found.target_arithmetic,
        "target_response": found.target,
        "nontarget_response": found.nontarget,
        "new_lesion": bool(found.new_lesions),
        "overall_response": found.overall,
        "irecist_response": immune.response,
        "rule": found.rule,
        "irecist_rule": immune.rule,
    }


def _flag_baseline(baseline: TrialVisit, visit: RecistVisit, recist: Rules, flags: Flags) -> None:
    for query in read_baseline(visit, recist).queries:
        place = next(
            (
                r
                for r in baseline.rows
                if r("TRLNKID", "TULNKID") and r("TRLNKID", "TULNKID") in query.split()
            ),
            baseline.rows[0],
        )
        flags.add(next(rule for words, rule in _QUERIES.items() if words in query), place, query)


_QUERIES = {
    "in one organ": "targets_in_one_organ",
    "targets at baseline": "too_many_targets",
    "below the measurable size": "target_below_measurable",
    "called new at baseline": "new_at_baseline",
    "absent": "absent_at_baseline",
}
"""Rules of the queries of `read_baseline`, by words in them."""


def _flag_sum(visit: TrialVisit, found: Assessment, flags: Flags) -> None:
    for row in visit.rows:
        if row("TRTESTCD").upper() == SUM_TEST and found.sum_mm is not None:
            recorded = size_of(row, flags).mm
            if recorded is not None and abs(recorded - found.sum_mm) > SUM_TOLERANCE_MM:
                flags.add(
                    "sum_differs",
                    row,
                    "the recorded sum of diameters is not that of the diameters; "
                    "graded by the diameters",
                )


def _recorded(rows: Sequence[TrialRow], flags: Flags) -> dict[Key, _Recorded]:
    """The trial's records by subject, evaluator and visit; contradictory rows give none."""
    by_key: dict[Key, dict[str, list[TrialRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if (test := TESTS.get(row("RSTESTCD").upper())) is not None:
            by_key[subject_of(row), evaluator_of(row), visit_key(row)][test].append(row)
    return {
        key: _Recorded(
            (tests.get("overall") or next(iter(tests.values())))[0],
            {test: _one(test, own, flags) for test, own in tests.items()},
        )
        for key, tests in by_key.items()
    }


def _one(test: str, rows: Sequence[TrialRow], flags: Flags) -> Any:
    words = list(dict.fromkeys(_word(test, row, flags) for row in rows))
    if len(rows) > 1:
        rule, what = (
            ("repeated_row", "counted once")
            if len(words) == 1
            else ("contradictory_rows", "they differ: not compared")
        )
        flags.add(
            rule,
            rows[-1],
            f"{test} is recorded {len(rows)} times at this visit, as {rows[0].place}: {what}",
        )
    return words[0] if len(words) == 1 else None


def _yes_or_nothing(text: str) -> bool | None:
    """A new lesion as a trial wrote it; KeyError where the word is none that is known."""
    return _YES[text.upper()] if text else None


def _word(test: str, row: TrialRow, flags: Flags) -> Any:
    text = row("RSSTRESC", "RSORRES")
    if row("RSSTAT").upper() == "NOT DONE":
        if text and text.upper() not in {"NE", "NOT DONE", "NOT EVALUABLE"}:
            flags.add(
                "not_done_with_result",
                row,
                "RSSTAT is NOT DONE, and a response stands beside it: not compared",
            )
        return None
    try:
        word = _yes_or_nothing(text) if test == "new_lesion" else response_word(text)
    except KeyError:
        flags.add("unknown_word", row, "the result is no response: not compared")
        return None
    if isinstance(word, str) and (word in {"UPD", "CPD"} if not _is_immune(row) else word == "PD"):
        flags.add(
            "unknown_word",
            row,
            "the word belongs to the other criteria (RECIST 1.1 or iRECIST): not compared",
        )
        return None
    return f"i{word}" if isinstance(word, str) and _is_immune(row) else word


def _flag_contradictions(
    recorded: Mapping[Key, _Recorded], immune: Mapping[Key, _Recorded], flags: Flags
) -> None:
    for found in recorded.values():
        target, nontarget, new, overall = (
            found.words.get(name) for name in ("target", "nontarget", "new_lesion", "overall")
        )
        if (
            target
            and overall
            and new is not None
            and overall_response(target, nontarget or "NONE", new_lesion=new) != overall
        ):
            flags.add(
                "components",
                found.row,
                "the recorded components do not give the recorded overall response",
            )
    courses: dict[Who, list[_Recorded]] = defaultdict(list)
    for (subject, evaluator, _), found in sorted(
        immune.items(), key=lambda item: _order(item[1].row)
    ):
        courses[subject, evaluator].append(found)
    for course in courses.values():
        by_place = {found.row.place: found.row for found in course}
        for wrong in find_contradictions([_as_recorded(found) for found in course]):
            flags.add(wrong.rule, by_place[wrong.visit], wrong.what)


def _order(row: TrialRow) -> tuple[float, str]:
    try:
        return float(row("VISITNUM")), date_text(row)
    except ValueError:
        return float("inf"), date_text(row)


def _as_recorded(found: _Recorded) -> Recorded:
    date = complete_date(date_text(found.row))
    words = found.words
    return Recorded(
        found.row.place,
        date.toordinal() if date else None,
        words.get("overall"),
        words.get("target"),
        words.get("nontarget"),
        words.get("new_lesion"),
    )


def _laid_out(
    rows: Sequence[dict[str, Any]],
    recorded: Mapping[Key, _Recorded],
    immune: Mapping[Key, _Recorded],
    flags: Flags,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    graded = {row["key"]: row for row in rows}
    for key, found in (*recorded.items(), *immune.items()):
        graded.setdefault(key, _without_measurements(key, found))
    about: dict[Key, list[str]] = defaultdict(list)
    for flag in flags.found:
        about[flag.subject, flag.evaluator, flag.visit_key].append(f"{flag.rule} ({flag.place})")
    laid = [
        _compared(row, recorded.get(key), immune.get(key)) | {"flags": about[key]}
        for key, row in graded.items()
    ]
    visits = pl.DataFrame(
        [{name: row.get(name) for name in GRADED} for row in laid], schema=dict(GRADED)
    )
    flagged = pl.DataFrame(
        [{name: getattr(flag, name) for name in FLAGS} for flag in flags.found], schema=dict(FLAGS)
    )
    in_order = ("subject", "evaluator", "visit_number", "date")
    return visits.sort(*in_order, nulls_last=True, maintain_order=True), flagged


def _without_measurements(key: Key, found: _Recorded) -> dict[str, Any]:
    date = complete_date(date_text(found.row))
    number = _order(found.row)[0]
    why = "no measurement by this evaluator at a visit after baseline"
    return {
        "subject": key[0],
        "evaluator": key[1],
        "visit": visit_name(found.row),
        "visit_number": number if number != float("inf") else None,
        "first_date": date,
        "date": date,
        "rule": why,
        "irecist_rule": why,
    }


def _compared(
    row: Mapping[str, Any], recorded: _Recorded | None, immune: _Recorded | None
) -> dict[str, Any]:
    """The row with what was recorded, and where it differs from what the rules give."""
    words, immune_words = (dict(s.words) if s else {} for s in (recorded, immune))
    pairs = {
        "target": (words.get("target"), row.get("target_response")),
        "nontarget": (words.get("nontarget"), row.get("nontarget_response")),
        "new_lesion": (words.get("new_lesion"), row.get("new_lesion")),
        "overall": (words.get("overall"), row.get("overall_response")),
        "irecist": (immune_words.get("overall"), row.get("irecist_response")),
    }
    differences = [
        f"{name}: recorded {_told(theirs)}, by rule {_told(ours)}{_arithmetic(name, theirs, row)}"
        for name, (theirs, ours) in pairs.items()
        if theirs is not None and ours is not None and theirs != ours
    ]
    return {
        **row,
        **{f"recorded_{name}": theirs for name, (theirs, _) in pairs.items()},
        "differences": differences,
    }


def _told(value: object) -> str:
    return (
        {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    )


def _arithmetic(name: str, theirs: object, row: Mapping[str, Any]) -> str:
    alone = row.get("target_response_arithmetic")
    return f" ({alone} by the sums alone)" if name == "target" and alone == theirs else ""
