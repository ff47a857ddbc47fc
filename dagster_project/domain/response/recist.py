"""RECIST 1.1 of one patient, from the findings on each CT to the response at each visit.

Sources: Eisenhauer 2009, EORTC Q&A.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dagster_project.domain.response.findings import (
    Baseline,
    Finding,
    RecistVisit,
    Rules,
    Targets,
    measure_targets,
    parents,
    read_baseline,
)
from dagster_project.domain.response.new_lesions import NewLesion, find_new_lesions, is_gone

_WORST_FIRST = ("PD", "NE", "NON_CR_NON_PD", "CR")


@dataclass(frozen=True, slots=True)
class Assessment:
    """RECIST 1.1 at one visit.

    `new_lesions` are those counted at this visit, also where a later visit was needed to be sure.
    """

    visit: str
    day: int | None
    sum_mm: float | None
    measured_mm: float
    baseline_sum_mm: float | None
    nadir_mm: float | None
    target_arithmetic: str
    target: str
    nontarget: str
    new_lesions: tuple[str, ...]
    overall: str
    rule: str


ALL_NORMAL_AT_BASELINE = "each target was a node of normal size at baseline"


def target_response(  # noqa: PLR0911 - one return a rule
    targets: Targets,
    baseline: Baseline,
    nadir_mm: float | None,
    rules: Rules,
    *,
    after_complete: bool = False,
) -> tuple[str, str]:
    """Target response by the sums alone, and why.

    1. no target at baseline: NONE
    2. the baseline sum is not known: NE
    3. all evaluated, non-nodal targets gone and nodes below 10 mm: CR; NE where each target was
       a node of that size at baseline already
    4. after a definite complete response of the patient any target is there again: PD, even below 5
       mm
    5. at least 5 mm and 20 % above the nadir: PD, also where the measured part alone is
    6. a target is not evaluated: NE
    7. at most 70 % of the baseline sum: PR
    8. else: SD
    """
    if not baseline.targets:
        return "NONE", "no target"
    if baseline.sum_mm is None or nadir_mm is None:
        return "NE", "baseline sum not known"
    if not targets.missing and not targets.there:
        if baseline.normal.issuperset(baseline.targets):
            return "NE", ALL_NORMAL_AT_BASELINE
        return "CR", "all targets gone"
    if after_complete and targets.there:
        return "PD", f"{', '.join(targets.there)} there again after complete response"
    if is_progression(targets.measured_mm, nadir_mm, rules):
        alone = " by the measured part alone" if targets.missing else ""
        return "PD", f"sum at least {progression_words(rules)} above nadir{alone}"
    if targets.missing:
        return "NE", f"{', '.join(targets.missing)} not evaluated"
    if is_response(targets.measured_mm, baseline.sum_mm, rules):
        return "PR", f"sum at most {100 * rules['response_ratio']:g} % of baseline"
    return "SD", "neither PR nor PD"


def progression_words(rules: Rules) -> str:
    """How much a sum has to grow.

    >>> progression_words({"progression_mm": 5.0, "progression_ratio": 1.2})
    '5 mm and 20 %'
    """
    return f"{rules['progression_mm']:g} mm and {100 * (rules['progression_ratio'] - 1):g} %"


def progression_threshold_mm(reference_mm: float, rules: Rules) -> float:
    """Smallest size that is progression against the reference.

    The larger of the reference plus `progression_mm` and `progression_ratio` times it.

    >>> rules = {"progression_mm": 5.0, "progression_ratio": 1.2}
    >>> progression_threshold_mm(20.0, rules), progression_threshold_mm(100.0, rules)
    (25.0, 120.0)
    """
    return max(reference_mm + rules["progression_mm"], rules["progression_ratio"] * reference_mm)


def is_progression(size_mm: float, reference_mm: float, rules: Rules) -> bool:
    """At least `progression_mm`, and at least `progression_ratio` times the reference."""
    return size_mm >= progression_threshold_mm(reference_mm, rules) - rules["tolerance"]


def is_response(size_mm: float, reference_mm: float, rules: Rules) -> bool:
    """At most `response_ratio` times the reference."""
    return size_mm <= rules["response_ratio"] * reference_mm + rules["tolerance"]


def nontarget_response(
    visit: RecistVisit, baseline: Baseline, rules: Rules, *, after_complete: bool = False
) -> str:
    """Non-target response of one visit.

    1. no non-target at baseline: NONE
    2. any has progressed unequivocally, as the reader judged: PD
    3. after a definite complete response of the patient any that is not a node is there again: PD
    4. any was not evaluated: NE
    5. all gone: CR
    6. else: NON_CR_NON_PD

    It computes no progression from sizes: unequivocal progression is the reader's judgement of the
    whole burden.
    """
    states = nontarget_states(visit, baseline, rules)
    if not states:
        return "NONE"
    again = after_complete and any(
        state == "NON_CR_NON_PD" and not baseline.nontargets[label]
        for label, state in states.items()
    )
    if again or "PD" in states.values():
        return "PD"
    return next(state for state in _WORST_FIRST if state in states.values())


def nontarget_states(visit: RecistVisit, baseline: Baseline, rules: Rules) -> dict[str, str]:
    """State of each baseline non-target.

    Of several fragments the worst; NE where there is no finding.
    """
    found: dict[str, list[str]] = {label: [] for label in baseline.nontargets}
    for finding in visit.findings:
        for label in parents(finding.lesion, baseline.nontargets):
            found[label].append(_nontarget_state(finding, rules))
    return {
        label: next((s for s in _WORST_FIRST if s in states), "NE")
        for label, states in found.items()
    }


def _nontarget_state(finding: Finding, rules: Rules) -> str:
    if finding.state is not None:
        return finding.state
    normal_node = (
        finding.node
        and finding.diameter_mm is not None
        and finding.diameter_mm < rules["node_normal_mm"] - rules["tolerance"]
    )
    return "CR" if not finding.present or normal_node else "NON_CR_NON_PD"


def overall_response(target: str, nontarget: str, *, new_lesion: bool) -> str:
    """Overall response.

    1. target PD, non-target PD or a new lesion: PD
    2. no disease at baseline: NED
    3. no target at baseline: the non-target response
    4. target CR with non-targets CR or none: CR
    5. target CR else: PR
    6. else the target response
    """
    if "PD" in (target, nontarget) or new_lesion:
        return "PD"
    if target == "NONE":
        return "NED" if nontarget == "NONE" else nontarget
    if target == "CR":
        return "CR" if nontarget in {"CR", "NONE"} else "PR"
    return target


@dataclass(frozen=True, slots=True)
class _Course:
    """What the visits so far leave behind.

    It has the smallest complete sum, a target response to keep, and a definite complete response.
    """

    nadir_mm: float | None
    responded: bool = False
    complete: bool = False


def assess(
    baseline_visit: RecistVisit, visits: Sequence[RecistVisit], rules: Rules
) -> list[Assessment]:
    """RECIST 1.1 at each visit after baseline, in the order given.

    1. target response by this visit's sums; the nadir is the smallest complete sum before it,
       baseline included
    2. SD after a PR or CR stays PR until a target PD: crossing the 30 % line again is not stable
       disease
    3. non-target response
    4. a new lesion counts from its first appearance, once it is called unequivocal at that visit or
       a later one, until a reader says that it has gone
    5. overall response
    6. an overall CR is definite: from then on what comes back is progression

    A CR that was doubtful is to be read again by the reader: nothing here turns it into PR. Visits
    after a PD are graded all the same: what ends there is the best response, not the record.
    """
    baseline = read_baseline(baseline_visit, rules)
    register = find_new_lesions(visits, baseline, rules)
    course, found = _Course(baseline.sum_mm), []
    for place, visit in enumerate(visits):
        found.append(
            _assess_visit(visit, baseline, course, _standing(register, visits, place), rules)
        )
        course = _go_on(course, found[-1])
    return found


_HINDSIGHT = "called unequivocal later"


def assess_as_of(
    baseline_visit: RecistVisit, visits: Sequence[RecistVisit], rules: Rules
) -> list[Assessment]:
    """RECIST 1.1 at each visit by what was known then.

    Each visit is the last one of those it was graded with.

    It differs from `assess` only where a later visit made a doubtful new lesion certain, which then
    counts from its first appearance: at the visits in between, and at later ones that are based on
    what these were (a complete response that in hindsight was none).
    """
    found = assess(baseline_visit, visits, rules)
    if not any(_HINDSIGHT in a.rule for a in found):
        return found
    return [assess(baseline_visit, visits[: place + 1], rules)[-1] for place in range(len(visits))]


def _standing(
    register: Sequence[NewLesion], visits: Sequence[RecistVisit], place: int
) -> dict[str, str]:
    labels = [new.label for new in register]
    return {
        new.label: _certainty(new, place)
        for new in register
        if new.appeared <= place and not is_gone(new.label, visits, place, labels)
    }


def _certainty(new: NewLesion, place: int) -> str:
    if new.certain is None:
        return "not unequivocal"
    return _HINDSIGHT if new.certain > place else "unequivocal"


def _assess_visit(
    visit: RecistVisit,
    baseline: Baseline,
    course: _Course,
    standing: Mapping[str, str],
    rules: Rules,
) -> Assessment:
    targets = measure_targets(visit, baseline, rules)
    arithmetic, why = target_response(
        targets, baseline, course.nadir_mm, rules, after_complete=course.complete
    )
    kept = arithmetic == "SD" and course.responded
    target = "PR" if kept else arithmetic
    nontarget = nontarget_response(visit, baseline, rules, after_complete=course.complete)
    new = tuple(label for label, certainty in standing.items() if certainty != "not unequivocal")
    overall = overall_response(target, nontarget, new_lesion=bool(new))
    reasons = [
        f"target {target}: {'PR kept, not progressed since' if kept else why}",
        f"non-target {nontarget}",
        *(f"new lesion {label} {certainty}" for label, certainty in standing.items()),
        *baseline.queries,
        *_strays(visit, baseline, standing),
    ]
    return Assessment(
        visit=visit.name,
        day=visit.day,
        sum_mm=targets.sum_mm if baseline.targets else None,
        measured_mm=targets.measured_mm,
        baseline_sum_mm=baseline.sum_mm,
        nadir_mm=course.nadir_mm,
        target_arithmetic=arithmetic,
        target=target,
        nontarget=nontarget,
        new_lesions=new,
        overall=overall,
        rule="; ".join(reasons),
    )


def _strays(visit: RecistVisit, baseline: Baseline, standing: Iterable[str]) -> list[str]:
    known = {*baseline.targets, *baseline.nontargets, *standing}
    strays = [
        f for f in visit.findings if f.present and f.role != "new" and not parents(f.lesion, known)
    ]
    return [f"{f.lesion} called {f.role} but not there at baseline: ignored" for f in strays]


def _go_on(course: _Course, found: Assessment) -> _Course:
    sums = [s for s in (course.nadir_mm, found.sum_mm) if s is not None]
    responded = found.target_arithmetic in {"CR", "PR"} or (
        course.responded and found.target_arithmetic != "PD"
    )
    return _Course(
        min(sums) if course.nadir_mm is not None else None,
        responded,
        course.complete or found.overall == "CR",
    )
