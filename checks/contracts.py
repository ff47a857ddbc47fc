"""The contract of every table, generated from its declaration.

It covers keys, NULL, ranges and allowed values.
"""

import dagster as dg

from dagster_project.lake.query_cache import violations_of
from dagster_project.lake.schema import constraints
from dagster_project.lake.tables import TABLES, Table
from dagster_project.resources import Lakehouse


def contract_check(table: Table) -> dg.AssetChecksDefinition:
    """The check of one table."""
    description = (
        f"Every row of {table.name} conforms to its declaration: keys, NULL, ranges, "
        "allowed values.\n\n"
        f"{table.name} 的每一行均符合表结构：主键、空值、范围与取值。"
    )

    @dg.asset_check(asset=table.name, name="contract", description=description)
    def contract(lakehouse: Lakehouse) -> dg.AssetCheckResult:
        broken = violations_of(lakehouse.lake, lakehouse.home, table)
        return dg.AssetCheckResult(
            passed=not broken,
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(f"{v.constraint}: {v.rows} rows" for v in broken)
            or "all rows conform",
            metadata={
                "constraints": len(constraints(table)),
                "rows": lakehouse.lake.count(table.name),
                **{v.constraint: v.rows for v in broken},
            },
        )

    return contract


CHECKS = [contract_check(table) for table in TABLES]
