"""The dynamic standard judged on another trial's tumour tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dagster_project.domain.evaluation.dynamic_evaluation import derive_dynamic_evaluation
from dagster_project.domain.external_trials.trial_courses import courses_of_trial
from dagster_project.domain.external_trials.trial_grading import grade_trial
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.flow.trial_tables import read_trial
from dagster_project.study import Study


@dataclass(frozen=True, slots=True)
class TrialEvaluation:
    """Rows of dynamic_evaluation, how many subjects they are of, and the files that were read."""

    rows: pl.DataFrame
    subjects: int
    files: Sequence[tuple[str, str, int]]


def evaluate_trial(folder: Path, study: Study, evaluator: str | None) -> TrialEvaluation:
    """Read, grade and evaluate the tables of a folder.

    Raises
    ------
    UnreadableTable
        Where the tables cannot be used (trial_tables.py).
    SeveralEvaluators, UnknownEvaluator
        Where it is not clear whose assessments are meant.
    """
    trial = read_trial(folder)
    graded = grade_trial(
        trial["TU"],
        trial["TR"],
        trial["RS"],
        trial["DM"],
        study.section("recist"),
        study.section("irecist"),
    )
    courses = courses_of_trial(graded, trial["DM"], study.section("endpoints"), evaluator)
    rows = derive_dynamic_evaluation(
        courses,
        study.section("dynamic")["reader_error"],
        study.sections,
        standard_of(study, shipped_classes()),
        snapshot=0,
    )
    return TrialEvaluation(rows, len(courses), trial.files)
