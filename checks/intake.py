"""The vault after intake, re-read by code that did not write it.

Nothing in it may identify a person.
"""

import dagster as dg

from dagster_project.flow.vault_audit import advice, audit_what_is_new, summarise
from dagster_project.materialisation import markdown_table
from dagster_project.partitions import site_of, table_check
from dagster_project.resources import Lakehouse

COLUMNS = ("finding", "element", "files", "first file")


@table_check(
    by_site=True,
    asset="intake",
    blocking=True,
    description=(
        "Independent audit: every new file in the site's vault, and whether files, register and "
        "manifest agree; a finding blocks the site.\n\n"
        "独立审计：该中心保管库中的每个新文件，以及文件、登记与清单是否一致；如有发现，该中心的数据不再处理和发布。"
    ),
)
def vault_audit(
    context: dg.AssetCheckExecutionContext, lakehouse: Lakehouse
) -> dg.AssetCheckResult:
    """Walk every new file of the site, and compare files, register and manifest.

    A file is new if it came after the last audit. Old files and pictures are left to
    `lakehouse audit`, since reading them takes long.
    """
    home = lakehouse.home
    site = site_of(context)
    sites = home.sites() if site is None else [site]
    audits = [audit_what_is_new(home, site) for site in sites]
    findings = [finding for audit in audits for finding in audit.findings]
    places = summarise(findings)
    named = "; ".join(
        f"{what} {element} in {n} files, first {where}" for what, element, n, where in places
    )
    files, elements = sum(a.files for a in audits), sum(a.elements for a in audits)
    description = (
        f"{named}. {'. '.join(advice(findings))}" if places else f"0 findings in {files} files"
    )
    return dg.AssetCheckResult(
        passed=not places,
        severity=dg.AssetCheckSeverity.ERROR,
        description=description,
        metadata={
            "files": files,
            "elements": elements,
            "findings": sum(n for *_, n, _ in places),
            "places": dg.MetadataValue.md(markdown_table(COLUMNS, places)),
        },
    )
