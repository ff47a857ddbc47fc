"""The next planned CT: before the cycle that it precedes, else an interval after the last one."""

from __future__ import annotations

import pytest

from dagster_project.domain.response.planned_scans import planned_scan_day
from tests.domain.courses import ENDPOINTS, STUDY

TIMEPOINTS = STUDY.section("timepoints")
EVERY_3_WEEKS = {n: 21 * (n - 1) for n in range(1, 7)}


@pytest.mark.parametrize(
    ("cycles", "visits", "last", "today", "expected"),
    [
        pytest.param(4, {"T0", "T1"}, 60, 65, 105, id="T2 before cycle 6, by the interval so far"),
        pytest.param(2, {"T0"}, -7, 30, 63, id="T1 before cycle 4"),
        pytest.param(6, {"T0", "T1"}, 60, 106, 105, id="cycle 6 was given, its window is open"),
        pytest.param(
            6,
            {"T0", "T1"},
            60,
            120,
            60 + ENDPOINTS["visit_interval_days"],
            id="the window has passed",
        ),
        pytest.param(
            6, {"T0", "T1", "T2"}, 98, 110, 98 + ENDPOINTS["visit_interval_days"], id="after T2"
        ),
        pytest.param(
            1, {"T0"}, -7, 20, -7 + ENDPOINTS["visit_interval_days"], id="one cycle has no interval"
        ),
        pytest.param(0, set(), None, 20, None, id="nothing is dated"),
    ],
)
def test_the_day_of_the_next_ct(cycles, visits, last, today, expected):
    given = {n: day for n, day in EVERY_3_WEEKS.items() if n <= cycles}
    found = planned_scan_day(given, visits, last, today, timepoints=TIMEPOINTS, endpoints=ENDPOINTS)
    assert found == expected


def test_an_interval_is_per_cycle_where_one_is_not_dated():
    found = planned_scan_day(
        {1: 0, 3: 42}, {"T0"}, -7, 50, timepoints=TIMEPOINTS, endpoints=ENDPOINTS
    )
    assert found == 63
