"""Blocks and responses of the accepted read are one account of the same visits."""

import dagster as dg
import polars as pl

from dagster_project.domain.response.responses import ACCEPTED
from dagster_project.lake.tables import IRECIST_BLOCKS
from dagster_project.resources import Lakehouse

WHO = ["site", "patient", "evaluator"]

RESPONDING = ("iCR", "iPR", "iSD", "iNON_CR_NON_PD")


@dg.asset_check(
    asset=IRECIST_BLOCKS.name,
    description=(
        "At most one block of a patient and evaluator is open, and it is the last one.\n\n"
        "每名患者、每位评估者至多一个未结束区段，且为最后一个。"
    ),
)
def one_open(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Count blocks that are open and not the last."""
    blocks = lakehouse.lake.read(IRECIST_BLOCKS.name)
    wrong = blocks.filter(
        (pl.col("outcome") == "open") & (pl.col("block") < pl.col("block").max().over(WHO))
    )
    return dg.AssetCheckResult(
        passed=wrong.height == 0,
        description=f"{wrong.height} of {blocks.height} blocks are open before the last one",
        metadata={"blocks": blocks.height, "wrong": wrong.height},
    )


@dg.asset_check(
    asset=IRECIST_BLOCKS.name,
    description=(
        "While a block is open no visit reads as response or stable disease.\n\n"
        "区段未结束期间，任何访视均不判为缓解或稳定。"
    ),
)
def open_is_no_response(lakehouse: Lakehouse) -> dg.AssetCheckResult:
    """Count visits within an open block that respond, of the accepted read.

    Visits after the day that the blocks are as of are none of theirs.
    """
    blocks, responses = lakehouse.read(IRECIST_BLOCKS.name, "responses")
    still_open = blocks.filter(evaluator=ACCEPTED, outcome="open").select(
        *WHO, "opened_visit", "as_of_date"
    )
    opened = responses.select(*WHO, "visit", opened_on="scan_date")
    since = still_open.join(
        opened, left_on=[*WHO, "opened_visit"], right_on=[*WHO, "visit"], how="left"
    )
    wrong = responses.join(since, on=WHO).filter(
        pl.col("scan_date").is_between("opened_on", "as_of_date"),
        pl.col("irecist_response").is_in(RESPONDING),
    )
    return dg.AssetCheckResult(
        passed=wrong.height == 0,
        description=f"{wrong.height} visits respond while a block is open",
        metadata={"open": still_open.height, "wrong": wrong.height},
    )
