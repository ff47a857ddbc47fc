"""The registration's quality claim: two blinded readers agree with ICC of at least 0.85."""

import dagster as dg
import polars as pl

from dagster_project.domain.cohort.quality import gate_closed, judge_agreement
from dagster_project.flow.gate import describe
from dagster_project.lake.tables import READER_AGREEMENT
from dagster_project.resources import Lakehouse


@dg.asset_check(
    asset=READER_AGREEMENT.name,
    description=(
        "ICC(2,1) of each site and measurement reaches the protocol's limit, "
        "by point and lower bound.\n\n"
        "各中心、各测量值的 ICC(2,1) 及其置信下限达到方案界值。"
    ),
)
def icc(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Ask the gate's agreement rules of what is in the lake now.

    An error where readers disagree; a warning where too few pairs of readers exist to judge: the
    gate stays closed, but nothing in the data is wrong.
    """
    verdicts = judge_agreement(lakehouse.lake.read(READER_AGREEMENT.name), lakehouse.study)
    broken = gate_closed(verdicts)
    failed = not broken or any(v.verdict == "fail" for v in broken)
    severity = dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        passed=not broken,
        severity=severity,
        description=" ".join(map(describe, broken)) or "every site agrees",
        metadata={
            f"{v.rule} {v.scope}": v.statistic if v.statistic is not None else v.verdict
            for v in verdicts
        },
    )


@dg.asset_check(
    asset=READER_AGREEMENT.name,
    description=(
        "Median Dice of the two readers' masks by site.\n\n各中心两名阅片者掩膜的 Dice 中位数。"
    ),
)
def dice(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Compare each site's median Dice with the protocol's limit."""
    limit = lakehouse.study.section("agreement")["dice_pass"]
    sites = lakehouse.lake.read(READER_AGREEMENT.name).filter(
        (pl.col("scope") == "site") & (pl.col("measurement") == "mask")
    )
    low = sites.filter(pl.col("dice_median").fill_null(0.0) < limit)
    return dg.AssetCheckResult(
        passed=low.height == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{low.height} of {sites.height} sites below {limit}",
        metadata={
            f"{r['site']} median Dice": r["dice_median"] or 0.0 for r in sites.iter_rows(named=True)
        },
    )
