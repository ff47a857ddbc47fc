"""What every table must hold: its contract and its suite, in one step of the run that writes it."""

import warnings
from collections.abc import Callable, Iterator, Mapping

import dagster as dg

from checks.contracts import evaluate_contract
from checks.expectations import evaluate_suite
from dagster_project.lake.tables import TABLES, Table
from dagster_project.partitions import SITES, site_of
from dagster_project.resources import Lakehouse

EVALUATED_BY: Mapping[str, Callable[[Table, Lakehouse, str | None], dg.AssetCheckResult]] = {
    "contract": evaluate_contract,
    "expectations": evaluate_suite,
}
"""How each check of a table is evaluated, by its name and in this order."""


def table_checks(table: Table) -> dg.AssetChecksDefinition:
    """Both checks of one table, in a site's run of that site's rows.

    They have a step of their own behind the table's: where the table is not made, they are
    skipped, and an error in a suite fails no table.
    """

    @dg.multi_asset_check(name=f"{table.name}_rules", specs=_specs(table), can_subset=True)
    def rules(
        context: dg.AssetCheckExecutionContext, lakehouse: Lakehouse
    ) -> Iterator[dg.AssetCheckResult]:
        asked = {key.name for key in context.selected_asset_check_keys}
        for name, evaluate in EVALUATED_BY.items():
            if name in asked:
                found = evaluate(table, lakehouse, site_of(context))
                yield found._replace(check_name=name, asset_key=dg.AssetKey(table.name))

    return rules


def _specs(table: Table) -> list[dg.AssetCheckSpec]:
    descriptions = {
        "contract": (
            f"Every row of {table.name} conforms to its declaration: keys, NULL, ranges, "
            "allowed values.\n\n"
            f"{table.name} 的每一行均符合表结构：主键、空值、范围与取值。"
        ),
        "expectations": (
            f"Great Expectations suite of {table.name}, generated from the schema.\n\n"
            f"由表结构生成的 {table.name} 质量检查（Great Expectations）。"
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # as in partitions.table_check
        partitions = SITES if table.by_site else None
        return [
            dg.AssetCheckSpec(name, asset=table.name, description=text, partitions_def=partitions)
            for name, text in descriptions.items()
        ]


CHECKS = [table_checks(table) for table in TABLES]
