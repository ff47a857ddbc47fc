"""Dates of REDCap that are written day or month first, where the data dictionary says which."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

from dagster_project.intake.case_report.case_values import plain

CONTRADICTS = (
    "is written day or month first, and its column does not bear out which the data dictionary "
    "says; write YYYY-MM-DD. The cell is left out"
)

_WRITTEN = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})([ T].*)?")


class Order(enum.Enum):
    """How the dates of a column are written."""

    YEAR_FIRST = "ymd"
    DAY_FIRST = "dmy"
    MONTH_FIRST = "mdy"
    NOT_KNOWN = ""


def date_order(texts: Iterable[str], validation: str) -> Order:
    """How a column's dates are written, by the validation of its field (`date_dmy` …).

    1. Dates with hyphens as REDCap shows them (31-12-2024) are as the validation says, unless one
       of them cannot be.
    2. Dates with another sign between were written by another program (a spreadsheet, in its own
       order): as the validation says only where
       one of them can be read in that order alone, and none in the other alone.

    >>> [date_order([text], "date_dmy").value for text in ("05-01-2024", "1/5/2024", "25/1/2024")]
    ['dmy', '', 'dmy']
    """
    declared = next(
        (
            order
            for order in (Order.DAY_FIRST, Order.MONTH_FIRST)
            if validation.endswith(f"_{order.value}") or f"_{order.value}" in validation
        ),
        None,
    )
    found = [*filter(None, (_WRITTEN.fullmatch(plain(text)) for text in texts))]
    if declared is None or not found:
        return Order.YEAR_FIRST
    alone = {
        Order.DAY_FIRST if int(m[1]) > 12 else Order.MONTH_FIRST
        for m in found
        if (int(m[1]) > 12) != (int(m[3]) > 12)
    }
    hyphens = all(match[2] == "-" for match in found)
    return declared if alone == {declared} or (hyphens and not alone) else Order.NOT_KNOWN


def in_order(text: str, order: Order) -> tuple[str, str]:
    """A date as YYYY-MM-DD, and why it cannot be read; any other text as it is.

    >>> in_order("05-01-2024", Order.DAY_FIRST), in_order("2024-01-05", Order.DAY_FIRST)
    (('2024-01-05', ''), ('2024-01-05', ''))
    """
    match = _WRITTEN.fullmatch(plain(text))
    if match is None or order is Order.YEAR_FIRST:
        return text, ""
    if order is Order.NOT_KNOWN:
        return text, CONTRADICTS
    day, month = (match[1], match[3]) if order is Order.DAY_FIRST else (match[3], match[1])
    return f"{match[4]}-{int(month):02d}-{int(day):02d}", ""
