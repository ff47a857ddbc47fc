"""Responses, blocks and planned CTs as of each visit: what came later is not there."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.domain.response.as_of_visits import (
    derive_blocks_as_of,
    derive_responses_as_of,
    plan_next_scans,
)
from dagster_project.domain.response.dynamic_standard import standard_of
from tests.domain.courses import STUDY
from tests.domain.records import VISIT_DAYS, cycles, follow_up, lesions, table, timepoints

NAMES = tuple(VISIT_DAYS)
SIZE = st.one_of(st.none(), st.integers(0, 80))


def as_of(sizes, visits, events=(), given=(0, 21, 42, 63, 84)):
    """Blocks and responses of one course by what its visits were."""
    reads = {"accepted": lesions(**sizes)}
    scans, states = timepoints(*visits), table("clinical_status")
    blocks = derive_blocks_as_of(
        reads, scans, follow_up(*events), cycles(*given), states, STUDY.sections, standard_of(STUDY)
    )
    return blocks, derive_responses_as_of(reads, scans, states, STUDY.sections)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(SIZE, SIZE), min_size=2, max_size=5).filter(lambda v: v[0][0] is not None),
    st.integers(1, 4),
)
def test_what_came_later_changes_nothing(course, count):
    """The first visits alone give the same rows as the whole course does for them."""
    count = min(count, len(course))
    sizes = {
        "L1": [first for first, _ in course],
        "N1": [None] + [second or None for _, second in course[1:]],
    }
    whole = as_of(sizes, NAMES[: len(course)], events=[("death", 400)])
    first = {label: values[:count] for label, values in sizes.items()}
    then = as_of(first, NAMES[:count])
    for late, early in zip(whole, then, strict=True):
        column = "as_of_visit" if "as_of_visit" in late.columns else "visit"
        seen = late.filter(pl.col(column).is_in(NAMES[:count]))
        assert seen.sort(column).to_dicts() == early.sort(column).to_dicts()


def test_a_block_is_open_at_its_iupd_and_reset_at_the_next_visit():
    blocks, graded = as_of({"L1": [50, 70, 40]}, ("T0", "T1", "T2"))
    shown = blocks.select("as_of_visit", "status", "outcome", "planned_inside").to_dicts()
    assert shown == [
        {"as_of_visit": "T1", "status": "waiting", "outcome": "open", "planned_inside": True},
        {"as_of_visit": "T2", "status": "reset", "outcome": "reset", "planned_inside": None},
    ]
    assert graded["irecist_response"].to_list() == ["iUPD", "iSD"]


def test_an_event_without_a_date_closes_no_block_of_a_visit():
    blocks, _ = as_of({"L1": [50, 70]}, ("T0", "T1"), events=[("death", None)])
    assert blocks["outcome"].to_list() == ["open"]


def test_the_next_ct_is_planned_from_the_cycles_given_by_then():
    """Before cycle 4 after T0, before cycle 6 after T1 as far as cycles say, else by interval."""
    planned = plan_next_scans(
        timepoints("T0", "T1", "T2"), cycles(0, 21, 42, 63, 84), STUDY.sections
    )
    interval = STUDY.section("endpoints")["visit_interval_days"]
    assert dict(planned.select("visit", "planned_scan_day").iter_rows()) == {
        "T0": VISIT_DAYS["T0"] + interval,
        "T1": 105,
        "T2": VISIT_DAYS["T2"] + interval,
    }
