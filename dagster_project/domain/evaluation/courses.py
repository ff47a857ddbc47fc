"""The decisions of one patient, each by what was known then, and what came after.

`landmarks_of` gives one row per visit, `progressions_of` one per block of unconfirmed progression.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagster_project.domain.response.comparison_classes import (
    FIRST,
    LATER,
    Resolved,
    margin_class,
    opening_margin,
)
from dagster_project.domain.response.dynamic import ADVICE, Situation, situations_of
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.irecist_blocks import window_of
from dagster_project.domain.response.progression_free import FIRST_DAY, Survival, landmark

Row = Mapping[str, Any]
Patient = tuple[str, str]

OBJECTIVE_RESPONSE = ("CR", "PR")

STABLE = ("iSD", "iNON_CR_NON_PD")
"""Responses of the patients whose later response is asked for."""


@dataclass(frozen=True, slots=True)
class Course:
    """What is known of one patient of the accepted read.

    Attributes
    ----------
    visits
        Rows of `responses` after baseline in order of date, each as it was on its own day.
    blocks
        Rows of `irecist_blocks` as of today, in order.
    known
        Blocks as of the day of each visit, by its name; where a visit has none `blocks` stands for
        them, of which `situations_of` takes only what had happened by then.
    baseline_day
        Day of the CT at baseline, counted as the visits' days are.
    planned
        Day of the next planned CT as of each visit.
    progression, death
        Progression-free and overall survival from day 0; None where it cannot be counted.
    states
        State of `dynamic_irecist` by visit.
    risks
        Rows of `dynamic_risk` by visit.
    """

    patient: Patient
    visits: Sequence[Row]
    blocks: Sequence[Row]
    known: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    baseline_day: int | None = None
    planned: Mapping[str, int | None] = field(default_factory=dict)
    progression: Survival | None = None
    death: Survival | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    risks: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    simulated: bool = False

    def replay(self, irecist: Rules) -> list[Situation]:
        """State and block after each visit by what was known then."""
        return [
            situations_of(
                self.visits[: place + 1], self.known.get(visit["visit"], self.blocks), irecist
            )[-1]
            for place, visit in enumerate(self.visits)
        ]


@dataclass(frozen=True, slots=True)
class Landmark:
    """A visit of a patient as it was known on its day, and what came after.

    `number` counts visits after baseline; days count from the visit. `earliest_days` dates a
    progression on the day after the last CT without it, `days` on the CT that shows it.
    `responds_next` says that the next visit is CR or PR; None without a next visit.
    `response_risk` and `progression_risk` are the probabilities that the standard shows, the latter
    of its longest horizon; of the questions asked `asked` counts all and `withheld` those without a
    number.
    """

    patient: Patient
    visit: str
    number: int
    state: str
    recist: str
    irecist: str
    sum_mm: float | None
    baseline_sum_mm: float | None
    nadir_mm: float | None
    elapsed_days: int | None
    days: int | None
    event: bool | None
    earliest_days: int | None
    days_alive: int | None
    died: bool | None
    responds_next: bool | None
    state_of_table: str | None
    response_risk: float | None
    progression_risk: float | None
    asked: int
    withheld: int


def landmarks_of(course: Course, irecist: Rules) -> Iterator[Landmark]:
    """One row per visit after baseline, its state by what was known then."""
    for place, (visit, situation) in enumerate(
        zip(course.visits, course.replay(irecist), strict=True)
    ):
        later = _from(course.progression, visit["day"])
        alive = _from(course.death, visit["day"])
        risks = [r for r in course.risks.get(visit["visit"], ()) if r["in_population"]]
        yield Landmark(
            patient=course.patient,
            visit=visit["visit"],
            number=place + 1,
            state=situation.state,
            recist=visit["overall_response_as_of_visit"],
            irecist=visit["irecist_response"],
            sum_mm=visit["sum_mm"],
            baseline_sum_mm=visit["baseline_sum_mm"],
            nadir_mm=visit["nadir_mm"],
            elapsed_days=_difference(course.baseline_day, visit["day"]),
            days=later.days if later else None,
            event=later.event if later else None,
            earliest_days=_earliest(course, visit["day"], later),
            days_alive=alive.days if alive else None,
            died=alive.event if alive else None,
            responds_next=_responds_next(course.visits[place + 1 :]),
            state_of_table=course.states.get(visit["visit"]),
            response_risk=_shown(risks, "response_when_stable"),
            progression_risk=_shown(risks, "progression"),
            asked=len(risks),
            withheld=sum(r["withheld"] for r in risks),
        )


def _shown(risks: Sequence[Row], question: str) -> float | None:
    """The probability that is shown of a question, of its longest horizon."""
    own = [r for r in risks if r["question"] == question]
    longest = max(own, key=lambda r: r["horizon_days"], default=None)
    return None if longest is None else longest["probability"]


def _difference(earlier: int | None, later: int | None) -> int | None:
    return None if earlier is None or later is None else later - earlier


def _from(survival: Survival | None, day: int | None) -> Survival | None:
    """The same survival from a visit; None for who is no more at risk then."""
    return landmark(survival, day) if survival else None


def _earliest(course: Course, day: int | None, later: Survival | None) -> int | None:
    """Days to the event where a progression began on the day after the last CT without it.

    A death has its own day.
    """
    if later is None or day is None or not later.event or later.reason.startswith("death"):
        return later.days if later else None
    found = day + later.days
    before = [v["day"] for v in course.visits if v["day"] is not None and v["day"] < found]
    return max(max(before, default=day) + 1 - day, FIRST_DAY)


def _responds_next(later: Sequence[Row]) -> bool | None:
    return later[0]["overall_response_as_of_visit"] in OBJECTIVE_RESPONSE if later else None


@dataclass(frozen=True, slots=True)
class Progression:
    """A block of unconfirmed progression: what was known on the day of its iUPD, and its end.

    Days count from the iUPD. `scheduled_day` is the CT as it was planned then, else the next one as
    it was made; `next_ct_day` the next one as it was made. `confirm_mm` and `reset_mm` are the sums
    from which and below which a CT would have ended the block, `sums` those of the iUPD and of the
    CT that ended it. `misleading` says that a visit before the one that reset it had other advice
    than a CT.
    """

    patient: Patient
    first_visit: bool
    margin: float | None
    margin_class: int | None
    recist: str
    rescanned: bool
    outcome: str
    status: str
    resolved_by: str | None
    resolved_days: int | None
    next_ct_day: int | None
    scheduled_day: int | None
    window: tuple[int, int]
    confirm_mm: float | None
    reset_mm: float | None
    sums: tuple[float | None, float | None]
    misleading: bool

    @property
    def resolved(self) -> Resolved | None:
        """As the comparison classes count it; None where it was not scanned again or has no margin.

        A block that an event closed is none of them.
        """
        if self.margin_class is None or not self.rescanned or self.outcome == "closed":
            return None
        visit = FIRST if self.first_visit else LATER
        return Resolved(self.patient, self.margin_class, visit, self.outcome)


def progressions_of(
    course: Course, error: float, sections: Mapping[str, Rules]
) -> Iterator[Progression]:
    """One row per block of the patient as of today.

    1. what was known is the block as of its iUPD
    2. its margin in reader errors, and the class of that
    3. days from the iUPD: of the next CT, made and planned; of the end
    4. the sums by which the next CT would be judged: those of the iUPD

    Blocks whose iUPD has no day are left out.
    """
    situations = course.replay(sections["irecist"])
    for block in course.blocks:
        place = next(
            (n for n, v in enumerate(course.visits) if v["visit"] == block["opened_visit"]), None
        )
        if place is not None and course.visits[place]["day"] is not None:
            yield _progression(course, block, place, situations, error, sections)


def _progression(
    course: Course,
    block: Row,
    place: int,
    situations: Sequence[Situation],
    error: float,
    sections: Mapping[str, Rules],
) -> Progression:
    opened, later = course.visits[place], course.visits[place + 1 :]
    known = course.known.get(opened["visit"], course.blocks)
    then = next((b for b in known if b["opened_visit"] == opened["visit"]), block)
    zero, recist = opened["day"], sections["recist"]
    margin = opening_margin(then, error, recist)
    next_ct = next((v["day"] - zero for v in later if v["day"] is not None), None)
    planned = _difference(zero, course.planned.get(opened["visit"]))
    resolved = next((v for v in later if v["visit"] == block["resolved_visit"]), None)
    return Progression(
        patient=course.patient,
        first_visit=place == 0,
        margin=margin,
        margin_class=None
        if margin is None
        else margin_class(margin, sections["dynamic"]["class_edges"]),
        recist=opened["overall_response_as_of_visit"],
        rescanned=_is_rescanned(block, later),
        outcome=block["outcome"],
        status=block["status"],
        resolved_by=block["resolved_by"],
        resolved_days=_difference(zero, block["resolved_day"]),
        next_ct_day=next_ct,
        scheduled_day=planned if planned is not None else next_ct,
        window=window_of(0, 0, sections["irecist"]),
        confirm_mm=_confirming_sum(then, recist),
        reset_mm=then["reset_below_mm"],
        sums=(block["sum_at_open_mm"], resolved["sum_mm"] if resolved else None),
        misleading=_is_misleading(course, block, place, situations),
    )


def _is_rescanned(block: Row, later: Sequence[Row]) -> bool:
    """Whether a CT followed before the block was closed."""
    if block["outcome"] != "closed" or block["resolved_day"] is None:
        return bool(later)
    return any(v["day"] is not None and v["day"] <= block["resolved_day"] for v in later)


def _confirming_sum(block: Row, recist: Rules) -> float | None:
    """Sum of the targets that confirms, as it was on the day of the iUPD.

    None where targets did not begin the block. As of today it may be another, since a later CT may
    have been smaller.
    """
    if "T" not in block["categories"] or block["sum_at_open_mm"] is None:
        return None
    return float(block["sum_at_open_mm"] + recist["progression_mm"])


def _is_misleading(course: Course, block: Row, place: int, situations: Sequence[Situation]) -> bool:
    """Whether a visit of a block that was reset had other advice than a CT."""
    names = [v["visit"] for v in course.visits]
    if block["outcome"] != "reset" or block["resolved_visit"] not in names:
        return False
    within = situations[place : names.index(block["resolved_visit"])]
    return any(ADVICE[s.state] != ADVICE["open"] for s in within)
