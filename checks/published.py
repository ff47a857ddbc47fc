"""What is published: nothing of it may identify a person, and a site that is left out is seen."""

import dagster as dg

from dagster_project.flow.lake_audit import open_lake_findings
from dagster_project.flow.vault_audit import advice, open_findings, summarise
from dagster_project.materialisation import markdown_table
from dagster_project.resources import Lakehouse

COLUMNS = ("finding", "column", "tables", "first table")
BLOCKED = ("site", "finding", "element or column", "files or tables", "first")


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


@dg.asset_check(
    asset="published",
    description=(
        "No site is blocked: red as long as a finding of an audit leaves a site out.\n\n"
        "没有被暂停的中心：任一中心因审计发现而未发布时，此检查不通过。"
    ),
)
def blocked_sites(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Name each site that is left out, and why: `vault_audit` shows one site at a time."""
    found = open_findings(lakehouse.home)
    rows = [(site, *place) for site, some in found.items() for place in summarise(some)]
    named = "; ".join(f"{site}: {what} {element}".rstrip() for site, what, element, _, _ in rows)
    findings = [finding for some in found.values() for finding in some]
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{named}. {'. '.join(advice(findings))}" if found else "0 sites are blocked",
        metadata={
            "sites": len(found),
            "places": dg.MetadataValue.md(markdown_table(BLOCKED, rows)),
        },
    )
