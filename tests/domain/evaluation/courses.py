"""Courses of patients, made by the functions that make the rows of the lake."""

from __future__ import annotations

import polars as pl

from dagster_project.domain.evaluation.courses import landmarks_of, progressions_of
from dagster_project.domain.evaluation.dynamic_evaluation import courses_of
from dagster_project.domain.response.as_of_visits import (
    derive_blocks_as_of,
    derive_responses_as_of,
    plan_next_scans,
)
from dagster_project.domain.response.block_rows import derive_irecist_blocks
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.domain.response.responses import derive_responses
from dagster_project.domain.response.time_to_event import derive_time_to_event
from dagster_project.lake.clock import CLOCK_SCHEMA
from dagster_project.lake.schema import empty
from dagster_project.lake.tables import BY_NAME
from tests.domain.courses import ENDPOINTS, IRECIST, RECIST, STUDY
from tests.domain.records import VISIT_DAYS, cycles, follow_up, lesions, table, timepoints

NAMES = tuple(VISIT_DAYS)
STANDARD = standard_of(STUDY)
ERROR = STUDY.section("dynamic")["reader_error"]


def course(
    sizes, visits=None, events=(), given=(0, 21, 42, 63, 84), dynamic=None, risks=None, doubtful=()
):
    """The course of one patient; `doubtful` are visits at which the new lesion is equivocal."""
    count = max(map(len, sizes.values()))
    rows = lesions(**sizes).with_columns(
        unequivocal=pl.when(pl.col("role").eq("new") & pl.col("visit").is_in(list(doubtful)))
        .then(statement=False)
        .otherwise("unequivocal")
    )
    scans, states = timepoints(*(visits or NAMES[:count])), table("clinical_status")
    reads, treated, ends = {"accepted": rows}, cycles(*given), follow_up(*events)
    sections = STUDY.sections
    today = derive_responses(
        rows, scans, evaluator="accepted", recist=RECIST, irecist=IRECIST, clinical_status=states
    )
    clock = pl.DataFrame(schema=CLOCK_SCHEMA)
    (found,) = courses_of(
        derive_responses_as_of(reads, scans, states, sections),
        derive_irecist_blocks(reads, scans, ends, treated, states, clock, sections, STANDARD),
        derive_blocks_as_of(reads, scans, ends, treated, states, sections, STANDARD),
        scans,
        plan_next_scans(scans, treated, sections),
        derive_time_to_event(today, treated, ends, table("patients", {}), scans, ENDPOINTS),
        empty(BY_NAME["dynamic_irecist"]) if dynamic is None else dynamic,
        empty(BY_NAME["dynamic_risk"]) if risks is None else risks,
    )
    return found


def landmarks(*args, **more):
    return list(landmarks_of(course(*args, **more), IRECIST))


def progressions(*args, **more):
    return list(progressions_of(course(*args, **more), ERROR, STUDY.sections))
