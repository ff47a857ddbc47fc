"""The dynamic standard judged on another trial's tumour tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dagster_project.domain.evaluation.dynamic_evaluation import derive_dynamic_evaluation
from dagster_project.domain.external_trials.trial_courses import courses_of_trial
from dagster_project.domain.response.comparison_classes import shipped_classes
from dagster_project.domain.response.dynamic_standard import standard_of
from dagster_project.flow.trial_tables import Trial, grade_tables, read_trial
from dagster_project.study import Study


class NothingToEvaluate(ValueError):
    """No subject has a visit that can be judged."""

    def __init__(self, recorded: int, undated: int) -> None:
        super().__init__(
            f"no subject has a graded visit with a day from baseline: {recorded} visits are in RS "
            f"alone, which has no measurements, and {undated} have no day; "
            "`lakehouse grade` names each row that it could not use"
        )


@dataclass(frozen=True, slots=True)
class TrialEvaluation:
    """Rows of dynamic_evaluation, and what they were made from.

    Of graded visits `undated` have no day from baseline, and of their subjects `left_out` have no
    other one.
    """

    rows: pl.DataFrame
    subjects: int
    left_out: int
    undated: int
    trial: Trial
    flags: pl.DataFrame


def evaluate_trial(folder: Path, study: Study, evaluator: str | None) -> TrialEvaluation:
    """Read, grade and evaluate the tables of a folder.

    Raises
    ------
    UnreadableTable
        Where the tables cannot be used (trial_tables.py).
    SeveralEvaluators, UnknownEvaluator
        Where it is not clear whose assessments are meant.
    NothingToEvaluate
        Where no visit is left.
    """
    trial = read_trial(folder)
    graded = grade_tables(trial, study)
    courses = courses_of_trial(graded, graded.dm, study.section("endpoints"), evaluator)
    own = graded.visits if evaluator is None else graded.visits.filter(evaluator=evaluator)
    visits = own.drop_nulls("overall_response")
    undated = visits["days_from_baseline"].null_count()
    if not courses:
        raise NothingToEvaluate(own.height - visits.height, undated)
    rows = derive_dynamic_evaluation(
        courses,
        study.section("dynamic")["reader_error"],
        study.sections,
        standard_of(study, shipped_classes()),
        snapshot=0,
    )
    return TrialEvaluation(
        rows,
        subjects=len(courses),
        left_out=visits["subject"].n_unique() - len(courses),
        undated=undated,
        trial=trial,
        flags=graded.flags,
    )
