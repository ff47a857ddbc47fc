"""iRECIST of one patient: progression is unconfirmed until a later CT confirms it.

Sources: Seymour 2017 and the working group's Q&A.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dagster_project.domain.response.findings import (
    Baseline,
    RecistVisit,
    Rules,
    parents,
    read_baseline,
)
from dagster_project.domain.response.new_lesions import NewLesions, register_new_lesions, sizes_of
from dagster_project.domain.response.recist import (
    Assessment,
    assess_as_of,
    is_progression,
    nontarget_states,
    overall_response,
)

IMMUNE = {
    "CR": "iCR",
    "PR": "iPR",
    "SD": "iSD",
    "NON_CR_NON_PD": "iNON_CR_NON_PD",
    "NE": "iNE",
    "NED": "iNED",
}
"""RECIST 1.1 responses that iRECIST mirrors; a PD has none: it is iUPD or iCPD."""

PROGRESSED, RESPONDED = ("iUPD", "iCPD"), ("iCR", "iPR")
"""States by which a patient is decided, as of the visit: iRECIST looks at no later visit."""

_TARGET_RANK = {"CR": 3, "PR": 2, "SD": 1}
"""Rank of a target response, to compare it with that when progression was first seen."""


@dataclass(frozen=True, slots=True)
class ImmuneAssessment:
    """iRECIST at one visit as it was known then.

    `new_lesion_sum_mm` is iSumNL, which is never added to the targets' sum.
    """

    visit: str
    day: int | None
    response: str
    new_lesion_sum_mm: float | None
    rule: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that iRECIST looks at on one visit."""

    visit: RecistVisit
    recist: Assessment
    new: NewLesions
    nontarget_worse: frozenset[str]
    nontargets: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Block:
    """An unconfirmed progression.

    It has its first and last day, its categories (T, NT, NL), and the smallest sizes since, from
    which growth counts.
    """

    first_day: int | None
    last_day: int | None
    categories: frozenset[str]
    start: Evidence
    target_mm: float | None
    nontarget_worse: frozenset[str]
    nontargets: Mapping[str, float]
    known: frozenset[str]
    new_mm: float | None
    others: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class State:
    """The state of a patient between two visits.

    It has an open block or none, whether progression is confirmed, and what is known of new
    lesions.
    """

    block: Block | None = None
    confirmed: bool = False
    known: frozenset[str] = frozenset()
    new_nadir_mm: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One visit as iRECIST judged it: its evidence, the state before and after, the response.

    `disregarded` says that the visit was too early to confirm or reset the open block.
    """

    evidence: Evidence
    before: State
    after: State
    assessment: ImmuneAssessment
    disregarded: bool

    @property
    def opens(self) -> bool:
        """Whether a block opens at this visit."""
        return self.before.block is None and self.after.block is not None


def assess_irecist(
    baseline_visit: RecistVisit, visits: Sequence[RecistVisit], recist: Rules, irecist: Rules
) -> list[ImmuneAssessment]:
    """Grade each visit by iRECIST; see `trace_irecist`."""
    return [step.assessment for step in trace_irecist(baseline_visit, visits, recist, irecist)]


def trace_irecist(
    baseline_visit: RecistVisit, visits: Sequence[RecistVisit], recist: Rules, irecist: Rules
) -> list[Step]:
    """Grade each visit by iRECIST, in the order given, from that visit and earlier ones alone.

    1. confirmed progression stays iCPD
    2. no open block: a progression opens one and is iUPD, never iCPD; without it the RECIST 1.1
       response is mirrored
    3. open block, CT earlier than 4 weeks (less 2 days) after the iUPD: disregarded, stays iUPD; a
       CT made for a new symptom that shows a further new lesion is iCPD
    4. open block, further growth where it began or progression in another category: iCPD
    5. open block, a category in which it began, or all targets, not evaluated: iNE, which neither
       confirms nor resets
    6. open block, still progressed and nothing better: iUPD
    7. open block else: the RECIST 1.1 response is mirrored and the bar resets: a later progression
       is iUPD again
    """
    state, found = State(), []
    for evidence in _gather(baseline_visit, visits, recist):
        response, why, after = _judge(state, evidence, recist, irecist)
        visit = evidence.visit
        judged = ImmuneAssessment(visit.name, visit.day, response, evidence.new.sum_mm, why)
        found.append(
            Step(evidence, state, after, judged, _is_disregarded(state, evidence, irecist))
        )
        state = after
    return found


def _is_disregarded(state: State, now: Evidence, irecist: Rules) -> bool:
    """Whether a block is open and the visit is too early for it."""
    if state.block is None or state.confirmed:
        return False
    return is_early(state.block, now, irecist)


def _gather(
    baseline_visit: RecistVisit, visits: Sequence[RecistVisit], rules: Rules
) -> list[Evidence]:
    baseline, graded = (
        read_baseline(baseline_visit, rules),
        assess_as_of(baseline_visit, visits, rules),
    )
    registers = register_new_lesions(visits, baseline, rules)
    return [
        Evidence(v, a, n, *_nontarget_burden(v, baseline, rules))
        for v, a, n in zip(visits, graded, registers, strict=True)
    ]


def _nontarget_burden(
    visit: RecistVisit, baseline: Baseline, rules: Rules
) -> tuple[frozenset[str], dict[str, float]]:
    worse = frozenset(
        label for label, state in nontarget_states(visit, baseline, rules).items() if state == "PD"
    )
    shown = {
        label: [f for f in visit.findings if label in parents(f.lesion, baseline.nontargets)]
        for label in baseline.nontargets
    }
    return worse, sizes_of(shown, rules)


def _judge(state: State, now: Evidence, recist: Rules, irecist: Rules) -> tuple[str, str, State]:
    if state.confirmed:
        return "iCPD", "confirmed before", state
    if state.block is None:
        return _judge_without_block(state, now, recist)
    return _judge_in_block(state, state.block, now, recist, irecist)


def _judge_without_block(state: State, now: Evidence, recist: Rules) -> tuple[str, str, State]:
    causes = progression_causes(state, now, recist)
    known = replace(
        state, known=now.new.known, new_nadir_mm=_smallest(state.new_nadir_mm, now.new.sum_mm)
    )
    if not causes:
        response = mirror(now)
        return response, f"{response}: as RECIST 1.1", known
    return (
        "iUPD",
        f"iUPD: first seen in {_listed(causes)}",
        replace(known, block=_open_block(causes, now)),
    )


def progression_causes(state: State, now: Evidence, rules: Rules) -> frozenset[str]:
    """Categories in which a progression begins at this visit, no block being open.

    1. T: target PD against the nadir, smallest sum before an earlier iUPD included
    2. NT: unequivocal progression of non-targets
    3. NL: a new lesion that was not known; or new lesions that were let pass grow by 20 % and 5 mm
       over their smallest sum, or progress unequivocally
    """
    grown = (
        now.new.sum_mm is not None
        and state.new_nadir_mm is not None
        and is_progression(now.new.sum_mm, state.new_nadir_mm, rules)
    )
    found = {
        "T": now.recist.target == "PD",
        "NT": now.recist.nontarget == "PD",
        "NL": bool((now.new.known & now.new.there) - state.known)
        or grown
        or bool(now.new.worse & state.known),
    }
    return frozenset(category for category, progressed in found.items() if progressed)


def mirror(now: Evidence) -> str:
    """The RECIST 1.1 response of targets and non-targets in iRECIST's words.

    New lesions need not vanish for iPR or iSD; while one is there iCR is iPR, or iNON_CR_NON_PD
    where there are no targets.
    """
    response = overall_response(now.recist.target, now.recist.nontarget, new_lesion=False)
    if now.new.there and response == "CR":
        response = "NON_CR_NON_PD" if now.recist.target == "NONE" else "PR"
    return IMMUNE.get(response, "iNE")


def _open_block(causes: frozenset[str], now: Evidence) -> Block:
    return Block(
        first_day=now.visit.day,
        last_day=now.visit.day,
        categories=causes,
        start=now,
        target_mm=now.recist.sum_mm,
        nontarget_worse=now.nontarget_worse,
        nontargets=now.nontargets,
        known=now.new.known,
        new_mm=now.new.sum_mm,
        others=now.new.others,
    )


def _target_part(new: NewLesions) -> float:
    return sum(new.sizes.get(label, 0.0) for label in new.targets)


def _judge_in_block(
    state: State, block: Block, now: Evidence, recist: Rules, irecist: Rules
) -> tuple[str, str, State]:
    if is_early(block, now, irecist):
        return _judge_early(state, block, now)
    grounds, late = confirmations(block, now, recist, irecist), is_late(block, now, irecist)
    if grounds:
        return (
            "iCPD",
            f"iCPD: {'; '.join(grounds)}{' (confirmation late)' if late else ''}",
            replace(state, confirmed=True),
        )
    left = _left_of(block, now)
    if not left and (
        mirror(now) == "iNE" or ("NT" in block.categories and now.recist.nontarget == "NE")
    ):
        return "iNE", "iNE: neither confirms nor resets", state
    if left and not (left == {"NL"} and is_better(block, now, irecist)):
        return (
            "iUPD",
            f"iUPD: not confirmed, progression stands in {_listed(left)}",
            replace(state, block=_go_on(block, now)),
        )
    response, nadir = mirror(now), _smallest(state.new_nadir_mm, now.new.sum_mm)
    return (
        response,
        f"{response}: not confirmed, the bar resets",
        State(None, False, now.new.known, nadir),
    )


def window_begins(first_day: int, irecist: Rules) -> int:
    """First day on which a CT confirms, by the first iUPD of a block, less the tolerance."""
    return (
        first_day + irecist["confirmation_earliest_days"] - irecist["confirmation_tolerance_days"]
    )


def window_ends(last_day: int, irecist: Rules) -> int:
    """Last day on which a CT is in time, by the last iUPD of a block, with the tolerance."""
    return last_day + irecist["confirmation_latest_days"] + irecist["confirmation_tolerance_days"]


def is_early(block: Block, now: Evidence, irecist: Rules) -> bool:
    """Whether a visit is too early to confirm: before the window; an unknown day is not early."""
    if block.first_day is None or now.visit.day is None:
        return False
    return now.visit.day < window_begins(block.first_day, irecist)


def is_late(block: Block, now: Evidence, irecist: Rules) -> bool:
    """Whether a visit is late, past the window: it may still confirm, and is flagged."""
    if block.last_day is None or now.visit.day is None:
        return False
    return now.visit.day > window_ends(block.last_day, irecist)


def _judge_early(state: State, block: Block, now: Evidence) -> tuple[str, str, State]:
    further = (now.new.known & now.new.there) - block.known
    if now.visit.for_symptoms and further:
        return (
            "iCPD",
            f"iCPD: scan for a new symptom shows further new lesion {_listed(further)}",
            replace(state, confirmed=True),
        )
    return "iUPD", "iUPD: scan too early to confirm, disregarded", state


def confirmations(block: Block, now: Evidence, recist: Rules, irecist: Rules) -> list[str]:
    """Grounds on which this visit confirms the block's progression; none leaves it unconfirmed.

    1. began in targets: their sum is at least 5 mm above its smallest since
    2. began in non-targets: still progressed, and another one progressed too or those measured are
       larger
    3. began with new lesions: iSumNL is at least 5 mm above its smallest since; or any other new
       lesion is larger; or a further one
    4. progression in a category in which it did not begin

    Growth counts from the smallest size since the iUPD, so that successive steps add up (4 mm, then
    2 mm).
    """
    edge = recist["tolerance"]
    further = (now.new.known & now.new.there) - block.known
    began = {
        "T": {
            "targets grew on": _grew(
                now.recist.measured_mm, block.target_mm, recist["progression_mm"] - edge
            )
        },
        "NT": {
            "non-targets grew on": now.recist.nontarget == "PD"
            and _nontargets_grew(block, now, edge)
        },
        "NL": {
            "new lesions grew on": _grew(
                _target_part(now.new), block.new_mm, irecist["new_lesion_growth_mm"] - edge
            ),
            "a new lesion that is no target grew on": any(
                s > block.others.get(n, s) + edge for n, s in now.new.others.items()
            ),
            f"further new lesion {_listed(further)}": bool(further),
        },
    }
    elsewhere = {
        "T": now.recist.target == "PD",
        "NT": now.recist.nontarget == "PD",
        "NL": bool(further),
    }
    grounds = [
        why for category in sorted(block.categories) for why, met in began[category].items() if met
    ]
    return grounds + [
        f"progression in {c} as well"
        for c, met in elsewhere.items()
        if met and c not in block.categories
    ]


def _grew(size_mm: float, since_mm: float | None, step_mm: float) -> bool:
    return since_mm is not None and size_mm - since_mm >= step_mm


def _nontargets_grew(block: Block, now: Evidence, edge: float) -> bool:
    same = set(now.nontargets) & set(block.nontargets)
    larger = sum(now.nontargets[n] for n in same) > sum(block.nontargets[n] for n in same) + edge
    return bool(now.nontarget_worse - block.nontarget_worse) or larger


def _left_of(block: Block, now: Evidence) -> set[str]:
    persists = {
        "T": now.recist.target == "PD",
        "NT": now.recist.nontarget == "PD",
        "NL": bool(now.new.there),
    }
    return {category for category in block.categories if persists[category]}


def is_better(block: Block, now: Evidence, irecist: Rules) -> bool:
    """Whether disease has shrunk since the progression was first seen, with new lesions left.

    1. the targets' response is a better one (scenario B); the same response as before the new
       lesion is not (scenario F)
    2. the targets' sum is at least 5 mm smaller
    3. iSumNL is at least 5 mm smaller, or fewer new lesions are there
    """
    step, first = irecist["new_lesion_growth_mm"], block.start
    if now.recist.target == "NE":
        return False
    ranks = [_TARGET_RANK.get(e.recist.target, 0) for e in (now, first)]
    smaller = now.recist.sum_mm is not None and first.recist.measured_mm - now.recist.sum_mm >= step
    new_smaller = (
        now.new.sum_mm is not None
        and first.new.sum_mm is not None
        and first.new.sum_mm - now.new.sum_mm >= step
    )
    return (
        ranks[0] > ranks[1] or smaller or new_smaller or len(now.new.there) < len(first.new.there)
    )


def _go_on(block: Block, now: Evidence) -> Block:
    return replace(
        block,
        last_day=now.visit.day,
        known=now.new.known,
        nontarget_worse=block.nontarget_worse | now.nontarget_worse,
        target_mm=_smallest(block.target_mm, now.recist.sum_mm),
        new_mm=_smallest(block.new_mm, now.new.sum_mm),
        nontargets=_smaller_each(block.nontargets, now.nontargets),
        others=_smaller_each(block.others, now.new.others),
    )


def _smaller_each(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {label: min(before.get(label, size), size) for label, size in {**before, **now}.items()}


def _smallest(*values: float | None) -> float | None:
    known = [v for v in values if v is not None]
    return min(known) if known else None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
