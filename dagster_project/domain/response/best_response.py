"""The best response of one patient, from the responses at its visits.

By RECIST 1.1 without and with confirmation, and by iRECIST.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from dagster_project.domain.response.findings import Rules
from dagster_project.statistics.binomial import Proportion, clopper_pearson

_STABLE = ("SD", "NON_CR_NON_PD")
_IMMUNE_BEST_FIRST = ("iCR", "iPR", "iSD", "iNON_CR_NON_PD", "iCPD", "iUPD", "iNED", "iNE")


@dataclass(frozen=True, slots=True)
class Graded:
    """A response and the days since the first cycle.

    `no_target` where the patient has non-target disease only.
    """

    day: int | None
    response: str
    no_target: bool = False


@dataclass(frozen=True, slots=True)
class Best:
    """A best response and the days from the first cycle to the first visit that had it."""

    response: str
    day: int | None


def until_progression(
    visits: Sequence[Graded], *, new_therapy_day: int | None = None, end: str = "PD"
) -> list[Graded]:
    """Keep the visits that may decide the best response.

    1. up to and including the first one with the response `end` (PD or iCPD)
    2. none after the day on which another anticancer therapy began
    """
    within = [
        v for v in visits if new_therapy_day is None or v.day is None or v.day <= new_therapy_day
    ]
    before = list(takewhile(lambda v: v.response != end, within))
    return within[: len(before) + 1]


def best_response(visits: Sequence[Graded], rules: Rules) -> str | None:
    """Best overall response, confirmation not required; see `find_best`.

    The visits are already cut by `until_progression`.
    """
    found = find_best(visits, rules)
    return found.response if found else None


def find_best(visits: Sequence[Graded], rules: Rules) -> Best | None:
    """Find the best overall response, confirmation not required, and the first visit that had it.

    1. no visit: None
    2. CR; else PR
    3. SD or non-CR/non-PD at least 42 days after the first cycle
    4. PD
    5. NED, there being no disease at baseline
    6. NE, which a stable disease seen too early only is as well
    """
    if not visits:
        return None
    lasting = [v for v in visits if v.response in _STABLE and _is_lasting(v, rules)]
    found = _first(visits, "CR") or _first(visits, "PR")
    if found is None and lasting:
        return Best(lasting[0].response, lasting[0].day)
    return found or _without_response(visits)


def _first(visits: Sequence[Graded], response: str) -> Best | None:
    return next((Best(response, v.day) for v in visits if v.response == response), None)


def _without_response(visits: Sequence[Graded]) -> Best:
    return _first(visits, "PD") or _first(visits, "NED") or Best("NE", visits[0].day)


def _is_lasting(visit: Graded, rules: Rules) -> bool:
    return visit.day is not None and visit.day >= rules["stable_disease_days"]


def confirmed_best_response(visits: Sequence[Graded], rules: Rules) -> str | None:
    """Best overall response, confirmed; see `find_confirmed_best`.

    The visits are already cut by `until_progression`.
    """
    found = find_confirmed_best(visits, rules)
    return found.response if found else None


def find_confirmed_best(visits: Sequence[Graded], rules: Rules) -> Best | None:
    """Find the confirmed best overall response and the first visit that had it.

    A CT at least `confirmation_days` later confirms it.

    1. no visit: None
    2. CR, later CR, nothing but CR or NE between: CR
    3. PR, later PR or CR, nothing but PR, CR or NE between, and no PR after a CR: PR. One SD
       between does no harm where `confirmation_over_stable` says so. In 2 and 3 there are at most
       `confirmation_not_evaluable` NE between.
    4. a CR, PR or SD at least 42 days after the first cycle: SD (non-CR/non-PD without targets)
    5. PD; a CR that SD or PR follows is one in truth, on the day of that SD or PR
    6. NED, there being no disease at baseline; else NE

    CR followed by PR confirms nothing: either the first was no CR or the second is PD;
    `response_query` names it. Rules 2 and 3 are those of admiralonco's derive_param_confirmed_resp.
    """
    if not visits:
        return None
    for sought, confirming in (("CR", {"CR"}), ("PR", {"PR", "CR"})):
        places = [place for place, visit in enumerate(visits) if visit.response == sought]
        confirmed = next(
            (visits[place] for place in places if _is_confirmed(visits[place:], confirming, rules)),
            None,
        )
        if confirmed is not None:
            return Best(sought, confirmed.day)
    lasting = [v for v in visits if v.response in {"CR", "PR", *_STABLE} and _is_lasting(v, rules)]
    if lasting:
        return Best("NON_CR_NON_PD" if lasting[0].no_target else "SD", lasting[0].day)
    doubtful = _after_complete(visits)
    return (
        (_first(visits, "PD") or Best("PD", doubtful.day))
        if doubtful
        else _without_response(visits)
    )


def _after_complete(visits: Sequence[Graded]) -> Graded | None:
    """The first PR or SD that follows a CR, not evaluable visits left out."""
    evaluable = [v for v in visits if v.response != "NE"]
    return next(
        (
            then
            for first, then in pairwise(evaluable)
            if first.response == "CR" and then.response in {"PR", "SD"}
        ),
        None,
    )


def _is_confirmed(visits: Sequence[Graded], confirming: set[str], rules: Rules) -> bool:
    """Whether the first of the visits is confirmed by a later one."""
    first, *later = visits
    allowed = {"NE": rules["confirmation_not_evaluable"], "SD": 0}
    if first.response == "PR" and rules["confirmation_over_stable"]:
        allowed["SD"] = 1
    complete = first.response == "CR"
    for visit in later:
        if visit.response in allowed:
            allowed[visit.response] -= 1
            if allowed[visit.response] < 0:
                return False
            continue
        if visit.response not in confirming or (complete and visit.response == "PR"):
            return False
        complete = visit.response == "CR"
        if _apart(first, visit, rules["confirmation_days"]):
            return True
    return False


def _apart(first: Graded, second: Graded, days: int) -> bool:
    return first.day is not None and second.day is not None and second.day - first.day >= days


def response_query(visits: Sequence[Graded]) -> str | None:
    """A CR that PR or SD follows: one of the two is wrong, and the reader has to say which."""
    question = (
        "CR followed by PR or SD: read both visits again, either the first was no CR or the "
        "second is PD"
    )
    return question if _after_complete(visits) else None


def immune_best_response(visits: Sequence[Graded], rules: Rules) -> str | None:
    """Best response by iRECIST; see `find_immune_best`.

    The visits are already cut by `until_progression(..., end="iCPD")`.
    """
    found = find_immune_best(visits, rules)
    return found.response if found else None


def find_immune_best(visits: Sequence[Graded], rules: Rules) -> Best | None:
    """Find the best response by iRECIST (Seymour 2017, table 3) and the first visit that had it.

    1. no visit: None
    2. the best of iCR, iPR, iSD, iNON_CR_NON_PD at any visit, an earlier iUPD notwithstanding; the
       two last need 42 days
    3. iCPD; 4. iUPD, never bettered; 5. iNED; 6. iNE
    """
    if not visits:
        return None
    counted = [
        v for v in visits if v.response not in {"iSD", "iNON_CR_NON_PD"} or _is_lasting(v, rules)
    ]
    ranked = (_first(counted, response) for response in _IMMUNE_BEST_FIRST)
    return next((found for found in ranked if found), Best("iNE", visits[0].day))


def confirmed_progression_day(visits: Sequence[Graded]) -> int | None:
    """Day of the iUPD that an iCPD confirms.

    It is the first of the unbroken run of iUPD (and iNE) that leads to the first iCPD.
    """
    responses = [v.response for v in visits]
    if "iCPD" not in responses:
        return None
    run = list(
        takewhile(
            lambda v: v.response in {"iUPD", "iNE"}, reversed(visits[: responses.index("iCPD")])
        )
    )
    return next((v.day for v in reversed(run) if v.response == "iUPD"), None)


def immune_progression(
    visits: Sequence[Graded], *, end_day: int | None, end_reason: str | None
) -> tuple[int, str] | None:
    """Day and kind of progression by iRECIST; None without one.

    1. confirmed: the day of the iUPD that was confirmed
    2. the last evaluable visit is iUPD and death, the end of treatment or worsening followed with
       no further CT: the first iUPD of that run
    3. an iUPD that iSD, iPR or iCR followed, or that still waits for its next CT: none
    """
    confirmed = confirmed_progression_day(visits)
    if confirmed is not None:
        return confirmed, "confirmed"
    run = list(takewhile(lambda v: v.response in {"iUPD", "iNE"}, reversed(visits)))
    first = next((v.day for v in reversed(run) if v.response == "iUPD"), None)
    last = max((v.day for v in visits if v.day is not None), default=None)
    ended = first is not None and last is not None and end_day is not None and end_day >= last
    return (first, f"unconfirmed, then {end_reason}") if ended and first is not None else None


def response_rate(
    best_responses: Sequence[str | None], *, counted: Sequence[str] = ("CR", "PR")
) -> Proportion:
    """Objective response rate over all enrolled: NE and missing count as no response.

    With `counted=("CR", "PR", "SD", "NON_CR_NON_PD")` it is the disease control rate.

    Parameters
    ----------
    best_responses
        Of each patient; at least one.
    counted
        Best responses that count.

    Returns
    -------
    Proportion
        With its exact interval.
    """
    return clopper_pearson(sum(b in counted for b in best_responses), len(best_responses))
