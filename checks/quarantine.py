"""Whether anything was refused: a warning, since the rest went on."""

import dagster as dg

from dagster_project.lake.tables import QUARANTINE
from dagster_project.resources import Lakehouse


@dg.asset_check(
    asset=QUARANTINE.name,
    description=("Nothing that a site sent was refused.\n\n各中心提交的内容均未被退回。"),
)
def nothing_refused(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Count the refusals by site and stage."""
    rows = lakehouse.lake.read(QUARANTINE.name)
    counts = {
        f"{site} {stage}": n
        for site, stage, n in rows.group_by("site", "stage").len().sort("site", "stage").iter_rows()
    }
    return dg.AssetCheckResult(
        passed=rows.height == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{rows.height} items refused",
        metadata=counts,
    )
