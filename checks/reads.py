"""Blinding, proved from the times: nobody arbitrates his own read, and nothing is decided before both reads are locked."""

import dagster as dg
import polars as pl

from dagster_project.lake.tables import ARBITRATIONS, READS
from dagster_project.resources import Lakehouse


@dg.asset_check(asset=READS.name, description="Every read is locked; open reads are not compared, shown or fed on.")
def locked(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Count rows of reads that are still open."""
    reads = lakehouse.lake.read(READS.name)
    lockable = pl.col("reader") != lakehouse.study.section("reads")["site_reader"]  # nobody locks what was found among the images
    still_open = reads.filter(pl.col("locked_at").is_null() & lockable)
    return dg.AssetCheckResult(passed=still_open.height == 0, severity=dg.AssetCheckSeverity.WARN, description=f"{still_open.height} of {reads.height} rows are open",
                               metadata={"open": still_open.height, "readers": reads["reader"].n_unique()})


@dg.asset_check(asset=ARBITRATIONS.name, description="No arbiter is one of the two readers, and none decided before both had locked.")
def blinding(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Count settled cases whose arbiter or time breaks the blinding."""
    cases, reads = lakehouse.read(ARBITRATIONS.name, READS.name)
    locks = reads.group_by("site", "patient").agg(pl.col("locked_at").max())
    settled = cases.filter(status="settled").join(locks, on=["site", "patient"], how="left")
    own = settled.filter((pl.col("arbiter") == pl.col("reader_a")) | (pl.col("arbiter") == pl.col("reader_b")))
    early = settled.filter(pl.col("decided_at") < pl.col("locked_at"))
    return dg.AssetCheckResult(passed=own.height + early.height == 0, description=f"{own.height} own arbiters, {early.height} decided before the lock",
                               metadata={"settled": settled.height, "own_arbiter": own.height, "before_lock": early.height})
