"""The Great Expectations suite of a table, as data.

Type and arguments of each expectation are projected from the schema.
"""

from __future__ import annotations

from typing import Any

from dagster_project.lake.schema import Constraint, constraints
from dagster_project.lake.tables import Table

Expectation = tuple[str, dict[str, Any]]


def expectation_suite(table: Table) -> list[Expectation]:
    """Expectations of a table.

    Range and set expectations pass on NULL, NaN and empty tables; so each column that may not be
    NULL has a not-null expectation beside them, and the suite asks for a minimum number of rows.
    Finiteness is left to the contract check: pandas cannot tell NaN from NULL.
    """
    found: list[Expectation] = [
        ("expect_table_columns_to_match_ordered_list", {"column_list": list(table.names)})
    ]
    found += [("expect_table_row_count_to_be_between", {"min_value": table.minimum_rows})]
    return found + [e for c in constraints(table) for e in _expectation(c)]


def _unique(key: tuple[str, ...]) -> Expectation:
    """Of a key of several columns, or of one, which Great Expectations has under another name."""
    if len(key) > 1:
        return "expect_compound_columns_to_be_unique", {"column_list": list(key)}
    return "expect_column_values_to_be_unique", {"column": key[0]}


def _expectation(constraint: Constraint) -> list[Expectation]:
    column, limit = {"column": constraint.columns[0]}, constraint.limit
    made: dict[str, list[Expectation]] = {
        "unique": [_unique(constraint.columns)],
        "not_null": [("expect_column_values_to_not_be_null", column)],
        "minimum": [("expect_column_values_to_be_between", {**column, "min_value": limit})],
        "maximum": [("expect_column_values_to_be_between", {**column, "max_value": limit})],
        "allowed": [
            (
                "expect_column_values_to_be_in_set",
                {**column, "value_set": list(limit) if isinstance(limit, tuple) else []},
            )
        ],
        "pattern": [("expect_column_values_to_match_regex", {**column, "regex": limit})],
        "finite": [],
    }
    return made[constraint.kind]
