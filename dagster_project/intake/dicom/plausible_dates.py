"""Which dates images of one series and of one patient may bear.

Intake refuses what breaks these rules, and the audit of a vault finds it: both read them here.
Dates are those of the copies, so already shifted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

EARLIEST = dt.date(1990, 1, 1)
"""A CT of an earlier day is none of a trial: a placeholder, or a clock that was reset."""

MOST_YEARS_APART = 15
"""Visits of one patient lie within a few years; differently shifted dates do not."""

MOST_DAYS_WITHIN_A_SERIES = 31
"""Slices of one series bear the dates of one examination; the shift of dates is years."""

DATES_OF_SLICES = {0x00080020: "StudyDate", 0x00080021: "SeriesDate", 0x00080022: "AcquisitionDate"}
"""Compared within a series, each by itself.

ContentDate is not: it is the day on which a slice was written, which may be years later.
"""

DATES_OF_VISITS = {0x00080020: "StudyDate", 0x00080022: "AcquisitionDate"}
"""Compared within a patient.

An outline may be drawn, and a slice written anew, decades after the visit.
"""


def is_plausible(date: dt.date) -> bool:
    """Whether a CT may bear this date.

    >>> is_plausible(dt.date(1900, 1, 1)), is_plausible(dt.date(2016, 2, 1))
    (False, True)
    """
    return date >= EARLIEST


def of_one_series(dates: Iterable[dt.date]) -> bool:
    """Whether one series may bear these values of one element."""
    return _days_apart(dates) <= MOST_DAYS_WITHIN_A_SERIES


def of_one_patient(dates: Iterable[dt.date]) -> bool:
    """Whether the visits of one patient may bear these dates."""
    return _days_apart(dates) <= 365 * MOST_YEARS_APART


def _days_apart(dates: Iterable[dt.date]) -> int:
    ordered = sorted(dates)
    return (ordered[-1] - ordered[0]).days if ordered else 0
