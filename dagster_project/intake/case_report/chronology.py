"""Dates of one patient that cannot all be true: which cells are refused, and why.

The dates are the true ones, before any shift.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

LONGEST_GAP_DAYS = 365
"""Between two cycles in a row: treatment that rests for longer is begun anew, with a new number."""

DAYS_A_CYCLE = 28
"""What each undated cycle between the two adds to the longest gap.

A usual cycle takes 21 days.
"""

FARTHEST_ZONE_HOURS = 14
"""Hours by which the earliest clock on Earth is ahead of UTC."""

PROOFS_OF_LIFE = frozenset({"alive", "progression_clinical", "new_therapy"})
"""Events that only the living have; the others are forms that may be filled in after a death."""

ON_TREATMENT = frozenset({"progression_clinical", "new_therapy", "off_treatment", "lost"})
"""Events that mean something only once treatment has begun."""

AFTER_CUT_OFF = "lies after the data cut-off; correct the date"
CYCLE_TWICE = (
    "contradicts {other}: one cycle has two dates; both are left out until one is corrected"
)
CYCLE_ORDER = (
    "contradicts {other}: of two cycles the one numbered higher is not dated later; "
    "both dates are left out until one is corrected"
)
CYCLE_GAP = (
    "lies more than a year from {other}, the cycle before it; "
    "both dates are left out until one is corrected"
)
NO_CYCLE_1 = (
    "cycle 1 of this patient has no row, so that day 0 is not known: "
    "no visit and no survival time; add the row"
)
CYCLES_LEFT_OUT = (
    "the cycle before it has no row (cycle {missing}), "
    "so that a visit that follows it cannot be dated; "
    "add the row"
)
TWO_DEATHS = "contradicts {other}: a death on two dates; both are left out until one is corrected"
ALIVE_AFTER_DEATH = (
    "contradicts {other}: a life after the death; both dates are left out until one is corrected"
)
DEATH_TOO_EARLY = (
    "contradicts several later rows of the patient, {other} the first of them; "
    "the date of the death is left out until it is corrected"
)
FORM_AFTER_DEATH = "lies after the death in {other}; the date is left out until one is corrected"
BEFORE_CYCLE_1 = (
    "lies before cycle 1 in {other}: events count from the first cycle on; "
    "the date is left out until one is corrected"
)


@dataclass(frozen=True)
class Entry:
    """A row with a date: its place, and the number of its cycle or its event.

    A place reads `clinical/treatments.csv row 7`.
    """

    place: str
    what: int | str
    date: dt.date

    @property
    def cell(self) -> str:
        """The cell of the date."""
        return f"{self.place} column date"


@dataclass
class Findings:
    """Reasons by entry, in the order in which they were found; the first one of an entry counts."""

    reasons: dict[Entry, str] = field(default_factory=dict)

    def refuse(self, entry: Entry, reason: str, other: Entry | None = None) -> None:
        """Refuse the date of an entry."""
        self.reasons.setdefault(entry, reason.format(other=other.place if other else ""))

    def left(self, entries: Iterable[Entry]) -> list[Entry]:
        """The entries whose date was not refused."""
        return [e for e in entries if e not in self.reasons]


def cut_off_of(section: Mapping[str, Any], now: dt.datetime) -> dt.date:
    """The last day that data may have: `data_cutoff` of the protocol's section [study], else today.

    Today is the latest date that any clock on Earth shows, so that no site's own day is refused.

    >>> cut_off_of({"data_cutoff": ""}, dt.datetime(2026, 1, 31, 9, tzinfo=dt.UTC))
    datetime.date(2026, 1, 31)

    Raises
    ------
    ValueError
        Where the entry is neither empty nor a date.
    """
    entry = section.get("data_cutoff", "")
    if not entry:
        return (now.astimezone(dt.UTC) + dt.timedelta(hours=FARTHEST_ZONE_HOURS)).date()
    try:
        return dt.date.fromisoformat(str(entry))
    except ValueError as error:
        raise ValueError("study.toml [study] data_cutoff: write YYYY-MM-DD, or nothing") from error


def cycles_left_out(numbers: Iterable[int]) -> dict[int, int]:
    """Each cycle above 1 whose predecessor has no row, and the number of that predecessor.

    >>> cycles_left_out([1, 2, 5, 6]), cycles_left_out([2, 3])
    ({5: 4}, {})
    """
    known = sorted(set(numbers))
    return {after: after - 1 for before, after in pairwise(known) if after - before > 1}


def find_contradictions(
    cycles: Sequence[Entry], events: Sequence[Entry], cut_off: dt.date
) -> dict[Entry, str]:
    """Entries of one patient whose date is refused, with the reason.

    1. A date after the cut-off is refused.
    2. One cycle with two dates: all of them are refused.
    3. By number, a cycle that is not dated after the nearest lower one that is left: both are
       refused.
    4. Two neighbours among those left that lie more than a year apart (and 28 days more for each
       cycle between them that has no date): both are refused.
    5. Deaths on two dates: all are refused.
    6. A cycle, a contact, a progression or a new therapy after the death: the death is refused, and
       the later row too where it is the only one; several rows outweigh one.
    7. The end of treatment or of follow-up after the death is refused.
    8. An event of treatment before cycle 1 is refused.

    Who typed wrong is not guessed from how far a date is off: both candidates are named, and the
    site says.
    """
    found = Findings()
    for entry in (*cycles, *events):
        if entry.date > cut_off:
            found.refuse(entry, AFTER_CUT_OFF)
    _judge_repeats(found, cycles, CYCLE_TWICE)
    _judge_order(found, cycles)
    _judge_gaps(found, cycles)
    deaths = [e for e in events if e.what == "death"]
    _judge_repeats(found, deaths, TWO_DEATHS)
    _judge_death(found, cycles, events)
    _judge_before_treatment(found, cycles, events)
    return found.reasons


def _judge_repeats(found: Findings, entries: Sequence[Entry], reason: str) -> None:
    """Refuse the dates of one cycle, or of the death, that are not the same day."""
    by_name: dict[int | str, list[Entry]] = defaultdict(list)
    for entry in found.left(entries):
        by_name[entry.what].append(entry)
    for first, *others in by_name.values():
        differing = [e for e in others if e.date != first.date]
        if differing:
            for entry in (first, *others):
                found.refuse(entry, reason, differing[0] if entry.date == first.date else first)


def _by_number(found: Findings, cycles: Sequence[Entry]) -> list[Entry]:
    """One entry a cycle that is left, by number."""
    return [e for _, e in sorted({int(e.what): e for e in reversed(found.left(cycles))}.items())]


def _judge_order(found: Findings, cycles: Sequence[Entry]) -> None:
    below: list[Entry] = []
    for entry in _by_number(found, cycles):
        if below and entry.date <= below[-1].date:
            _refuse_cycles(found, cycles, below.pop(), entry, CYCLE_ORDER)
        else:
            below.append(entry)


def _judge_gaps(found: Findings, cycles: Sequence[Entry]) -> None:
    left = _by_number(found, cycles)
    for one, other in pairwise(left):
        between = int(other.what) - int(one.what) - 1
        if (other.date - one.date).days > LONGEST_GAP_DAYS + DAYS_A_CYCLE * between:
            _refuse_cycles(found, cycles, one, other, CYCLE_GAP)


def _refuse_cycles(
    found: Findings, cycles: Sequence[Entry], one: Entry, other: Entry, reason: str
) -> None:
    """Refuse two cycles, with rows that repeat them word for word."""
    for entry in cycles:
        if entry.what in {one.what, other.what}:
            found.refuse(entry, reason, other if entry.what == one.what else one)


def _judge_death(found: Findings, cycles: Sequence[Entry], events: Sequence[Entry]) -> None:
    deaths = [e for e in found.left(events) if e.what == "death"]
    if not deaths:
        return
    death = deaths[0]
    living = [e for e in events if e.what in PROOFS_OF_LIFE]
    later = [e for e in found.left([*cycles, *living]) if e.date > death.date]
    if len(later) == 1:
        found.refuse(later[0], ALIVE_AFTER_DEATH, death)
    for entry in deaths if later else []:
        found.refuse(entry, ALIVE_AFTER_DEATH if len(later) == 1 else DEATH_TOO_EARLY, later[0])
    for entry in [] if later else found.left(events):
        if entry.date > death.date:
            found.refuse(entry, FORM_AFTER_DEATH, death)


def _judge_before_treatment(
    found: Findings, cycles: Sequence[Entry], events: Sequence[Entry]
) -> None:
    begun = next((e for e in _by_number(found, cycles) if e.what == 1), None)
    for entry in found.left(events) if begun else []:
        if begun and entry.what in ON_TREATMENT and entry.date < begun.date:
            found.refuse(entry, BEFORE_CYCLE_1, begun)
