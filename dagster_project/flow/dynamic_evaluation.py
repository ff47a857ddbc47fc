"""The evaluation of the dynamic standard, by what the lake holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_project.domain.evaluation.dynamic_evaluation import (
    courses_of,
    derive_dynamic_evaluation,
)
from dagster_project.domain.response.as_of_visits import (
    derive_blocks_as_of,
    derive_responses_as_of,
    plan_next_scans,
)
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.domain.response.responses import ACCEPTED
from dagster_project.domain.response.sum_error import find_reader_error
from dagster_project.lake.stamps import keep_stamps
from dagster_project.lake.tables import DYNAMIC_EVALUATION

if TYPE_CHECKING:
    import polars as pl

    from dagster_project.resources import Lakehouse


def evaluate_standard(lakehouse: Lakehouse) -> pl.DataFrame:
    """Rows of dynamic_evaluation; a row that says the same as before keeps its snapshot.

    Patients whose case waits for an arbiter are left out: their accepted read is provisional.
    """
    with lakehouse.lake.one_snapshot():
        lesions, timepoints, treatments, follow_up, states = lakehouse.read(
            "lesions", "timepoints", "treatments", "follow_up", "clinical_status"
        )
        arbitrations, responses, blocks, times, dynamic = lakehouse.read(
            "arbitrations", "responses", "irecist_blocks", "time_to_event", "dynamic_irecist"
        )
    waiting = arbitrations.filter(status="open").select("site", "patient")
    lesions = lesions.join(waiting, on=["site", "patient"], how="anti", maintain_order="left")
    scans = timepoints.join(waiting, on=["site", "patient"], how="anti", maintain_order="left")
    study, reads = lakehouse.study, {ACCEPTED: lesions}
    standard = standard_of(study, shipped_classes())
    courses = courses_of(
        derive_responses_as_of(reads, scans, states, study.sections),
        blocks,
        derive_blocks_as_of(reads, scans, follow_up, treatments, states, study.sections, standard),
        scans,
        plan_next_scans(scans, treatments, study.sections),
        times,
        dynamic,
    )
    found = derive_dynamic_evaluation(
        courses,
        find_reader_error(responses, study.section("dynamic")).value,
        study.sections,
        standard,
        snapshot=lakehouse.lake.snapshot(),
    )
    before = lakehouse.lake.read(DYNAMIC_EVALUATION.name)
    return keep_stamps(found, before, DYNAMIC_EVALUATION, ("snapshot",))
