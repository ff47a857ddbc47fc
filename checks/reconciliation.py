"""Whether rows and images name the same people: a warning, since either may come later."""

import dagster as dg

from dagster_project.lake.tables import RECONCILIATION
from dagster_project.partitions import site_of, table_check
from dagster_project.resources import Lakehouse


@table_check(
    by_site=True,
    asset=RECONCILIATION.name,
    description=(
        "Each patient has a row and images, and every number belongs to a patient.\n\n"
        "每名患者既有病例报告又有图像，且每个编号都属于某名患者。"
    ),
)
def rows_meet_images(
    context: dg.AssetCheckExecutionContext, lakehouse: Lakehouse
) -> dg.AssetCheckResult:
    """Count the findings by site and kind, and those with a nearly equal number."""
    rows = lakehouse.lake.read(RECONCILIATION.name, site=site_of(context))
    subjects = rows.unique(["site", "finding", "patient", "item"])
    counts = {
        f"{site} {finding}": n
        for site, finding, n in subjects.group_by("site", "finding")
        .len()
        .sort("site", "finding")
        .iter_rows()
    }
    asked = rows.filter(other_patient="*").height
    return dg.AssetCheckResult(
        passed=rows.height == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=counts,
        description=(
            f"{subjects.height} without counterpart; "
            f"{rows.height - asked} nearly equal numbers to ask the hospital about"
        ),
    )
