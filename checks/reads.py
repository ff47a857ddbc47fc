"""Blinding, proved from the times.

Nobody arbitrates his own read, and nothing is decided before both reads are locked.
"""

import datetime as dt

import dagster as dg
import polars as pl

from dagster_project.lake.tables import ARBITRATIONS, READS
from dagster_project.partitions import site_of, table_check
from dagster_project.resources import Lakehouse


@table_check(
    by_site=True,
    asset=READS.name,
    description=(
        "Every read in the lake is locked, at a time that has passed; open reads are withheld.\n\n"
        "数据湖中的阅片均已锁定，且锁定时间已到；未锁定的不公开。"
    ),
)
def locked(context: dg.AssetCheckExecutionContext, lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Count rows of reads that are open, or whose lock lies in the future."""
    reads = _blinded(lakehouse, site_of(context))
    still_open = reads.filter(
        pl.col("locked_at").is_null() | (pl.col("locked_at") > pl.lit(dt.datetime.now(dt.UTC)))
    )
    return dg.AssetCheckResult(
        passed=still_open.height == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{still_open.height} of {reads.height} rows are open",
        metadata={"open": still_open.height, "readers": reads["reader"].n_unique()},
    )


@table_check(
    by_site=True,
    asset=READS.name,
    description=(
        "Reads of a visit enter the lake only after as many readers as the protocol requires "
        "have locked it.\n\n"
        "锁定某次访视的阅片者达到方案要求的人数之前，该访视的阅片不进入数据湖。"
    ),
)
def both_locked(
    context: dg.AssetCheckExecutionContext, lakehouse: Lakehouse
) -> dg.AssetCheckResult:
    """Count visits whose reads could be seen by a reader who has not read them yet."""
    needed = lakehouse.study.section("reads")["blinded_readers"]
    rows = _blinded(lakehouse, site_of(context))
    readers = rows.group_by("site", "patient", "visit").agg(pl.col("reader").n_unique())
    early = readers.filter(pl.col("reader") < needed)
    return dg.AssetCheckResult(
        passed=early.height == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"visits": readers.height, "early": early.height},
        description=(
            f"{early.height} of {readers.height} visits with fewer than {needed} locked readers"
        ),
    )


def _blinded(lakehouse: Lakehouse, site: str | None = None) -> pl.DataFrame:
    """Rows of reads that somebody read: nobody locks what was found among the images."""
    return lakehouse.lake.read(READS.name, site=site).filter(
        pl.col("reader") != lakehouse.study.section("reads")["site_reader"]
    )


@dg.asset_check(
    asset=ARBITRATIONS.name,
    description=(
        "No arbiter is one of the two readers, and none decided before both had locked.\n\n"
        "仲裁者不是两名阅片者之一，且在两份阅片均锁定后裁决。"
    ),
)
def blinding(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Count settled cases whose arbiter or time breaks the blinding."""
    cases, reads = lakehouse.lake.read(ARBITRATIONS.name), _blinded(lakehouse)
    first_locks = reads.group_by("site", "patient", "reader").agg(pl.col("locked_at").min())
    settled = cases.filter(status="settled")
    for side in ("reader_a", "reader_b"):
        settled = settled.join(
            first_locks.rename({"reader": side, "locked_at": f"{side}_locked_at"}),
            on=["site", "patient", side],
            how="left",
        )
    own = settled.filter(
        (pl.col("arbiter") == pl.col("reader_a")) | (pl.col("arbiter") == pl.col("reader_b"))
    )
    early = settled.filter(
        pl.col("decided_at") < pl.max_horizontal("reader_a_locked_at", "reader_b_locked_at")
    )
    return dg.AssetCheckResult(
        passed=own.height + early.height == 0,
        description=f"{own.height} own arbiters, {early.height} decided before the lock",
        metadata={
            "settled": settled.height,
            "own_arbiter": own.height,
            "before_lock": early.height,
        },
    )
