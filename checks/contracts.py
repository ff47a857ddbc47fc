"""The contract of every table, generated from its declaration.

It covers keys, NULL, ranges and allowed values.
"""

import dagster as dg

from dagster_project.lake.contracts import too_few_rows
from dagster_project.lake.query_cache import violations_of
from dagster_project.lake.schema import constraints
from dagster_project.lake.tables import TABLES, Table
from dagster_project.partitions import site_of, table_check
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


def contract_check(table: Table) -> dg.AssetChecksDefinition:
    """The check of one table, in a site's run of that site's rows."""
    description = (
        f"Every row of {table.name} conforms to its declaration: keys, NULL, ranges, "
        "allowed values.\n\n"
        f"{table.name} 的每一行均符合表结构：主键、空值、范围与取值。"
    )

    @table_check(by_site=table.by_site, asset=table.name, name="contract", description=description)
    def contract(
        context: dg.AssetCheckExecutionContext, lakehouse: Lakehouse
    ) -> dg.AssetCheckResult:
        return evaluate_contract(table, lakehouse, site_of(context))

    return contract


CHECKS = [contract_check(table) for table in TABLES]
