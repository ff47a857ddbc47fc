"""Progression-free survival of one patient by the FDA's censoring table.

Source: Clinical Trial Endpoints, 2018; lung appendix 2007.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dagster_project.domain.response.findings import Rules

FIRST_DAY = 1
"""The shortest time to an event.

Days count from the first cycle as day 0; an event on that day itself is one of the first day (FDA:
day 1).
"""

UNDATED_THERAPY = "another anticancer therapy began on a day that is not known"
UNDATED_WORSENING = "clinical progression on a day that is not known"
UNDATED_DEATH = "death on a day that is not known"
EARLY_DEATH = "death is dated before the first cycle: one of the two dates is wrong"
CT_AFTER_DEATH = "a CT is dated after death: one of the two dates is wrong"
"""Why there is no survival time."""

NEW_THERAPY = "new anticancer therapy before progression"
"""The reason of a survival time that a new therapy ended."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The facts of one patient for the censoring table, in days from the first cycle (day 0).

    Whether T0 was scanned, the responses in order, and what happened.

    `undated` are the events that happened on a day that is not known, `last_scan_day` is the day of
    the last CT.
    """

    has_baseline: bool
    responses: Sequence[tuple[int, str]]
    death_day: int | None = None
    new_therapy_day: int | None = None
    clinical_progression_day: int | None = None
    stopped: bool = False
    undated: frozenset[str] = frozenset()
    last_scan_day: int | None = None


@dataclass(frozen=True, slots=True)
class Survival:
    """Days from the first cycle, whether they end with an event, and the reason.

    The reason is the row of the table that applies.
    """

    days: int
    event: bool
    reason: str


def death_query(facts: FollowUp) -> str:
    """What contradicts the date of a death; empty where nothing does."""
    if facts.death_day is None:
        return ""
    if facts.death_day < 0:
        return EARLY_DEATH
    return (
        CT_AFTER_DEATH
        if facts.last_scan_day is not None and facts.last_scan_day > facts.death_day
        else ""
    )


def why_no_time(facts: FollowUp, rules: Rules) -> str:
    """Why progression-free survival cannot be counted; empty where it can.

    1. the date of the death contradicts another
    2. a new therapy began on a day that is not known: what came after it does not count, and nobody
       knows what did
    3. clinical progression likewise, where the protocol counts it
    4. the patient died on a day that is not known, with neither a PD nor a dated new therapy before
    """
    query, progressed = death_query(facts), any(response == "PD" for _, response in facts.responses)
    if query:
        return query
    if "new_therapy" in facts.undated:
        return UNDATED_THERAPY
    if "progression_clinical" in facts.undated and rules["clinical_progression"] == "event":
        return UNDATED_WORSENING
    ended = facts.has_baseline and (progressed or facts.new_therapy_day is not None)
    return UNDATED_DEATH if "death" in facts.undated and not ended else ""


def survival_or_reason(facts: FollowUp, rules: Rules) -> tuple[Survival | None, str]:
    """The survival and its reason, or None and why there is none."""
    why = why_no_time(facts, rules)
    if why:
        return None, why
    survival = progression_free_survival(facts, rules)
    return survival, survival.reason


def progression_free_survival(facts: FollowUp, rules: Rules) -> Survival:
    """Days to the first RECIST 1.1 PD or death of any cause.

    The facts do not contradict each other (`why_no_time`).

    1. no baseline scan: censored on day 0, unless death came within two visits
    2. new anticancer therapy before PD and death: censored at the last adequate assessment up to it
       (or an event, by protocol)
    3. clinical progression before them, where the protocol counts it: event; by default it is no
       event
    4. PD: event on the day of the scan that shows it; after two or more missed visits censored at
       the last adequate one
    5. death: event; after two or more missed visits censored at the last adequate assessment
    6. no assessment after baseline: censored on day 0
    7. else censored at the last adequate assessment; the reason says whether treatment
       had stopped

    An assessment is adequate when it is not NE; the first cycle counts as adequate. Two visits are
    missed where more than 2 x (interval + window) days lie between the last adequate assessment and
    the event. The end of treatment alone does not censor: a PD or death that is seen later is an
    event. An event takes at least `FIRST_DAY`.
    """
    progression = next((day for day, response in facts.responses if response == "PD"), None)
    event = min((d for d in (progression, facts.death_day) if d is not None), default=None)
    if not facts.has_baseline:
        return _without_baseline(facts, rules)
    if _comes_first(facts.new_therapy_day, event):
        return _at_other_end(facts, facts.new_therapy_day, rules["new_therapy"], NEW_THERAPY)
    if rules["clinical_progression"] == "event" and _comes_first(
        facts.clinical_progression_day, event
    ):
        return _at_other_end(facts, facts.clinical_progression_day, "event", "clinical progression")
    if event is None:
        return _without_event(facts)
    return _at_event(facts, event, "progression" if event == progression else "death", rules)


def _comes_first(other: int | None, event: int | None) -> bool:
    return other is not None and (event is None or other < event)


def _without_baseline(facts: FollowUp, rules: Rules) -> Survival:
    if facts.death_day is not None and facts.death_day <= _longest_gap(rules):
        return Survival(
            max(facts.death_day, FIRST_DAY),
            event=True,
            reason="death within two visits, no baseline assessment",
        )
    return Survival(0, event=False, reason="no baseline assessment")


def _longest_gap(rules: Rules) -> int:
    return int(rules["missed_visits"] * (rules["visit_interval_days"] + rules["visit_window_days"]))


def last_adequate_day(facts: FollowUp, limit: int | None = None, *, before: bool = False) -> int:
    """Day of the last assessment that is neither NE nor PD, up to a day (or before it).

    0 where there is none.
    """
    days = [day for day, response in facts.responses if response not in {"NE", "PD"}]
    within = [day for day in days if limit is None or day < limit or (day == limit and not before)]
    return max([0, *within])


def _at_other_end(facts: FollowUp, day: int | None, counts_as: str, reason: str) -> Survival:
    if counts_as == "event" and day is not None:
        return Survival(max(day, FIRST_DAY), event=True, reason=reason)
    return Survival(last_adequate_day(facts, day), event=False, reason=reason)


def _at_event(facts: FollowUp, day: int, what: str, rules: Rules) -> Survival:
    last = last_adequate_day(facts, day, before=True)
    if day - last > _longest_gap(rules):
        return Survival(last, event=False, reason=f"{what} after two or more missed visits")
    return Survival(max(day, FIRST_DAY), event=True, reason=what)


def _without_event(facts: FollowUp) -> Survival:
    if not any(response != "NE" for _, response in facts.responses):
        return Survival(0, event=False, reason="no adequate assessment after baseline")
    reason = (
        "treatment stopped or follow-up lost without documented progression"
        if facts.stopped
        else "no progression, alive"
    )
    return Survival(last_adequate_day(facts), event=False, reason=reason)


def landmark(survival: Survival, landmark_day: int | None) -> Survival | None:
    """Count the same survival from a landmark, for a patient still at risk then.

    None for the others.

    1. no scan at the landmark: None
    2. event up to the landmark's day, or censored before it: None
    3. else the days beyond it

    It is there because the study requires images at T0, T1 and T2: nobody in it can die before T2,
    so that survival from day 0 is too long.
    """
    if landmark_day is None:
        return None
    days = survival.days - landmark_day
    return (
        None
        if days < 0 or (survival.event and days == 0)
        else Survival(days, survival.event, survival.reason)
    )
