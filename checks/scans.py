"""Slices thin enough, and no artifact.

These row rules are shown as warnings, since they exclude a patient and not the study.
"""

import dagster as dg
import polars as pl

from dagster_project.domain.imaging.slice_limits import FAULTS, UNKNOWN, has_fault, mark_slices
from dagster_project.lake.tables import SCANS
from dagster_project.partitions import site_of, table_check
from dagster_project.resources import Lakehouse

FLAGS = ("metal_flag", "motion_flag", "truncated_flag", "rescale_flag", "noise_flag")


@table_check(
    by_site=True,
    asset=SCANS.name,
    description=(
        "Nominal thickness and measured spacing are both within the protocol's limit, "
        "without gaps.\n\n"
        "标称层厚与实测层间距均在方案界值内，且无缺层。"
    ),
)
def slice_thickness(
    context: dg.AssetCheckExecutionContext, lakehouse: Lakehouse
) -> dg.AssetCheckResult:
    """Count the scans that break rule I5."""
    limits = lakehouse.study.section("scans")
    scans = mark_slices(lakehouse.lake.read(SCANS.name, site=site_of(context)), limits)
    figures = {kind: int(scans[kind].sum()) for kind in (*FAULTS, UNKNOWN)}
    text = (
        f"of {scans.height} scans are thicker than {limits['slice_thickness_mm']} mm "
        "or of unknown thickness, have gaps or repeated slices"
    )
    return _warning(scans.filter(has_fault()), scans, text, **figures)


@table_check(
    by_site=True,
    asset=SCANS.name,
    description=(
        "No scan has an artifact flag; "
        "a reader's own flag takes precedence over the automatic ones.\n\n"
        "扫描均无伪影标记；阅片者的标记优先于自动标记。"
    ),
)
def artifacts(context: dg.AssetCheckExecutionContext, lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Count the scans with an artifact."""
    scans = lakehouse.lake.read(SCANS.name, site=site_of(context))
    automatic = pl.any_horizontal(pl.col(f).fill_null(value=False) for f in FLAGS)
    flagged = scans.filter(pl.coalesce("reader_artifact_flag", automatic))
    figures = {flag: int(scans[flag].fill_null(value=False).sum()) for flag in FLAGS}
    return _warning(flagged, scans, f"of {scans.height} scans have an artifact", **figures)


def _warning(
    found: pl.DataFrame, scans: pl.DataFrame, text: str, **figures: int
) -> dg.AssetCheckResult:
    by_site = dict(found.group_by("site").len().iter_rows())
    return dg.AssetCheckResult(
        passed=found.height == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{found.height} {text}",
        metadata={
            "scans": scans.height,
            "found": found.height,
            "by_site": str(by_site),
            "which": ", ".join(found["scan"].head(20)),
            **figures,
        },
    )
