"""Another trial's tumour tables as visits with findings, one list per subject and evaluator.

The engines of RECIST 1.1 and iRECIST take these lists.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dagster_project.domain.external_trials.trial_assessments import is_unscheduled
from dagster_project.domain.external_trials.trial_rows import (
    Flags,
    Size,
    TrialRow,
    complete_date,
    date_text,
    evaluator_of,
    is_accepted,
    is_node,
    role_of,
    role_of_label,
    size_of,
    state_of,
    subject_of,
    visit_key,
    visit_name,
)
from dagster_project.domain.response.findings import Finding, RecistVisit

Who = tuple[str, str]
"""Subject and evaluator."""

NODE_TESTS, LESION_TESTS = ("SAXIS", "LPERP", "DIAMETER"), ("LDIAM", "DIAMETER")
"""TRTESTCD codes of a node's short axis and of another lesion's longest diameter.

The first code that is there counts.
"""

SIZE_TESTS = frozenset({*NODE_TESTS, *LESION_TESTS})

_BASELINE_NAME = re.compile(
    r"SCREEN|BASELINE|^(?:BL|SCR)\b|PRE-?\s?(?:DOSE|TREATMENT)|\bWEEK\s*(?:0|-\d)|^DAY\s*(?:-\d+|0|1)$|\bC(?:YCLE\s*)?1\s*D(?:AY\s*)?1\b",
    re.IGNORECASE,
)
_ON_TREATMENT = re.compile(
    r"\b(?:WEEK|MONTH)\s*0*[1-9]|\bCYCLE\s*0*(?:[2-9]|1\d)|FOLLOW|UNSCHED|END OF", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Lesion:
    """What is known of a lesion: its role, its organ, and whether that is a lymph node.

    `node` is None where no location was given.
    """

    role: str | None
    organ: str | None
    node: bool | None


Lookup = Callable[[str], Lesion | None]
"""What TU says of a label; None where it has none of that label."""


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

    1. a lesion's role and organ are those that TU gives it, for this evaluator, else for any
    2. the baseline is what `find_baseline` says; without one every visit is kept, and none can be
       graded
    3. later visits stand in order of their dates where all are complete, else of their numbers
    4. a lesion that TU calls new is there from the visit at which TU names it, measured or not
    5. a row of TR without visit number, name and date is in no visit; a subject in TU alone, or at
       baseline alone, has nothing to grade: both are flagged
    """
    lesions, measured, new = _lesions(tu), _by_who(_placed(tr, flags)), _new_lesions(tu)
    _flag_unmeasured(tu, measured, flags)
    named = any(_BASELINE_NAME.search(visit_name(r)) or r("TRBLFL", "TRLOBXFL") for r in tr)
    numbers = [number for number in (_float(r("VISITNUM")) for r in tr) if number is not None]
    lowest = None if named else min(numbers, default=None)
    found = {}
    for who, rows in measured.items():
        visits = _visits(
            rows,
            [r for r in new[who[0]] if evaluator_of(r) in {who[1], ""}],
            partial(_lesion, lesions, who),
            flags,
        )
        baseline = find_baseline(visits, lowest)
        if baseline is None:
            flags.add(
                "no_baseline",
                rows[0],
                "no assessment before treatment: every visit is not evaluable",
            )
        later = [v for v in visits if baseline is None or _is_later(v, baseline)]
        if not later:
            flags.add("baseline_only", rows[0], "no assessment after baseline: nothing to grade")
        found[who] = TrialCourse(baseline, tuple(_ordered(later, flags)))
    return found


def _placed(tr: Iterable[TrialRow], flags: Flags) -> Iterator[TrialRow]:
    """Rows of TR that belong to a visit."""
    for row in tr:
        if visit_key(row):
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


def lesion_label(row: TrialRow) -> str:
    """The label by which rows of TU and TR name a lesion."""
    return row("TRLNKID", "TULNKID", "TRREFID", "TUREFID")


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


def _lesions(tu: Iterable[TrialRow]) -> dict[tuple[str, str], list[tuple[str, Lesion]]]:
    found: dict[tuple[str, str], list[tuple[str, Lesion]]] = defaultdict(list)
    for row in tu:
        organ = row("TULOC") or None
        lesion = Lesion(
            role_of(row("TUSTRESC", "TUORRES")), organ, None if organ is None else is_node(organ)
        )
        found[subject_of(row), row("TULNKID", "TUREFID")].append((evaluator_of(row), lesion))
    return found


def _lesion(
    lesions: Mapping[tuple[str, str], list[tuple[str, Lesion]]], who: Who, label: str
) -> Lesion | None:
    known = [pair for pair in lesions.get((who[0], label), []) if pair[1].role]
    own = [lesion for evaluator, lesion in known if evaluator == who[1]] or [
        lesion for _, lesion in known
    ]
    return own[0] if own else None


def _visits(
    rows: Sequence[TrialRow], new: Sequence[TrialRow], lesion: Lookup, flags: Flags
) -> list[TrialVisit]:
    by_visit: dict[str, list[TrialRow]] = defaultdict(list)
    for row in (*rows, *new):
        by_visit[visit_key(row)].append(row)
    return [_trial_visit(key, at_visit, lesion, flags) for key, at_visit in by_visit.items()]


def _trial_visit(key: str, rows: Sequence[TrialRow], lesion: Lookup, flags: Flags) -> TrialVisit:
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
        tuple(_findings(rows, lesion, flags)),
    )


def _findings(rows: Sequence[TrialRow], lesion: Lookup, flags: Flags) -> Iterable[Finding]:
    by_label: dict[str, list[TrialRow]] = defaultdict(list)
    for row in rows:
        label = lesion_label(row)
        if label:
            by_label[label].append(row)
        elif row("TRTESTCD").upper() in SIZE_TESTS:
            flags.add("lesion_not_named", row, "a diameter of no lesion: left out")
    for label, own in by_label.items():
        facts = _facts(label, own, lesion, flags)
        found = _finding(label, facts, own, flags) if facts else None
        if found is not None:
            yield found


def _facts(label: str, rows: Sequence[TrialRow], lesion: Lookup, flags: Flags) -> Lesion | None:
    """Role and organ of a lesion: by TU, else by TRGRPID, else by the customary label.

    A role by label is flagged; a lesion without a role is left out.
    """
    known, roles = lesion(label), (role_of(row("TRGRPID", "TRCAT", "TRSCAT")) for row in rows)
    grouped = next(filter(None, roles), None)
    organ = next(filter(None, (row("TRLOC") for row in rows)), None)
    if known is not None:
        if grouped and known.role and grouped != known.role:
            flags.add(
                "role_contradicts",
                rows[0],
                f"TU calls the lesion {known.role}, TRGRPID {grouped}: TU stands",
            )
        return known if known.organ or not organ else Lesion(known.role, organ, is_node(organ))
    role = grouped or role_of_label(label)
    if role is None:
        flags.add(
            "role_unknown", rows[0], "the lesion is neither target, non-target nor new: left out"
        )
        return None
    if grouped is None:
        flags.add(
            "role_by_label", rows[0], f"not in TU and without TRGRPID: taken as {role} by its label"
        )
    return Lesion(role, organ, is_node(organ) if organ else None)


def _finding(label: str, facts: Lesion, rows: Sequence[TrialRow], flags: Flags) -> Finding | None:
    """What one evaluator found of one lesion at one visit; None where it was not evaluated.

    1. the diameter (`_diameter`) and the state (TUMSTATE), each refused where its rows contradict
       each other
    2. gone and yet measured, or there with a diameter of 0: flagged, not evaluated
    3. else gone, too small, progressed, measured or merely there; a lesion that TU calls new needs
       no more than that. UNEQUIVOCAL of a non-target lesion is its progression (pharmaverse's RS:
       NTRGRESP PD); of a new one, that it is there
    """
    node = (
        facts.node
        if facts.node is not None
        else any(r("TRTESTCD").upper() == "SAXIS" for r in rows)
    )
    size, state = _diameter(rows, flags, node=node), _state(rows, flags)
    role = facts.role or "target"
    if size is None and state is None and not any(r("TULNKID") for r in rows):
        return None
    if size is not None and (
        (state == "gone" and size > 0 and not node)
        or (state in {"there", "too small"} and size == 0)
    ):
        flags.add(
            "contradictory_state",
            rows[0],
            "state and diameter contradict each other: not evaluated",
        )
        return None
    if state == "not evaluated" and size is None:
        return (
            Finding(label, role, node, state="NE", organ=facts.organ)
            if role == "non_target"
            else None
        )
    return Finding(
        label,
        role,
        node,
        present=not (state == "gone" or size == 0),
        diameter_mm=size,
        too_small=state == "too small" and size is None,
        state="PD"
        if state == "progressed" or (role == "non_target" and state == "unequivocal")
        else None,
        unequivocal=state != "equivocal" if role == "new" else None,
        organ=facts.organ,
    )


def _diameter(rows: Sequence[TrialRow], flags: Flags, *, node: bool) -> float | None:
    """The short axis of a node, the longest diameter of another lesion.

    None where there is none, or its rows contradict each other.
    """
    tests = {
        test: [r for r in rows if r("TRTESTCD").upper() == test]
        for test in (NODE_TESTS if node else LESION_TESTS)
    }
    chosen = next((own for own in tests.values() if own), [])
    if node and not chosen and (longest := [r for r in rows if r("TRTESTCD").upper() == "LDIAM"]):
        flags.add(
            "short_axis_missing",
            longest[0],
            "a node with its longest diameter alone: not evaluated",
        )
    return _agreed([size_of(r, flags) for r in chosen], chosen, flags).mm


def _agreed(sizes: Sequence[Size], rows: Sequence[TrialRow], flags: Flags) -> Size:
    accepted = [size for size, row in zip(sizes, rows, strict=True) if is_accepted(row)]
    distinct = list(dict.fromkeys(accepted or sizes))
    if len(sizes) > 1:
        rule, what = (
            ("repeated_row", "counted once")
            if len(distinct) == 1
            else ("contradictory_rows", "they differ: not evaluated")
        )
        flags.add(
            rule,
            rows[-1],
            f"the lesion has {len(sizes)} rows of one test at this visit, "
            f"as {rows[0].place}: {what}",
        )
    return distinct[0] if len(distinct) == 1 else Size()


def _state(rows: Sequence[TrialRow], flags: Flags) -> str | None:
    """The tumour's state: TUMSTATE, else the word in place of a diameter."""
    written = [r for r in rows if r("TRTESTCD").upper() == "TUMSTATE"]
    measured = [r for r in rows if r("TRTESTCD").upper() in SIZE_TESTS]
    states = (state_of(r("TRSTRESN", "TRSTRESC", "TRORRES")) for r in measured)
    words = {_written(r, flags) for r in written} or {*filter(None, states)}
    if len(words) > 1:
        flags.add(
            "contradictory_rows",
            rows[-1],
            "states of one lesion at one visit differ: not evaluated",
        )
    if len(words) == 1:
        return next(iter(words))
    return "not evaluated" if words or measured else _of_identification(rows)


def _written(row: TrialRow, flags: Flags) -> str:
    text = row("TRSTRESC", "TRORRES")
    state = "not evaluated" if row("TRSTAT").upper() == "NOT DONE" or not text else state_of(text)
    if state is None:
        flags.add("state_unknown", row, "the tumour state is no known word: not evaluated")
    return state or "not evaluated"


def _of_identification(rows: Sequence[TrialRow]) -> str | None:
    words = " ".join(r("TUSTRESC", "TUORRES", "TUTESTCD") for r in rows).upper()
    return "equivocal" if "EQUIVOCAL" in words.replace("UNEQUIVOCAL", "") else None
