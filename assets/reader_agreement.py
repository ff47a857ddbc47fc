"""How well the two blinded readers agree, by lesion, site, visit and cohort."""

import dagster as dg

from dagster_project.domain.reading.agreement import derive_pairs, derive_reader_agreement
from dagster_project.flow.arbitrations import arbiter_decisions
from dagster_project.flow.reader_agreement import dice_of_kept_masks
from dagster_project.lake.tables import READER_AGREEMENT
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.reports.pictures import agreement_picture
from dagster_project.resources import Lakehouse


@table_asset(READER_AGREEMENT, deps=["reads", "scans"])
def reader_agreement(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Compare the two locked reads of every lesion and visit."""
    reads, scans = lakehouse.read("reads", "scans")
    pairs = derive_pairs(
        reads,
        dice_of_kept_masks(lakehouse.home.vault, scans),
        site_reader=lakehouse.study.section("reads")["site_reader"],
    )
    rows = derive_reader_agreement(
        pairs, arbiter_decisions(lakehouse), lakehouse.study.section("agreement")
    )
    write = lakehouse.lake.replace(READER_AGREEMENT.name, rows)
    return materialize_result(write, rows.filter(scope="site"), picture=agreement_picture(reads))
