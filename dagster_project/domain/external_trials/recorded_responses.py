"""Whether iRECIST responses that someone wrote down contradict themselves.

Contradictions are reported, never corrected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dagster_project.domain.response.irecist import IMMUNE
from dagster_project.domain.response.recist import overall_response

PROGRESSED = ("iUPD", "iCPD")
"""Words that say progression, unconfirmed or confirmed."""

NONTARGET_WORDS = ("iCR", "iNON_CR_NON_PD", "iNE", *PROGRESSED)
"""Words that a non-target response may have."""

_RECIST = {immune: response for response, immune in IMMUNE.items()} | dict.fromkeys(
    PROGRESSED, "PD"
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was written down of one visit; None where nothing was.

    The words are those of `lake.columns.IRECIST_RESPONSES`.

    `day` is any count of days that orders the visits of one patient.
    """

    visit: str
    day: int | None
    overall: str | None
    target: str | None = None
    nontarget: str | None = None
    new_lesion: bool | None = None


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A contradiction between recorded responses.

    It has the visit, the rule of `find_contradictions` that names it, and in words what is wrong.
    """

    visit: str
    rule: str
    what: str


def normalise(word: str | None) -> str | None:
    """The schema's word for one as SDTM writes it.

    >>> normalise("NON-iCR/NON-iUPD"), normalise("NE"), normalise("iPR")
    ('iNON_CR_NON_PD', 'iNE', 'iPR')
    """
    return {
        "NON-iCR/NON-iUPD": "iNON_CR_NON_PD",
        "NE": "iNE",
        "NED": "iNED",
        "NA": None,
        "": None,
    }.get(word or "", word)


def audit_recorded(visits: Sequence[Recorded]) -> list[str]:
    """Every contradiction in one patient's visits as a line: the visit, and what is wrong."""
    return [f"{found.visit}: {found.what}" for found in find_contradictions(visits)]


def find_contradictions(visits: Sequence[Recorded]) -> list[Contradiction]:
    """Name every contradiction in one patient's visits, given in the order of their numbers.

    1. misdated: a visit without a day, or dated before one that is numbered lower
    2. misplaced_word: a word in the wrong place: iSD or iPR of non-targets; iNON_CR_NON_PD overall
       although there are targets
    3. component_progressed: a new lesion or a progressed component without an overall progression,
       no iUPD having been before; progression_without_cause: the reverse
    4. components: an overall response that its components do not give
    5. unconfirmed_before: iCPD without an open iUPD before it
    6. after_confirmation: another response after iCPD
    7. step: after iCR anything but iCR, iUPD or iNE; after iPR iSD, where no progression lies
       between
    """
    assessed = [v for v in visits if v.overall is not None]
    found = [
        *_misdated(visits),
        *(
            line
            for place, v in enumerate(assessed)
            for line in _contradictions(v, assessed[:place])
        ),
    ]
    return [*found, *_impossible_steps([v for v in assessed if v.overall != "iNE"])]


def _misdated(visits: Sequence[Recorded]) -> Iterable[Contradiction]:
    last: int | None = None
    for visit in visits:
        if visit.day is None:
            yield Contradiction(visit.visit, "misdated", "no complete date")
        elif last is not None and visit.day < last:
            yield Contradiction(
                visit.visit, "misdated", "dated before a visit that is numbered lower"
            )
        last = visit.day if last is None or (visit.day is not None and visit.day > last) else last


def _contradictions(visit: Recorded, earlier: Sequence[Recorded]) -> Iterable[Contradiction]:
    misplaced = _misplaced(visit)
    if misplaced:
        yield Contradiction(visit.visit, "misplaced_word", misplaced)
        return
    signs = [visit.target in PROGRESSED, visit.nontarget in PROGRESSED, bool(visit.new_lesion)]
    if any(signs) and visit.overall not in PROGRESSED:
        if "iUPD" not in {v.overall for v in earlier} or any(signs[:2]):
            yield Contradiction(
                visit.visit,
                "component_progressed",
                "a component has progressed, the overall response has not",
            )
    elif (
        visit.overall in PROGRESSED
        and None not in (visit.target, visit.nontarget, visit.new_lesion)
        and not any(signs)
    ):
        yield Contradiction(
            visit.visit,
            "progression_without_cause",
            "overall progression, and no component has progressed",
        )
    elif not any(signs) and visit.target and visit.nontarget and _expected(visit) != visit.overall:
        yield Contradiction(
            visit.visit, "components", "the components do not give the overall response"
        )


def _misplaced(visit: Recorded) -> str | None:
    if visit.nontarget is not None and visit.nontarget not in NONTARGET_WORDS:
        return f"{visit.nontarget} is no non-target response"
    return (
        "overall iNON_CR_NON_PD although there are targets"
        if visit.overall == "iNON_CR_NON_PD" and visit.target
        else None
    )


def _expected(visit: Recorded) -> str | None:
    target, nontarget = _RECIST.get(visit.target or ""), _RECIST.get(visit.nontarget or "")
    return (
        IMMUNE.get(overall_response(target, nontarget, new_lesion=False))
        if target and nontarget
        else visit.overall
    )


def _impossible_steps(visits: Sequence[Recorded]) -> Iterable[Contradiction]:
    if visits and visits[0].overall == "iCPD":
        yield Contradiction(visits[0].visit, "unconfirmed_before", "iCPD without an iUPD before it")
    for before, after in pairwise(visits):
        if before.overall == "iCPD" and after.overall != "iCPD":
            yield Contradiction(after.visit, "after_confirmation", f"{after.overall} after iCPD")
        elif after.overall == "iCPD" and before.overall not in PROGRESSED:
            yield Contradiction(after.visit, "unconfirmed_before", "iCPD without an iUPD before it")
        elif (before.overall == "iCR" and after.overall not in {"iCR", "iUPD"}) or (
            before.overall,
            after.overall,
        ) == ("iPR", "iSD"):
            yield Contradiction(after.visit, "step", f"{after.overall} after {before.overall}")
