"""The evaluation of the dynamic standard, by what the lake holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_project.domain.evaluation.dynamic_evaluation import derive_dynamic_evaluation
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.domain.response.sum_error import find_reader_error
from dagster_project.flow.courses import make_courses
from dagster_project.flow.visit_features import load_features
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
        names = ("responses", "dynamic_irecist", "dynamic_risk")
        responses, dynamic, risks = lakehouse.read(*names)
        courses = make_courses(lakehouse, dynamic, risks).settled
        features = load_features(lakehouse)
    study = lakehouse.study
    found = derive_dynamic_evaluation(
        courses,
        find_reader_error(responses, study.section("dynamic")).value,
        study.sections,
        standard_of(study, shipped_classes()),
        snapshot=lakehouse.lake.snapshot(),
        features=features,
    )
    before = lakehouse.lake.read(DYNAMIC_EVALUATION.name)
    return keep_stamps(found, before, DYNAMIC_EVALUATION, ("snapshot",))
