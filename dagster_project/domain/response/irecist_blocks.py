"""Blocks of unconfirmed progression: since when, what is due, and what would confirm or reset.

The rules of iRECIST are those of irecist.py; here its steps are put on the calendar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dagster_project.domain.response.findings import RecistVisit, Rules
from dagster_project.domain.response.irecist import (
    Block,
    Step,
    trace_irecist,
    window_begins,
    window_ends,
)
from dagster_project.domain.response.recist import progression_threshold_mm

OPEN = ("waiting", "due", "overdue", "standing", "unreadable", "undated")
"""Statuses of an open block; they move with the calendar."""

OUTCOMES = ("open", "reset", "confirmed", "closed")
"""What became of a block; it moves with a CT or an event alone."""

STATUSES = (*OPEN, *OUTCOMES[1:])

ENDS = ("death", "new_therapy", "lost", "off_treatment")
"""Events that end the search for a confirmation, a CT of the same day being read first."""

FINAL = ("death", "new_therapy")
"""Events after which no CT counts."""

FOR_PROGRESSION = ("tumour", "symptoms")
"""Details of `off_treatment` by which treatment ended for progression."""

NO_DATE = "the day of the iUPD is not known: no window"
NO_TARGETS = "no target lesion: the sum confirms nothing"
PART_OF_SUM = "a target was not evaluated since the iUPD: its smallest sum is not known"
NO_NADIR = "the smallest earlier sum is not known"
NOT_BY_SUM = "progression did not begin in targets: a smaller sum alone resets nothing"
AFTER_COMPLETE = "after a complete response any target is progression: no sum resets"
UNDATED_END = "{event} on a day that is not known: closed without a day"
OTHER_END = "treatment ended, not recorded as for progression: the block stays open"
NOT_READ = "the last CT of the block is not read yet"


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the case report; its day counts as the visits' days do."""

    event: str
    day: int | None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """The visits of one block.

    `within` are those after the iUPD, the resolving one included; `complete` says that a complete
    response was there before; `first_visit` that the block opened at the first one after baseline.
    """

    number: int
    opened: Step
    within: tuple[Step, ...]
    complete: bool
    first_visit: bool

    @property
    def resolved(self) -> Step | None:
        """The visit that confirmed or reset."""
        last = self.within[-1] if self.within else None
        return last if last and (last.after.confirmed or last.after.block is None) else None

    @property
    def open_block(self) -> Block:
        """The engine's block as the last visit before the resolving one left it."""
        last = self.within[-1] if self.within else self.opened
        block = last.before.block if self.resolved else last.after.block
        assert block is not None, "a span has a block"
        return block


@dataclass(frozen=True, slots=True)
class ProgressionBlock:
    """A block as of a day: columns of `irecist_blocks`, days counted as the visits' days.

    `why` gives the reason for each number that is None, by its name.
    """

    number: int
    opened_visit: str
    opened_day: int | None
    categories: tuple[str, ...]
    first_visit: bool
    rescanned: bool
    nadir_mm: float | None
    sum_at_open_mm: float | None
    measured_at_open_mm: float
    smallest_since_mm: float | None
    confirm_from_day: int | None
    confirm_to_day: int | None
    confirm_if_sum_mm: float | None
    reset_below_mm: float | None
    confirms_also: tuple[str, ...]
    outcome: str
    status: str
    resolved_visit: str | None
    resolved_day: int | None
    resolved_by: str | None
    days_open: int | None
    why: Mapping[str, str]


def find_blocks(
    baseline: RecistVisit,
    visits: Sequence[RecistVisit],
    events: Sequence[Event],
    as_of: int | None,
    *,
    recist: Rules,
    irecist: Rules,
) -> list[ProgressionBlock]:
    """The blocks of one patient by what was known on a day, at most the last one open.

    1. visits and events after `as_of`, and visits after a death or a new therapy, are left out;
       without `as_of` nothing is
    2. a block opens at an iUPD with no block open, and ends at the visit that is iCPD (confirmed)
       or mirrors RECIST 1.1 (reset)
    3. before that visit it is closed by death, a new therapy, loss, or the end of treatment for
       progression; a CT of the same day is read first. What comes later changes nothing of it
    4. an open block has the status of `_status_of`

    Parameters
    ----------
    baseline, visits
        The visits of one evaluator in order of date.
    events
        Events of the case report, days counted as the visits'.
    as_of
        The day as of which blocks are found; None: the last day of the visits.
    recist, irecist
        Those sections of the protocol.
    """
    known = [e for e in events if as_of is None or e.day is None or e.day <= as_of]
    last = min((e.day for e in known if e.event in FINAL and e.day is not None), default=None)
    limits = [day for day in (as_of, last) if day is not None]
    seen = [v for v in visits if v.day is None or all(v.day <= day for day in limits)]
    steps = trace_irecist(baseline, seen, recist, irecist)
    today = _today(as_of, steps)
    return [_block_of(span, known, today, recist, irecist) for span in spans_of(steps)]


def _today(as_of: int | None, steps: Sequence[Step]) -> int | None:
    days = [s.evidence.visit.day for s in steps if s.evidence.visit.day is not None]
    return as_of if as_of is not None else max(days, default=None)


def spans_of(steps: Sequence[Step]) -> Iterator[Span]:
    """The visits of each block, in order."""
    number = 0
    for place, step in enumerate(steps):
        if step.opens:
            number += 1
            complete = any(s.evidence.recist.overall == "CR" for s in steps[:place])
            yield Span(number, step, tuple(_within(steps[place + 1 :])), complete, place == 0)


def _within(later: Sequence[Step]) -> Iterator[Step]:
    for step in later:
        yield step
        if step.after.confirmed or step.after.block is None:
            return


def _block_of(
    span: Span, events: Sequence[Event], today: int | None, recist: Rules, irecist: Rules
) -> ProgressionBlock:
    end = _end_of(span, events)
    if end is not None:
        span = _until(span, end)
    sums, why = _sums(span, recist)
    opened, resolved = span.opened.evidence.visit.day, span.resolved
    outcome, resolved_visit, resolved_day, by = _resolution(resolved, end)
    window = _window(span, irecist)
    until = resolved_day if outcome != "open" else today
    notes = _notes(span, events, end, opened)
    return ProgressionBlock(
        number=span.number,
        opened_visit=span.opened.evidence.visit.name,
        opened_day=opened,
        categories=tuple(sorted(span.open_block.categories)),
        first_visit=span.first_visit,
        rescanned=bool(span.within),
        measured_at_open_mm=span.opened.evidence.recist.measured_mm,
        confirm_from_day=window[0],
        confirm_to_day=window[1],
        confirms_also=confirms_also(span.open_block.categories),
        outcome=outcome,
        status=_status_of(span, window, today) if outcome == "open" else outcome,
        resolved_visit=resolved_visit,
        resolved_day=resolved_day,
        resolved_by=by,
        days_open=None if opened is None or until is None else until - opened,
        why={**why, **notes},
        **sums,
    )


def _end_of(span: Span, events: Sequence[Event]) -> Event | None:
    """The event that closed the block before a visit did.

    One without a day closes a block that nothing else did.
    """
    opened, resolved = span.opened.evidence.visit.day, span.resolved
    until = resolved.evidence.visit.day if resolved else None
    ends = [
        e for e in events if e.event in ENDS and (e.event != "off_treatment" or _worse(e, events))
    ]
    dated = [
        (e.day, ENDS.index(e.event), e)
        for e in ends
        if e.day is not None
        and (opened is None or e.day >= opened)
        and (resolved is None or (until is not None and e.day < until))
    ]
    if dated:
        return min(dated, key=lambda found: found[:2])[2]
    undated = [e for e in ends if e.day is None]
    return min(undated, key=lambda e: ENDS.index(e.event), default=None) if not resolved else None


def _worse(end: Event, events: Sequence[Event]) -> bool:
    """Whether treatment ended for progression: by its detail, or after a clinical progression."""
    before = (
        e.event == "progression_clinical" and (e.day is None or end.day is None or e.day <= end.day)
        for e in events
    )
    return end.detail in FOR_PROGRESSION or (end.detail is None and any(before))


def _until(span: Span, end: Event) -> Span:
    def is_before(step: Step) -> bool:
        day = step.evidence.visit.day
        return day is None or end.day is None or day <= end.day

    return replace(span, within=tuple(filter(is_before, span.within)))


def _resolution(
    resolved: Step | None, end: Event | None
) -> tuple[str, str | None, int | None, str | None]:
    """Outcome, visit, day, and the response or event."""
    if end is not None:
        return "closed", None, end.day, end.event
    if resolved is None:
        return "open", None, None, None
    visit, response = resolved.evidence.visit, resolved.assessment.response
    return "confirmed" if response == "iCPD" else "reset", visit.name, visit.day, response


def _window(span: Span, irecist: Rules) -> tuple[int | None, int | None]:
    """First and last day of the window: from the first iUPD of the block, and from its last one."""
    block = span.open_block
    if block.first_day is None or block.last_day is None:
        return None, None
    return window_of(block.first_day, block.last_day, irecist)


def window_of(first_day: int, last_day: int, irecist: Rules) -> tuple[int, int]:
    """First and last day on which a CT confirms, by the first and the last iUPD of a block."""
    return window_begins(first_day, irecist), window_ends(last_day, irecist)


def _status_of(span: Span, window: tuple[int | None, int | None], today: int | None) -> str:
    """Status of an open block.

    1. the day of the iUPD is not known: undated
    2. the last CT that was late enough is iNE: unreadable
    3. past the window, which counts from the last iUPD: overdue
    4. a CT that was late enough neither confirmed nor reset: standing
    5. before the window: waiting
    6. else: due
    """
    counted = [step for step in span.within if not step.disregarded]
    if window[0] is None or window[1] is None or today is None:
        return "undated"
    if counted and counted[-1].assessment.response == "iNE":
        return "unreadable"
    if today > window[1]:
        return "overdue"
    if counted:
        return "standing"
    return "waiting" if today < window[0] else "due"


def _sums(span: Span, recist: Rules) -> tuple[dict[str, float | None], dict[str, str]]:
    """Sums of the block and the two by which the next CT is judged, with reasons for None.

    1. `confirm_if_sum_mm`, begun in targets: the smallest sum since the iUPD and `progression_mm`;
       begun elsewhere: progression of the targets against the nadir
    2. `reset_below_mm`, begun in targets: below progression against the nadir, which an early CT
       may have lowered
    """
    opened, block = span.opened.evidence.recist, span.open_block
    nadir, by_targets = _nadir_now(span), "T" in block.categories
    threshold = None if nadir is None else progression_threshold_mm(nadir, recist)
    grown = None if block.target_mm is None else block.target_mm + recist["progression_mm"]
    resets = by_targets and not span.complete
    found = {
        "nadir_mm": opened.nadir_mm,
        "sum_at_open_mm": opened.sum_mm,
        "smallest_since_mm": block.target_mm,
        "confirm_if_sum_mm": grown if by_targets else threshold,
        "reset_below_mm": threshold if resets else None,
    }
    reasons = _reasons_for_sums(span, by_targets=by_targets)
    return found, {name: reasons[name] for name, value in found.items() if value is None}


def _nadir_now(span: Span) -> float | None:
    """Smallest complete sum up to the last visit of the block, the resolving one left out."""
    resolved = span.resolved
    steps = [span.opened, *(s for s in span.within if s is not resolved)]
    found = [steps[-1].evidence.recist.nadir_mm, steps[-1].evidence.recist.sum_mm]
    known = [size for size in found if size is not None]
    return min(known) if known and found[0] is not None else None


def _reasons_for_sums(span: Span, *, by_targets: bool) -> dict[str, str]:
    no_target = span.opened.evidence.recist.target == "NONE"
    missing = NO_TARGETS if no_target else PART_OF_SUM
    reset = AFTER_COMPLETE if by_targets and span.complete else NOT_BY_SUM
    return {
        "nadir_mm": NO_TARGETS if no_target else NO_NADIR,
        "sum_at_open_mm": missing,
        "smallest_since_mm": missing,
        "confirm_if_sum_mm": missing if by_targets or no_target else NO_NADIR,
        "reset_below_mm": reset,
    }


def confirms_also(categories: frozenset[str]) -> tuple[str, ...]:
    """What confirms a block beside the sum, by the categories in which it began.

    >>> confirms_also(frozenset({"T"}))
    ('further_new_lesion', 'non_target_progression')
    >>> confirms_also(frozenset({"NL", "NT"}))
    ('further_new_lesion', 'new_lesion_growth', 'non_target_growth')
    """
    nontarget = "non_target_growth" if "NT" in categories else "non_target_progression"
    new = ["new_lesion_growth"] if "NL" in categories else []
    return ("further_new_lesion", *new, nontarget)


def _notes(
    span: Span, events: Sequence[Event], end: Event | None, opened: int | None
) -> dict[str, str]:
    """Reasons that are no number's: of the window, of the end, of a CT that is not read yet."""
    found = {}
    if opened is None:
        found["window"] = NO_DATE
    if end is not None and end.day is None:
        found["resolved_day"] = UNDATED_END.format(event=end.event.replace("_", " "))
    stopped = any(
        e.event == "off_treatment"
        and not _worse(e, events)
        and (e.day is None or opened is None or e.day >= opened)
        for e in events
    )
    if stopped and end is None and span.resolved is None:
        found["treatment"] = OTHER_END
    return found
