"""The vault after intake, re-read by code that did not write it: nothing in it may tell a person."""

import dagster as dg

from dagster_project.flow.vault_audit import audit_what_is_new
from dagster_project.resources import Lakehouse


@dg.asset_check(asset="intake", description=(
    "Independent audit: elements, UIDs, dates and texts of every new file in the vault.\n\n"
    "独立审计：保管库中每个新文件的元素、UID、日期与文本。"
))
def vault_audit(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Walk every file that is new since the last audit; old files and pictures are left to `lakehouse audit`, since reading them takes long."""
    found = audit_what_is_new(lakehouse.home)
    return dg.AssetCheckResult(passed=not found.findings, severity=dg.AssetCheckSeverity.ERROR, description=f"{len(found.findings)} findings in {found.files} files",
                               metadata={"files": found.files, "elements": found.elements, **dict(found.counts())})
