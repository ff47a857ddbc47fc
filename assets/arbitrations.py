"""Patients whose two reads differ by the protocol's triggers, and what the arbiter decided."""

import dagster as dg

from dagster_project.domain.reading.agreement import derive_pairs
from dagster_project.domain.reading.arbitration import derive_arbitrations
from dagster_project.flow.arbitrations import arbiter_decisions
from dagster_project.flow.responses import reader_responses
from dagster_project.flow.step_result import refuse_by_site
from dagster_project.lake.tables import ARBITRATIONS
from dagster_project.materialisation import materialize_result, table_asset
from dagster_project.resources import Lakehouse


@table_asset(ARBITRATIONS, deps=["reads", "reader_agreement", "timepoints", "clinical_status"])
def arbitrations(lakehouse: Lakehouse) -> dg.MaterializeResult:
    """Open a case where a trigger is met, and settle it by a valid decision.

    A valid decision endorses one whole read.
    """
    names = ("reads", "timepoints", "reader_agreement", "clinical_status")
    reads, timepoints, agreement, states = lakehouse.read(*names)
    pairs = derive_pairs(reads, site_reader=lakehouse.study.section("reads")["site_reader"])
    responses = reader_responses(reads, timepoints, states, lakehouse.study)
    rows, refused = derive_arbitrations(
        pairs,
        agreement,
        responses,
        arbiter_decisions(lakehouse),
        lakehouse.study.section("agreement"),
    )
    refuse_by_site(lakehouse, ARBITRATIONS.name, refused)
    return materialize_result(
        lakehouse.lake.replace(ARBITRATIONS.name, rows),
        rows,
        facts={"open": rows.filter(status="open").height, "refused": refused.height},
    )
