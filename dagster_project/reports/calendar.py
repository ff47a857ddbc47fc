"""The due list as a calendar (iCalendar, RFC 5545): one event per open block.

Its dates are true ones and not those of the lake, so that it lies in the closed folder of the list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

from dagster_project.reports.summaries.tables import Row
from dagster_project.study import Study

OCTETS = 75
"""Longest line without its break; a longer one is folded (RFC 5545, 3.1)."""

TITLES: Mapping[str, str] = {
    "overdue": "CT overdue 复查CT已逾期",
    "due": "CT window 复查CT窗口",
    "waiting": "CT window 复查CT窗口",
    "standing": "CT window 复查CT窗口",
    "unreadable": "last CT not evaluable 末次CT不可评价",
}
"""Summary of an event by section of the list."""

AT_ONCE = ("overdue", "unreadable")
"""Sections whose event is on the day of the list; that of others spans the window."""

ESCAPED = {ord("\\"): "\\\\", ord(";"): "\\;", ord(","): "\\,", ord("\n"): "\\n"}


def render_calendar(
    rows: Iterable[Row], today: Mapping[str, date], study: Study, generated_at: datetime
) -> str:
    """The calendar of the list's rows that have a window; it names the study number alone.

    Parameters
    ----------
    rows
        Rows of `list_due`.
    today
        Site → the true day as of which its rows are.
    """
    registration = study.section("study")["registration"]
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        f"PRODID:-//{_escaped(registration)}//due list//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
    ]
    for row in rows:
        if row["section"] in TITLES and row["site"] in today:
            lines += _event(row, today[row["site"]], registration, generated_at)
    return "".join(f"{part}\r\n" for line in [*lines, "END:VCALENDAR"] for part in _folded(line))


def _event(row: Row, today: date, registration: str, generated_at: datetime) -> list[str]:
    span = _span(row, today)
    if span is None:
        return []
    first, last = span
    inside = {True: "inside the window 窗口内", False: "outside the window 窗口外"}
    planned = inside.get(row["planned_inside"])
    name = hashlib.sha256(
        f"{registration}/{row['patient']}/{row['block']}/{row['opened_visit']}".encode()
    ).hexdigest()[:32]
    return [
        "BEGIN:VEVENT",
        f"UID:{name}@{registration}",
        f"DTSTAMP:{generated_at.astimezone(UTC):%Y%m%dT%H%M%SZ}",
        f"DTSTART;VALUE=DATE:{first:%Y%m%d}",
        f"DTEND;VALUE=DATE:{last + timedelta(days=1):%Y%m%d}",
        f"SUMMARY:{_escaped(row['patient'] + ': ' + TITLES[row['section']])}",
        *([f"DESCRIPTION:{_escaped('planned CT ' + planned)}"] if planned else []),
        "CLASS:CONFIDENTIAL",
        "TRANSP:TRANSPARENT",
        "END:VEVENT",
    ]


def _span(row: Row, today: date) -> tuple[date, date] | None:
    """First and last true day of an event; None where the day of the list is not known."""
    days = (row["today"], row["confirm_from_day"], row["confirm_to_day"])
    if None in days:
        return None
    if row["section"] in AT_ONCE:
        return today, today
    return tuple(today + timedelta(days=day - days[0]) for day in days[1:])  # type: ignore[return-value]


def _escaped(text: str) -> str:
    return text.translate(ESCAPED)


def _folded(line: str) -> Iterator[str]:
    """A line in pieces of at most 75 octets, none of which cuts a character."""
    piece, room = "", OCTETS
    for character in line:
        size = len(character.encode())
        if size > room:
            yield piece
            piece, room = " ", OCTETS - 1
        piece += character
        room -= size
    yield piece
