"""The lake before it is published: nothing in it may identify a person."""

import dagster as dg

from dagster_project.flow.lake_audit import open_lake_findings
from dagster_project.flow.vault_audit import advice, summarise
from dagster_project.materialisation import markdown_table
from dagster_project.resources import Lakehouse

COLUMNS = ("finding", "column", "tables", "first table")


@dg.asset_check(
    asset="published",
    blocking=True,
    description=(
        "Audit of the lake: texts, numbers and days of every table; "
        "a finding leaves its site out of the publication.\n\n"
        "数据湖审计：每个表的文本、数值与日期；如有发现，该中心的数据不予发布。"
    ),
)
def lake_audit(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Name what was found when the publication was made."""
    found = open_lake_findings(lakehouse.home)
    findings = [finding for rows in found.values() for finding in rows]
    places = summarise(findings)
    named = "; ".join(
        f"{what} in {table}.{column} of {n} tables" for what, column, n, table in places
    )
    return dg.AssetCheckResult(
        passed=not places,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{', '.join(sorted(found))}: {named}. {'. '.join(advice(findings))}"
        if places
        else "0 findings",
        metadata={
            "findings": len(findings),
            "places": dg.MetadataValue.md(markdown_table(COLUMNS, places)),
        },
    )
