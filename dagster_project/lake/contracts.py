"""Checks in SQL that every row keeps what its table declares.

The constraints are those of which the Great Expectations suite is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dagster_project.lake.schema import Constraint, constraints
from dagster_project.lake.tables import Table


@dataclass(frozen=True)
class Violation:
    """How many rows of a table break one constraint; never a value."""

    table: str
    constraint: str
    rows: int


def find_violations(
    ask: Callable[[str], tuple[Any, ...]], table: Table, *, site: str | None = None
) -> list[Violation]:
    """Constraints that rows of the table break, and how many rows do.

    1. No key twice. 2. NULL only where allowed. 3. Numbers within their range and finite. 4. Text
    among the allowed values or matching the pattern. 5. At least `minimum_rows` rows. NULL passes 3
    and 4.

    Parameters
    ----------
    ask
        Runs a statement and gives its one row.
    site
        Look at this site's rows alone, without rule 5, which is about the whole table. The key of
        a table by site begins with the site, so a key that is unique in each is unique in all.
    """
    asked = constraints(table)
    rows, *broken = ask(contract_query(table, asked, key=HASHED_KEY, site=site))
    if any(n for c, n in zip(asked, broken, strict=True) if c.kind == "unique"):
        rows, *broken = ask(contract_query(table, asked, key=WHOLE_KEY, site=site))
    found = [Violation(table.name, c.name, int(n)) for c, n in zip(asked, broken, strict=True)]
    few = [] if site is not None else too_few_rows(table, rows)
    return [*(v for v in found if v.rows), *few]


def too_few_rows(table: Table, rows: int) -> list[Violation]:
    """Rule 5 of `find_violations`, on the number of rows of the whole table."""
    if rows >= table.minimum_rows:
        return []
    return [Violation(table.name, f"at least {table.minimum_rows} rows", 1)]


HASHED_KEY, WHOLE_KEY = "hash({})", "({})"
"""How keys are compared: by a hash of 64 bits, or whole.

The hash takes a third of the time and memory over a cohort's features. Keys that differ in hash
differ, and what looks repeated is counted again by the whole key.
"""


def contract_query(
    table: Table, asked: list[Constraint], *, key: str, site: str | None = None
) -> str:
    """One pass over the table (or one site in it) that counts the rows which break each constraint.

    `key` is HASHED_KEY or WHOLE_KEY.
    """
    counts = ", ".join(_broken_rows(c, key) for c in asked)
    of_site = "" if site is None else f" WHERE site = {_text(site)}"
    return f'SELECT count(*), {counts} FROM "{table.name}"{of_site}'


def _broken_rows(constraint: Constraint, key: str) -> str:
    if constraint.kind == "unique":
        return (
            "count(*) - "
            f"count(DISTINCT {key.format(', '.join(_name(c) for c in constraint.columns))})"
        )
    return f"count(*) FILTER (WHERE {_broken(constraint)})"


def _broken(constraint: Constraint) -> str:
    column, limit = _name(constraint.columns[0]), constraint.limit
    return {
        "not_null": f"{column} IS NULL",
        "minimum": f"{column} < {limit}",
        "maximum": f"{column} > {limit}",
        "allowed": f"{column} NOT IN ({', '.join(_text(v) for v in limit)})"
        if isinstance(limit, tuple)
        else "FALSE",
        "pattern": f"NOT regexp_matches({column}, {_text(limit)})",
        "finite": f"NOT isfinite({column})",
    }[constraint.kind]


def _name(column: str) -> str:
    return f'"{column}"'


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"
