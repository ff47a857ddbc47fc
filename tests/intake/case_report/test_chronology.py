"""Dates that cannot all be true are refused by cell; what is left never contradicts itself."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.intake.case_report.chronology import Entry, cut_off_of, find_contradictions

CUT_OFF = dt.date(2026, 6, 30)


def cycles(*dates: str) -> list[Entry]:
    """Cycles 1, 2, … by date; `-` is none."""
    named = [(n, d) for n, d in enumerate(dates, start=1) if d != "-"]
    return [Entry(f"c{n}", n, dt.date.fromisoformat(d)) for n, d in named]


def events(*written: str) -> list[Entry]:
    """`2024-06-01 death`."""
    parts = [text.split() for text in written]
    return [
        Entry(f"e{n}", what, dt.date.fromisoformat(d)) for n, (d, what) in enumerate(parts, start=1)
    ]


def refused(cycles: list[Entry], events: list[Entry] = []) -> list[str]:  # noqa: B006 - read alone
    """Places whose date is refused, in order."""
    return sorted(e.place for e in find_contradictions(cycles, events, CUT_OFF))


REGULAR = ("2024-01-10", "2024-01-31", "2024-02-21", "2024-03-13", "2024-04-03")


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (REGULAR, []),
        (("2024-01-10", "2024-01-31", "2023-02-21", "2024-03-13", "2024-04-03"), ["c2", "c3"]),
        (("2024-01-10", "2024-01-31", "2024-02-21", "2025-03-13", "2024-04-03"), ["c4", "c5"]),
        (("2024-01-10", "2024-01-31", "2024-02-21", "2024-03-13", "2025-04-03"), ["c4", "c5"]),
        (("2023-01-10", "2024-01-31", "2024-02-21"), ["c1", "c2"]),
        (("2023-01-10", "-", "2024-02-21"), ["c1", "c3"]),
        (("2025-01-10", "2024-01-31", "2024-02-21"), ["c1", "c2"]),
        (("2024-01-10", "2024-01-10", "2024-02-21"), ["c1", "c2"]),
        (("2024-01-10", "2026-07-01", "2024-02-21"), ["c2"]),
        (("2023-01-10", "2023-01-31", "2023-02-21", "2024-01-10"), []),
    ],
    ids=[
        "regular",
        "early in the middle",
        "late in the middle",
        "late at the end",
        "cycle 1 early",
        "cycle 1 early, next missing",
        "cycle 1 late",
        "two on one day",
        "after the cut-off",
        "a long rest",
    ],
)
def test_cycles(dates: tuple[str, ...], expected: list[str]) -> None:
    assert refused(cycles(*dates)) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (("2024-12-01 alive", "2025-03-01 death"), []),
        (("2024-06-01 death", "2024-11-01 alive"), ["e1", "e2"]),
        (("2024-06-01 death", "2024-11-01 alive", "2025-02-01 alive"), ["e1"]),
        (("2024-06-01 death", "2024-09-01 death"), ["e1", "e2"]),
        (("2024-06-01 death", "2024-06-01 death"), []),
        (("2023-06-01 death",), ["e1"]),
        (("2024-03-20 death",), ["c5", "e1"]),
        (("2024-06-01 death", "2024-06-04 off_treatment"), ["e2"]),
        (("2062-02-01 alive",), ["e1"]),
        (
            ("2023-12-01 new_therapy", "2024-01-09 progression_clinical", "2023-12-20 alive"),
            ["e1", "e2"],
        ),
        (("2024-04-03 death",), []),
    ],
    ids=[
        "control",
        "alive after death",
        "alive twice after death",
        "two deaths",
        "one death twice",
        "death before treatment",
        "one cycle after death",
        "a form after death",
        "in the future",
        "before cycle 1",
        "on the day of a cycle",
    ],
)
def test_events(written: tuple[str, ...], expected: list[str]) -> None:
    assert refused(cycles(*REGULAR), events(*written)) == expected


def test_each_of_two_cells_names_the_other() -> None:
    found = find_contradictions(cycles("2024-01-10", "2023-01-31"), [], CUT_OFF)
    assert [reason.split(":")[0] for reason in found.values()] == [
        "contradicts c2",
        "contradicts c1",
    ]


def test_the_cut_off_is_the_protocols_day_or_the_latest_today_on_earth() -> None:
    now = dt.datetime(2026, 1, 31, 20, tzinfo=dt.UTC)
    assert cut_off_of({"data_cutoff": "2025-12-31"}, now) == dt.date(2025, 12, 31)
    assert cut_off_of({}, now) == dt.date(2026, 2, 1)
    with pytest.raises(ValueError, match="data_cutoff"):
        cut_off_of({"data_cutoff": "31/12/2025"}, now)


DATES = st.dates(dt.date(2022, 1, 1), dt.date(2028, 1, 1))
CYCLES = st.lists(st.tuples(st.integers(1, 6), DATES), max_size=9)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["alive", "progression_clinical", "death", "new_therapy", "lost", "off_treatment"]
        ),
        DATES,
    ),
    max_size=6,
)


@given(CYCLES, EVENTS)
def test_what_is_left_never_contradicts_itself(given_cycles: list, happened: list) -> None:
    written = (
        [Entry(f"c{i}", n, d) for i, (n, d) in enumerate(given_cycles)],
        [Entry(f"e{i}", e, d) for i, (e, d) in enumerate(happened)],
    )
    found = find_contradictions(*written, CUT_OFF)
    left = [[e for e in entries if e not in found] for entries in written]
    by_number = sorted({(e.what, e.date) for e in left[0]})
    assert len({n for n, _ in by_number}) == len(by_number)
    assert all(a[1] < b[1] for a, b in pairwise(by_number))
    assert all(e.date <= CUT_OFF for e in (*left[0], *left[1]))
    deaths = {e.date for e in left[1] if e.what == "death"}
    assert len(deaths) <= 1
    assert all(e.date <= min(deaths) for e in (*left[0], *left[1])) if deaths else True
    begun = {e.date for e in left[0] if e.what == 1}
    assert all(e.date >= min(begun) for e in left[1] if e.what != "alive") if begun else True


@given(CYCLES, EVENTS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_count(
    given_cycles: list, happened: list, random: object
) -> None:
    written = (
        [Entry(f"c{i}", n, d) for i, (n, d) in enumerate(given_cycles)],
        [Entry(f"e{i}", e, d) for i, (e, d) in enumerate(happened)],
    )
    shuffled = [list(entries) for entries in written]
    for entries in shuffled:
        random.shuffle(entries)  # type: ignore[attr-defined]
    assert (
        find_contradictions(*written, CUT_OFF).keys()
        == find_contradictions(*shuffled, CUT_OFF).keys()
    )
