"""The vault after intake, re-read by code that did not write it: nothing in it may identify a person."""

import dagster as dg

from dagster_project.flow.vault_audit import BLOCKED, audit_what_is_new, summarise
from dagster_project.materialisation import markdown_table
from dagster_project.resources import Lakehouse

COLUMNS = ("finding", "element", "files", "first file")


@dg.asset_check(asset="intake", blocking=True, description=(
    "Independent audit: elements, UIDs, dates and texts of every new file in the site's vault; a finding blocks the site.\n\n"
    "独立审计：该中心保管库中每个新文件的元素、UID、日期与文本；如有发现，该中心的数据不再处理和发布。"
))
def vault_audit(context: dg.AssetCheckExecutionContext, lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Walk every file of the site that is new since the last audit; old files and pictures are left to `lakehouse audit`, since reading them takes long."""
    home = lakehouse.home
    sites = [context.partition_key] if context.has_partition_key else home.sites()
    audits = [audit_what_is_new(home, site) for site in sites]
    places = summarise([finding for audit in audits for finding in audit.findings])
    named = "; ".join(f"{what} {element} in {n} files, first {where}" for what, element, n, where in places)
    files, elements = sum(a.files for a in audits), sum(a.elements for a in audits)
    description = f"{named}. {BLOCKED}" if places else f"0 findings in {files} files"
    return dg.AssetCheckResult(
        passed=not places, severity=dg.AssetCheckSeverity.ERROR, description=description,
        metadata={
            "files": files, "elements": elements, "findings": sum(n for *_, n, _ in places),
            "places": dg.MetadataValue.md(markdown_table(COLUMNS, places)),
        })
