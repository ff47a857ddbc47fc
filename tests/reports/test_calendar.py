"""The due list as a calendar: valid by RFC 5545, true dates, and the study number alone."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest

from dagster_project.reports.calendar import render_calendar
from dagster_project.reports.due_list import list_due
from tests.reports.test_due_list import FROM, GROWN, STUDY, T1, TO, tables

TODAY = date(2026, 3, 4)
MOMENT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
NAME = re.compile(r"[A-Z-]+(;[A-Z-]+=[A-Z-]+)*:")


def calendar(day, **more):
    rows = list_due(tables(day, **more), STUDY)
    return render_calendar(rows, {"BJCH": TODAY}, STUDY, MOMENT)


def unfolded(text):
    """Lines as a calendar reads them: a line that begins with a space goes on."""
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    assert max(len(line.encode()) for line in text.split("\r\n")) <= 75
    return text.replace("\r\n ", "").split("\r\n")[:-1]


def events(text):
    lines, found, inside = unfolded(text), [], None
    assert (lines[0], lines[-1]) == ("BEGIN:VCALENDAR", "END:VCALENDAR")
    assert {"VERSION:2.0"} < set(lines)
    assert all(NAME.match(line) for line in lines)
    for line in lines:
        name, value = line.split(":", 1)
        if line == "BEGIN:VEVENT":
            inside = {}
        elif line == "END:VEVENT":
            found.append(inside)
            inside = None
        elif inside is not None:
            assert name not in inside, "each property once"
            inside[name] = value
    return found


@pytest.mark.parametrize("day", [T1, T1 + FROM, T1 + TO])
def test_the_window_is_on_its_true_dates(day):
    """The window's days from the day of the list, whatever the patient's dates are shifted by."""
    (event,) = events(calendar(day))
    first = TODAY + timedelta(T1 + FROM - day)
    assert event["DTSTART;VALUE=DATE"] == f"{first:%Y%m%d}"
    assert event["DTEND;VALUE=DATE"] == f"{first + timedelta(TO - FROM + 1):%Y%m%d}", (
        "the day after"
    )
    assert event["DTSTAMP"] == "20260304T050600Z"
    assert event["SUMMARY"].startswith("BJCH-A: CT window")


def test_what_is_overdue_is_on_the_day_of_the_list():
    (event,) = events(calendar(T1 + TO + 3))
    assert event["DTSTART;VALUE=DATE"] == "20260304"
    assert "overdue" in event["SUMMARY"]


def test_an_event_keeps_its_name_from_night_to_night():
    (one,), (next_night,) = events(calendar(T1)), events(calendar(T1 + 1))
    assert one["UID"] == next_night["UID"]


def test_it_names_the_study_number_alone():
    text = calendar(T1)
    assert "BJCH-A" in text
    assert not re.search(r"\bR[12]\b|\bday\b|\bT1\b", text)


def test_readers_who_differ_and_sites_without_a_clock_have_no_event():
    found = tables(T1 + 5, {"R1": GROWN, "R2": GROWN})
    assert events(render_calendar(list_due(found, STUDY), {"BJCH": TODAY}, STUDY, MOMENT)) == []
    rows = list_due(tables(T1), STUDY)
    assert events(render_calendar(rows, {}, STUDY, MOMENT)) == []
