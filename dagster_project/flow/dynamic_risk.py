"""Risks of the dynamic standard, by what the lake holds behind the open gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_project.domain.evaluation.dynamic_risk import Sources, derive_dynamic_risk
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.flow.courses import make_courses
from dagster_project.flow.gate import gate_state
from dagster_project.flow.visit_features import load_features
from dagster_project.lake.schema import empty
from dagster_project.lake.tables import DYNAMIC_IRECIST, DYNAMIC_RISK

if TYPE_CHECKING:
    import polars as pl

    from dagster_project.resources import Lakehouse

RISK_TABLES = (
    "predictions",
    "model_runs",
    "training_cohort",
    "outcomes",
    "timepoints",
    "iupd_cohort",
)
"""Tables that risks are made from, beside those of the courses; in the order of `Sources`."""


def find_risks(lakehouse: Lakehouse) -> pl.DataFrame:
    """Rows of dynamic_risk."""
    study = lakehouse.study
    with lakehouse.lake.one_snapshot():
        sources = Sources(*lakehouse.read(*RISK_TABLES))
        found = make_courses(lakehouse, empty(DYNAMIC_IRECIST), empty(DYNAMIC_RISK))
        features = load_features(lakehouse)
    return derive_dynamic_risk(
        found.courses,
        found.waiting,
        sources,
        study.sections,
        standard_of(study, shipped_classes()),
        gate=gate_state(lakehouse.lake, study),
        amendments=study.amended,
        features=features,
    )
