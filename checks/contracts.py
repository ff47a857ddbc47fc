"""The contract of every table, generated from its declaration.

It covers keys, NULL, ranges and allowed values.
"""

import dagster as dg

from dagster_project.lake.contracts import too_few_rows
from dagster_project.lake.query_cache import violations_of
from dagster_project.lake.schema import constraints
from dagster_project.lake.tables import Table
from dagster_project.resources import Lakehouse


def evaluate_contract(
    table: Table, lakehouse: Lakehouse, site: str | None = None
) -> dg.AssetCheckResult:
    """How many rows of a table, or of one site in it, break each constraint.

    That a table has rows at all is asked of the whole table: one site may have none.
    """
    broken = violations_of(lakehouse.lake, lakehouse.home, table, site=site)
    if site is not None:
        broken += too_few_rows(table, lakehouse.lake.count(table.name))
    return dg.AssetCheckResult(
        passed=not broken,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(f"{v.constraint}: {v.rows} rows" for v in broken)
        or "all rows conform",
        metadata={
            "constraints": len(constraints(table)),
            "rows": lakehouse.lake.count(table.name, site=site),
            **{v.constraint: v.rows for v in broken},
        },
    )
