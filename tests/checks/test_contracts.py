"""The contract check of a table fails on any row that breaks the declaration.

It names the constraint, and shows no value.
"""

from __future__ import annotations

import pytest

from checks.contracts import evaluate_contract
from checks.tables import table_checks
from dagster_project.lake.tables import BY_NAME
from dagster_project.resources import Lakehouse
from tests.checks.evaluation import evaluate_site

BROKEN = {
    "treatments": ({"cycle": 0}, "cycle minimum 1: 1 rows"),
    "patients": ({"sex": "X", "stage": "IV"}, "sex allowed: 1 rows"),
    "scans": ({"kvp": float("nan")}, "kvp finite: 1 rows"),
    "timepoints": ({"visit": "T9"}, "visit pattern: 1 rows"),
    "predictions": ({"task": "T1", "probability": 1.5}, "probability maximum 1: 1 rows"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_row_that_breaks_the_declaration_is_counted(
    lakehouse: Lakehouse, fill, name: str
) -> None:
    row, told = BROKEN[name]
    fill(name, row)
    result = evaluate_contract(BY_NAME[name], lakehouse)
    assert not result.passed
    assert told in (result.description or "")
    assert result.metadata["rows"].value == 1


def test_rows_as_declared_pass(lakehouse: Lakehouse, fill) -> None:
    fill("treatments", {"cycle": 1}, {"cycle": 2})
    result = evaluate_contract(BY_NAME["treatments"], lakehouse)
    assert result.passed
    assert result.description == "all rows conform"


def test_an_empty_table_that_must_have_rows_fails(lakehouse: Lakehouse) -> None:
    assert not evaluate_contract(BY_NAME["patients"], lakehouse).passed
    assert evaluate_contract(BY_NAME["treatments"], lakehouse).passed


def test_a_sites_run_counts_that_sites_rows_alone(lakehouse: Lakehouse, fill) -> None:
    fill(
        "treatments",
        {"site": "AA", "patient": "AA-1", "cycle": 0},
        {"site": "BB", "patient": "BB-1", "cycle": 1},
        {"site": "BB", "patient": "BB-1", "cycle": 2},
    )
    check = table_checks(BY_NAME["treatments"])
    broken, whole = (evaluate_site(check, lakehouse, site, "contract") for site in ("AA", "BB"))
    assert (broken.passed, broken.description) == (False, "cycle minimum 1: 1 rows")
    assert (whole.passed, whole.description) == (True, "all rows conform")
    assert [e.metadata["rows"].value for e in (broken, whole)] == [1, 2]
    assert [e.partition for e in (broken, whole)] == ["AA", "BB"]
    assert not evaluate_contract(BY_NAME["treatments"], lakehouse).passed


def test_a_site_without_rows_passes_where_another_has_some(lakehouse: Lakehouse, fill) -> None:
    """That there are patients at all is asked of the whole table."""
    check = table_checks(BY_NAME["patients"])
    assert not evaluate_site(check, lakehouse, "AA", "contract").passed
    fill("patients", {"site": "BB", "patient": "BB-1"})
    assert evaluate_site(check, lakehouse, "AA", "contract").passed
    assert evaluate_site(check, lakehouse, "AA", "contract").metadata["rows"].value == 0
