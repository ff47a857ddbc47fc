"""Dates as people type them and programs rewrite them."""

from __future__ import annotations

import datetime as dt
from random import Random

from benchmarks.deliveries.distortions.registry import distortion
from benchmarks.deliveries.phantom import Delivery, Row


def _cycle(one: Delivery, cycle: int) -> Row:
    return next(r for r in one.cycles if r["cycle"] == str(cycle))


def _date(row: Row) -> dt.date:
    return dt.date.fromisoformat(row["date"])


def _shift(row: Row, *, years: int = 0, days: int = 0) -> None:
    date = _date(row)
    row["date"] = f"""{
        date.replace(year=date.year + years, day=min(date.day, 28))
        + dt.timedelta(days=days):%Y-%m-%d}"""


@distortion("time", "refused")
def cycle_before_the_one_before(one: Delivery, rng: Random) -> None:
    """A cycle is dated a month early, before the cycle before it."""
    _shift(_cycle(one, rng.choice([2, 3, 4, 5])), days=-31)


@distortion("time", "refused")
def cycle_a_year_early(one: Delivery, rng: Random) -> None:
    """The year of a cycle is one too low."""
    _shift(_cycle(one, rng.choice([2, 3, 4, 5, 6])), years=-1)


@distortion("time", "refused")
def cycle_a_year_late(one: Delivery, rng: Random) -> None:
    """The year of a cycle is one too high."""
    _shift(_cycle(one, rng.choice([2, 3, 4, 5])), years=1)


@distortion("time", "refused")
def last_cycle_a_year_late(one: Delivery, rng: Random) -> None:
    """The year of the last cycle is one too high."""
    _shift(_cycle(one, 6), years=1)


@distortion("time", "refused")
def first_cycle_a_year_early(one: Delivery, rng: Random) -> None:
    """The year of the first cycle is one too low."""
    _shift(_cycle(one, 1), years=-1)


@distortion("time", "refused")
def first_cycle_a_year_late(one: Delivery, rng: Random) -> None:
    """The year of the first cycle is one too high."""
    _shift(_cycle(one, 1), years=1)


@distortion("time", "refused")
def one_cycle_twice(one: Delivery, rng: Random) -> None:
    """One cycle stands on two dates."""
    row = dict(_cycle(one, rng.choice([1, 2, 3, 4, 5])))
    _shift(row, days=7)
    one.cycles.append(row)


@distortion("time", "either")
def a_cycle_left_out(one: Delivery, rng: Random) -> None:
    """The row of cycle 3 was forgotten."""
    one.cycles.remove(_cycle(one, 3))


@distortion("time", "refused")
def cycles_from_0(one: Delivery, rng: Random) -> None:
    """Cycles are numbered from 0."""
    for row in one.cycles:
        row["cycle"] = str(int(row["cycle"]) - 1)


@distortion("time", "refused")
def two_deaths(one: Delivery, rng: Random) -> None:
    """Two deaths on two dates."""
    one.events = [
        {"patient_id": one.number, "date": f"{one.day(d):%Y-%m-%d}", "event": "death", "detail": ""}
        for d in (180, 260)
    ]
    one.event_truth = []
    _survives(one)


@distortion("time", "refused")
def alive_after_death(one: Delivery, rng: Random) -> None:
    """A contact is dated after the death."""
    one.events = [
        {
            "patient_id": one.number,
            "date": f"{one.day(180):%Y-%m-%d}",
            "event": "death",
            "detail": "",
        },
        {
            "patient_id": one.number,
            "date": f"{one.day(260):%Y-%m-%d}",
            "event": "alive",
            "detail": "",
        },
    ]
    one.event_truth = []
    _survives(one)


def _survives(one: Delivery) -> None:
    """Nobody can know the survival of a patient whose events contradict each other.

    Without progression, the last scan censors.
    """
    if "PD" not in one.responses:
        one.pfs = (98, False)


@distortion("time", "refused")
def last_contact_in_the_future(one: Delivery, rng: Random) -> None:
    """The last contact lies decades ahead: two digits changed places."""
    one.events = [
        {
            "patient_id": one.number,
            "date": f"{one.first_cycle.year + 39}-03-01",
            "event": "alive",
            "detail": "",
        }
    ]
    one.event_truth = []
    _survives(one)


@distortion("time", "refused")
def death_in_the_future(one: Delivery, rng: Random) -> None:
    """The death lies ten years ahead."""
    one.events = [
        {
            "patient_id": one.number,
            "date": f"{one.first_cycle.year + 10}-03-01",
            "event": "death",
            "detail": "",
        }
    ]
    one.event_truth = []
    _survives(one)


@distortion("time", "refused")
def death_before_treatment(one: Delivery, rng: Random) -> None:
    """The death is dated before the first cycle."""
    one.events = [
        {
            "patient_id": one.number,
            "date": f"{one.day(-180):%Y-%m-%d}",
            "event": "death",
            "detail": "",
        }
    ]
    one.event_truth = []
    _survives(one)


@distortion("time", "refused")
def scan_after_death(one: Delivery, rng: Random) -> None:
    """The death is dated before the last CT: one of the two is wrong."""
    one.events = [
        {
            "patient_id": one.number,
            "date": f"{one.day(70):%Y-%m-%d}",
            "event": "death",
            "detail": "",
        }
    ]
    one.event_truth = []
    _survives(one)


@distortion("time", "refused")
def treated_after_death(one: Delivery, rng: Random) -> None:
    """A cycle is dated after the death."""
    one.events = [
        {
            "patient_id": one.number,
            "date": f"{one.day(100):%Y-%m-%d}",
            "event": "death",
            "detail": "",
        }
    ]
    one.event_truth = []
    _survives(one)


def _write_dates(one: Delivery, template: str) -> None:
    for row in [*one.cycles, *one.events]:
        row["date"] = f"{_date(row):{template}}"


@distortion("time", "right")
def dates_with_a_time(one: Delivery, rng: Random) -> None:
    """Dates come with midnight behind them."""
    _write_dates(one, "%Y-%m-%d 00:00:00")


@distortion("time", "right")
def dates_with_a_zone(one: Delivery, rng: Random) -> None:
    """Dates come as time stamps with a zone."""
    _write_dates(one, "%Y-%m-%dT00:00:00+08:00")


@distortion("time", "either")
def dates_in_utc(one: Delivery, rng: Random) -> None:
    """A database wrote midnight in Beijing as 16:00 of the day before, in UTC."""
    for row in [*one.cycles, *one.events]:
        row["date"] = f"{_date(row) - dt.timedelta(days=1):%Y-%m-%d}T16:00:00Z"


@distortion("time", "right")
def dates_in_chinese(one: Delivery, rng: Random) -> None:
    """Dates are written 2024年5月3日."""
    for row in [*one.cycles, *one.events]:
        date = _date(row)
        row["date"] = f"{date.year}年{date.month}月{date.day}日"


@distortion("time", "refused")
def day_first(one: Delivery, rng: Random) -> None:
    """Dates are written day first."""
    _write_dates(one, "%d/%m/%Y")


@distortion("time", "refused")
def two_digit_years(one: Delivery, rng: Random) -> None:
    """Years have two digits."""
    _write_dates(one, "%y-%m-%d")


@distortion("time", "refused")
def month_names(one: Delivery, rng: Random) -> None:
    """Dates are written 03-May-2024."""
    _write_dates(one, "%d-%b-%Y")


@distortion("time", "refused")
def excel_serial_dates(one: Delivery, rng: Random) -> None:
    """Dates are Excel's day numbers."""
    for row in [*one.cycles, *one.events]:
        row["date"] = str((_date(row) - dt.date(1899, 12, 30)).days)


@distortion("time", "refused")
def one_excel_serial_date(one: Delivery, rng: Random) -> None:
    """One date is Excel's day number."""
    row = _cycle(one, rng.choice([3, 4, 5]))
    row["date"] = str((_date(row) - dt.date(1899, 12, 30)).days)


@distortion("time", "refused")
def blank_day(one: Delivery, rng: Random) -> None:
    """The day of a cycle is not known: year and month alone."""
    row = _cycle(one, rng.choice([1, 2, 3, 4, 5]))
    row["date"] = row["date"][:7] + rng.choice(["", "-", "-UN", "-00", "-XX"])


@distortion("time", "refused")
def day_of_no_calendar(one: Delivery, rng: Random) -> None:
    """A cycle is dated 31 April or 30 February."""
    row = _cycle(one, rng.choice([1, 2, 3, 4, 5]))
    row["date"] = row["date"][:5] + rng.choice(["04-31", "02-30", "13-05"])


@distortion("time", "refused", readers=True)
def visit_date_a_day_off(one: Delivery, rng: Random) -> None:
    """A reader's list gives a visit's date a day late."""
    visit = rng.choice(one.visits)
    for row in one.reads["R1"]:
        if row["visit_date"] == f"{visit.date:%Y-%m-%d}":
            row["visit_date"] = f"{visit.date + dt.timedelta(days=1):%Y-%m-%d}"


@distortion("time", "either")
def acquisition_dates_a_year_late(one: Delivery, rng: Random) -> None:
    """The scanner's clock was a year ahead: AcquisitionDate contradicts StudyDate."""
    visit = rng.choice(one.visits)
    for s in (
        s for s in visit.slices if s.AcquisitionDate
    ):  # another fault may have taken the dates away
        s.AcquisitionDate = f"{int(s.AcquisitionDate[:4]) + 1}{s.AcquisitionDate[4:]}"


@distortion("time", "right")
def treatment_rows_out_of_order(one: Delivery, rng: Random) -> None:
    """Rows of cycles come in no order."""
    rng.shuffle(one.cycles)


@distortion("time", "right")
def equal_rows_twice(one: Delivery, rng: Random) -> None:
    """Rows were exported twice."""
    one.cycles += [dict(r) for r in one.cycles]
    one.events += [dict(r) for r in one.events]
