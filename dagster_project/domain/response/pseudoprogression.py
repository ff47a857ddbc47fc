"""Pseudoprogression by each of the definitions in use.

Its incidence depends on which one is meant (Park 2020), so each is reported separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.recist import is_progression, is_response


@dataclass(frozen=True, slots=True)
class Graded:
    """What a visit's RECIST 1.1 row says of it."""

    sum_mm: float | None
    baseline_mm: float | None
    nadir_mm: float | None
    target_arithmetic: str
    nontarget: str
    new_lesion: bool
    overall: str


@dataclass(frozen=True, slots=True)
class Pseudoprogression:
    """The four definitions; each is None where no visit could be evaluated."""

    d1: bool | None
    d1_nadir: bool | None
    d2: bool | None
    d2_nadir: bool | None


def find_pseudoprogression(visits: Sequence[Graded], rules: Rules) -> Pseudoprogression:
    """Whether a RECIST 1.1 PD was followed by something better.

    At the later visit new lesions are gone and non-targets are not progressed.

    1. D1: PR or CR at a later visit: at most 70 % of baseline, and not itself PD against the nadir
    2. D1 against nadir: at most 70 % of the nadir that the PD was measured from
    3. D2: SD, PR or CR against baseline: less than 20 % or 5 mm above it
    4. D2 against nadir: less than 20 % or 5 mm above the nadir that the PD was measured from

    D2 counts a regrowth after a deep response that stays below baseline, which D1 does not. A
    patient whose visits end with the PD has none. New lesions that remain are judged by iRECIST,
    not here.
    """
    if all(v.overall in {"NE", "NED"} for v in visits):
        return Pseudoprogression(None, None, None, None)
    place = next((n for n, v in enumerate(visits) if v.overall == "PD"), None)
    if place is None:
        return Pseudoprogression(d1=False, d1_nadir=False, d2=False, d2_nadir=False)
    nadir, later = (
        visits[place].nadir_mm,
        [v for v in visits[place + 1 :] if v.nontarget != "PD" and not v.new_lesion],
    )
    return Pseudoprogression(
        d1=any(v.target_arithmetic in {"CR", "PR"} and v.overall in {"CR", "PR"} for v in later),
        d1_nadir=any(_shrank(v, nadir, rules) for v in later),
        d2=any(_stands(v, v.baseline_mm, rules) for v in later),
        d2_nadir=any(_stands(v, nadir, rules) for v in later),
    )


def _shrank(visit: Graded, reference: float | None, rules: Rules) -> bool:
    gone = visit.target_arithmetic == "CR"
    return gone or (
        visit.sum_mm is not None
        and reference is not None
        and is_response(visit.sum_mm, reference, rules)
    )


def _stands(visit: Graded, reference: float | None, rules: Rules) -> bool:
    gone = visit.target_arithmetic == "CR"
    return gone or (
        visit.sum_mm is not None
        and reference is not None
        and not is_progression(visit.sum_mm, reference, rules)
    )


def is_immune_pseudoprogression(responses: Sequence[str]) -> bool:
    """The iRECIST version: an iUPD that iSD, iPR or iCR followed at a later visit."""
    first = responses.index("iUPD") if "iUPD" in responses else len(responses)
    return any(r in {"iSD", "iPR", "iCR"} for r in responses[first:])
