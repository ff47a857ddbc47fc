"""The generated Great Expectations suites find what the contract finds."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from checks.expectations import validate
from checks.tables import table_checks
from dagster_project.lake.expectations import expectation_suite
from dagster_project.lake.schema import constraints, polars_schema
from dagster_project.lake.tables import FEDERATED_RUNS, PATIENTS, TABLES, TREATMENTS, Table
from dagster_project.resources import Lakehouse
from tests.checks.evaluation import evaluate_site


def treatment(**changes: object) -> pl.DataFrame:
    row = dict(
        site="AA",
        patient="p",
        cycle=1,
        treatment_date=dt.date(2020, 1, 1),
        day=0,
        drugs=None,
        simulated=True,
        input_fingerprint="f",
    )
    return pl.DataFrame([row | changes], schema=polars_schema(TREATMENTS))


def failed(table: Table, frame: pl.DataFrame) -> set[str]:
    return {
        r.expectation_config.type
        for r in validate(table, frame.to_pandas()).results
        if not r.success
    }


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_every_constraint_is_an_expectation(table: Table) -> None:
    asked = [c for c in constraints(table) if c.kind != "finite"]
    assert len(expectation_suite(table)) == len(asked) + 2


def test_clean_rows_meet_the_suite_and_broken_ones_do_not() -> None:
    assert failed(TREATMENTS, treatment()) == set()
    assert failed(TREATMENTS, treatment(cycle=0)) == {"expect_column_values_to_be_between"}
    assert failed(TREATMENTS, treatment(site="lower")) == {"expect_column_values_to_match_regex"}
    assert failed(TREATMENTS, treatment(patient=None)) == {"expect_column_values_to_not_be_null"}
    assert failed(TREATMENTS, pl.concat([treatment(), treatment()])) == {
        "expect_compound_columns_to_be_unique"
    }
    assert failed(TREATMENTS, treatment().drop("drugs")) == {
        "expect_table_columns_to_match_ordered_list"
    }


def test_an_empty_table_that_must_have_rows_fails() -> None:
    assert "expect_table_row_count_to_be_between" in failed(
        PATIENTS, pl.DataFrame(schema=polars_schema(PATIENTS))
    )


def test_a_key_of_one_column_is_unique_too() -> None:
    (key,) = FEDERATED_RUNS.key
    whole = pl.DataFrame([{key: "a"}], schema=polars_schema(FEDERATED_RUNS))
    assert "expect_column_values_to_be_unique" not in failed(FEDERATED_RUNS, whole)
    assert "expect_column_values_to_be_unique" in failed(FEDERATED_RUNS, pl.concat([whole, whole]))


def test_a_sites_run_looks_at_that_sites_rows_alone(lakehouse: Lakehouse, fill) -> None:
    fill(
        "treatments",
        {"site": "AA", "patient": "AA-1", "cycle": 0},
        {"site": "BB", "patient": "BB-1", "cycle": 1},
    )
    check = table_checks(TREATMENTS)
    broken, whole, empty = (
        evaluate_site(check, lakehouse, site, "expectations") for site in ("AA", "BB", "CC")
    )
    assert [e.passed for e in (broken, whole, empty)] == [False, True, True]
    assert "expect_column_values_to_be_between cycle" in broken.description
    assert [e.metadata["rows"].value for e in (broken, whole, empty)] == [1, 1, 0]
