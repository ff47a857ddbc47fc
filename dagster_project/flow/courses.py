"""Courses of the lake's patients, each decision by what was known on its day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagster_project.domain.evaluation.dynamic_evaluation import courses_of
from dagster_project.domain.response.as_of_visits import (
    derive_blocks_as_of,
    derive_responses_as_of,
    plan_next_scans,
)
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.domain.response.responses import ACCEPTED

if TYPE_CHECKING:
    import polars as pl

    from dagster_project.domain.evaluation.courses import Course
    from dagster_project.resources import Lakehouse

COURSE_TABLES = (
    "lesions",
    "timepoints",
    "treatments",
    "follow_up",
    "clinical_status",
    "arbitrations",
    "responses",
    "irecist_blocks",
    "time_to_event",
)
"""Tables that courses are made from."""


@dataclass(frozen=True)
class Courses:
    """Courses of all patients, and of whom the case waits for an arbiter."""

    courses: list[Course]
    waiting: frozenset[tuple[str, str]]

    @property
    def settled(self) -> list[Course]:
        """Those whose accepted read is not provisional."""
        return [c for c in self.courses if c.patient not in self.waiting]


def make_courses(lakehouse: Lakehouse, dynamic: pl.DataFrame, risks: pl.DataFrame) -> Courses:
    """Courses by what the lake holds.

    Parameters
    ----------
    dynamic, risks
        Rows of dynamic_irecist and dynamic_risk, which are judged; none where they are not.
    """
    with lakehouse.lake.one_snapshot():
        lesions, timepoints, treatments, follow_up, states, *others = lakehouse.read(*COURSE_TABLES)
    arbitrations, _, blocks, times = others
    study, reads = lakehouse.study, {ACCEPTED: lesions}
    standard = standard_of(study, shipped_classes())
    waiting = arbitrations.filter(status="open").select("site", "patient").iter_rows()
    courses = courses_of(
        derive_responses_as_of(reads, timepoints, states, study.sections),
        blocks,
        derive_blocks_as_of(
            reads, timepoints, follow_up, treatments, states, study.sections, standard
        ),
        timepoints,
        plan_next_scans(timepoints, treatments, study.sections),
        times,
        dynamic,
        risks,
    )
    return Courses(courses, frozenset(waiting))
