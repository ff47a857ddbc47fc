"""Which decisions of a tumour board count, by the page that each names."""

from __future__ import annotations

import re
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_project.domain.response import board_decisions as bd
from dagster_project.lake.columns import PAGE_CODE_PATTERN
from dagster_project.lake.reasons import chinese_reason
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import BOARD_DECISIONS
from tests.domain.records import DAY_ZERO, VISIT_DAYS, timepoints

SITE, PATIENT = "BJCH", "BJCH-A"
CODE, EARLIER, OF_T2, OF_B, OF_SHPH, NEVER = map(bd.page_code, range(6))
SHOWN = {
    CODE: (SITE, PATIENT, "T1"),
    EARLIER: (SITE, PATIENT, "T1"),
    OF_T2: (SITE, PATIENT, "T2"),
    OF_B: (SITE, "BJCH-B", "T1"),
    OF_SHPH: ("SHPH", "SHPH-A", "T1"),
}
SCHEMA = {
    name: kind
    for name, kind in polars_schema(BOARD_DECISIONS).items()
    if name not in {"number", "status", "reason"}
} | {"row_number": pl.Int32()}


def decision(days_after_ct=3, **values):
    """A row as intake leaves it: on T1, some days after its CT."""
    day = VISIT_DAYS[values.get("visit", "T1")] + days_after_ct
    row = {
        "site": SITE,
        "patient": PATIENT,
        "visit": "T1",
        "decision_date": DAY_ZERO + timedelta(day),
        "day": day,
        "decision": "continue_and_rescan_early",
        "decided_by": "oncologist",
        "clinically_stable": True,
        "next_ct_day": day + 20,
        "page_code": CODE,
        "row_number": 2,
        "simulated": False,
    }
    return row | values


def judged(*rows, current=(CODE, OF_T2)):
    """Status by row number, and the refusals as place and reason."""
    delivered = pl.DataFrame(rows, schema=SCHEMA)
    found, refused = bd.derive_board_decisions(
        delivered, SHOWN, current, timepoints("T0", "T1", "T2")
    )
    return found, dict(refused.select("item", "reason").iter_rows())


def test_a_decision_on_the_page_as_it_is_counts():
    found, refused = judged(decision())
    row = found.row(0, named=True)
    assert (row["status"], row["reason"], row["number"]) == ("page_current", None, 1)
    assert (row["decision"], row["page_code"]) == ("continue_and_rescan_early", CODE)
    assert refused == {}


def test_a_decision_on_a_page_that_has_changed_since_says_so():
    found, refused = judged(decision(page_code=EARLIER))
    assert found.select("status", "reason").row(0) == ("page_superseded", bd.SUPERSEDED)
    assert refused == {}


def test_a_case_without_a_page_of_today_has_no_current_one():
    found, _ = judged(decision(), current=())
    assert found["status"].to_list() == ["page_superseded"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"page_code": NEVER}, bd.UNKNOWN_PAGE),
        ({"page_code": OF_SHPH}, bd.PAGE_OF_ANOTHER_SITE),
        ({"page_code": OF_B}, bd.PAGE_OF_ANOTHER_PATIENT),
        ({"page_code": OF_T2}, bd.PAGE_OF_ANOTHER_VISIT),
        ({"days_after_ct": -1}, bd.BEFORE_THE_CT),
    ],
    ids=["never shown", "another hospital", "another patient", "another visit", "before the CT"],
)
def test_what_names_another_page_or_lies_before_the_ct_is_refused(values, reason):
    found, refused = judged(decision(**values))
    assert found.is_empty()
    assert refused == {f"{PATIENT} board decision row 2": reason}
    assert not re.search(r"[a-z]{3,} [a-z]{3,}", chinese_reason(reason))


def test_a_decision_on_the_day_of_the_ct_counts():
    found, _ = judged(decision(days_after_ct=0))
    assert found["status"].to_list() == ["page_current"]


def test_two_decisions_that_differ_are_both_flagged_and_neither_counts():
    """Whatever else they say: a later day, another page, another decision."""
    for change in ({"decision": "stop"}, {"page_code": EARLIER}, {"days_after_ct": 5}):
        found, refused = judged(decision(), decision(**change, row_number=3))
        assert found["status"].to_list() == ["contradictory"] * 2
        assert found["number"].to_list() == [1, 2]
        assert refused == {f"{PATIENT} board decision row {n}": bd.CONTRADICTORY for n in (2, 3)}


def test_a_refused_decision_contradicts_too():
    """Nobody here can know whether its page or its decision is the mistake."""
    found, refused = judged(decision(), decision(page_code=NEVER, row_number=3))
    assert found["status"].to_list() == ["contradictory"]
    assert len(refused) == 2


def test_the_same_decision_twice_is_one():
    found, refused = judged(decision(), decision(row_number=9))
    assert found["status"].to_list() == ["page_current"]
    assert refused == {}


def test_decisions_on_two_visits_are_two():
    found, refused = judged(decision(), decision(visit="T2", page_code=OF_T2))
    assert found.select("visit", "status").rows() == [
        ("T1", "page_current"),
        ("T2", "page_current"),
    ]
    assert refused == {}


@given(st.lists(st.integers() | st.floats(allow_nan=False) | st.text(), max_size=4))
def test_a_code_is_twelve_letters_that_no_spreadsheet_changes(shown):
    code = bd.page_code(shown)
    assert re.fullmatch(PAGE_CODE_PATTERN, code)
    assert code == bd.page_code(list(shown))
    assert not re.search(r"\d|[AEIOUY]", code)


@given(st.permutations(range(4)))
def test_the_order_of_rows_does_not_count(order):
    rows = [
        decision(),
        decision(row_number=3),
        decision(visit="T2", page_code=OF_T2, row_number=4),
        decision(visit="T2", page_code=NEVER, row_number=5),
    ]
    expected, refused = judged(*rows)
    found, also = judged(*(rows[n] for n in order))
    assert found.drop("number").sort("visit", "status").rows() == expected.drop("number").rows()
    assert also == refused
