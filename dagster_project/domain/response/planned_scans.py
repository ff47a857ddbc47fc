"""When the next CT is planned: from the cycles, else from the last CT."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from statistics import median

from dagster_project.domain.response.findings import Rules

NO_CYCLES = "no dated cycle and no dated CT: the next CT cannot be planned"

VISITS = ("T1", "T2")
"""Visits that follow a cycle."""


def planned_scan_day(
    cycles: Mapping[int, int],
    visits: Collection[str],
    last_scan_day: int | None,
    today: int,
    *,
    timepoints: Rules,
    endpoints: Rules,
) -> int | None:
    """Day from cycle 1 on which the next CT is planned; None where nothing gives one.

    1. T1 or T2, whichever has no CT: the day of the cycle before which it is made; where that cycle
       is not given yet, by the median interval of the cycles given. Left out once its window, that
       day and `days_after_next_cycle`, has passed
    2. else `visit_interval_days` after the last CT

    Parameters
    ----------
    cycles
        Day by number of the dated cycles, up to today.
    visits
        Names of the visits with a CT up to today.
    last_scan_day, today
        Days from cycle 1.
    """
    for name in (v for v in VISITS if v not in visits):
        expected = _day_of_cycle(timepoints[f"{name.lower()}_after_cycle"] + 1, cycles)
        if expected is not None and today <= expected + timepoints["days_after_next_cycle"]:
            return expected
    return None if last_scan_day is None else last_scan_day + endpoints["visit_interval_days"]


def _day_of_cycle(number: int, cycles: Mapping[int, int]) -> int | None:
    """The day of a cycle, given or expected; None where too few are dated.

    >>> _day_of_cycle(6, {1: 0, 2: 21, 3: 42, 4: 63}), _day_of_cycle(4, {1: 0})
    (105, None)
    """
    if number in cycles:
        return cycles[number]
    known = sorted(cycles.items())
    gaps = [(later[1] - first[1]) / (later[0] - first[0]) for first, later in pairwise(known)]
    if not gaps or known[-1][0] > number:
        return None
    last, day = known[-1]
    return day + round((number - last) * median(gaps))
