"""Which patients a prediction may be trained on, and the label of each.

No label was known by the visit at which the prediction is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from dagster_project.domain.cohort.eligibility import CRITERIA
from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.response.endpoints import LANDMARK
from dagster_project.domain.response.irecist import PROGRESSED, RESPONDED
from dagster_project.domain.response.progression_free import NEW_THERAPY, UNDATED_THERAPY
from dagster_project.domain.response.responses import ACCEPTED
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import TRAINING_COHORT
from dagster_project.study import Study

NAMED_CRITERIA = {
    "I4": "missing_visit",
    "I5": "slice_thickness",
    "E1": "artifact",
    "E5": "consent_withdrawn",
}
"""Criteria whose row rule has a name of its own; the others are called ineligible_<criterion>."""

Row = Mapping[str, Any]
Patient = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Course:
    """What is known of a patient by the task's visit and after it."""

    patient: Patient
    simulated: bool
    verdicts: Mapping[str, str]
    state: str | None
    later: Sequence[str]
    task: str = "T1"
    free_of_progression: bool | None = None

    @property
    def label(self) -> bool | None:
        """Response after the task's visit: CR or PR before the first PD.

        None without an evaluable visit. After T2, freedom from progression.
        """
        if self.task == LANDMARK:
            return self.free_of_progression
        evaluable = [r for r in self.later if r != "NE"]
        before = evaluable[: evaluable.index("PD")] if "PD" in evaluable else evaluable
        return bool({"CR", "PR"}.intersection(before)) if evaluable else None

    @property
    def decided(self) -> str | None:
        """How the patient was decided by the task's visit: progressed, responded, or not at all."""
        if self.state in PROGRESSED:
            return "progressed"
        return "responded" if self.state in RESPONDED and self.task != LANDMARK else None


def derive_training_cohort(
    eligibility: pl.DataFrame,
    outcomes: pl.DataFrame,
    responses: pl.DataFrame,
    timepoints: pl.DataFrame,
    study: Study,
) -> pl.DataFrame:
    """Derive one row per patient of `eligibility` for each of the protocol's tasks.

    0. excluded: the site is left out by a decision that the protocol records (site_left_out)
    1. excluded: the first criterion, in order, that is not met (missing_visit I4, slice_thickness
       I5, artifact E1, consent_withdrawn E5, ineligible_<criterion>) or not known
       (unknown_<criterion>)
    2. excluded: decided by the task's visit, as the protocol's `early_outcome_policy` says
       (progressed_by_T1, responded_by_T1)
    3. excluded: no evaluable visit after the task's (no_response_after_T1); at the landmark,
       followed for less than `six_months_days` without an event (short_follow_up_after_T2)
    4. label: CR or PR at a visit after the task's, up to the first PD, and none after a new
       anticancer therapy; of the task T2: no progression and no death within `six_months_days` of
       T2 (unknown where follow-up ends earlier), and rule 2 excludes progression alone

    Rule 2 keeps the label out of the features: who has shrunk by 30 % at T1 needs no prediction at
    T1.

    Returns
    -------
    pl.DataFrame
        The table training_cohort without `snapshot`.
    """
    return cohort_of(courses_by_task(eligibility, outcomes, responses, timepoints, study), study)


def courses_by_task(
    eligibility: pl.DataFrame,
    outcomes: pl.DataFrame,
    responses: pl.DataFrame,
    timepoints: pl.DataFrame,
    study: Study,
) -> dict[str, list[Course]]:
    """What is known of each patient, for each of the protocol's tasks."""
    section = study.section("model")
    return {
        task: courses(
            eligibility, outcomes, responses, timepoints, task, section["six_months_days"]
        )
        for task in section["tasks"]
    }


def cohort_of(seen: Mapping[str, Sequence[Course]], study: Study) -> pl.DataFrame:
    """`derive_training_cohort` from `courses_by_task`."""
    section, left_out, rows = study.section("model"), excluded_sites(study), []
    for task, found in seen.items():
        for course in found:
            exclusion = (
                "site_left_out"
                if course.patient[0] in left_out
                else _exclusion(course, task, section["early_outcome_policy"])
            )
            rows.append(
                (
                    *course.patient,
                    task,
                    exclusion is None,
                    exclusion,
                    course.label,
                    describe_label(task),
                    course.simulated,
                )
            )
    schema = {
        name: kind for name, kind in polars_schema(TRAINING_COHORT).items() if name != "snapshot"
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def excluded_sites(study: Study) -> frozenset[str]:
    """Sites that the protocol leaves out of training, each by a recorded decision."""
    return frozenset(entry["site"] for entry in study.section("gate")["excluded_sites"])


def describe_label(task: str) -> str:
    """What the label means."""
    if task == LANDMARK:
        return f"no progression and no death within six months of {task}"
    return f"CR or PR by RECIST 1.1 at a visit after {task}, up to the first progression"


def _exclusion(course: Course, task: str, policy: str) -> str | None:
    failed = next((c for c in CRITERIA if course.verdicts.get(c) != "met"), None)
    if failed:
        unknown = course.verdicts.get(failed) != "not_met" and failed != "I4"
        return (
            f"unknown_{failed}" if unknown else NAMED_CRITERIA.get(failed, f"ineligible_{failed}")
        )
    if course.decided == "progressed" and policy != "keep":
        return f"progressed_by_{task}"
    if course.decided == "responded" and policy == "exclude":
        return f"responded_by_{task}"
    unlabelled = "short_follow_up_after" if task == LANDMARK else "no_response_after"
    return f"{unlabelled}_{task}" if course.label is None else None


def courses(
    eligibility: pl.DataFrame,
    outcomes: pl.DataFrame,
    responses: pl.DataFrame,
    timepoints: pl.DataFrame,
    task: str,
    six_months: int = 183,
) -> list[Course]:
    """Bring the tables to one record per patient.

    It has verdicts, state at the task's visit, and RECIST 1.1 responses after it in order.
    """
    verdicts: dict[Patient, dict[str, str]] = defaultdict(dict)
    simulated: dict[Patient, bool] = {}
    for row in eligibility.iter_rows(named=True):
        verdicts[row["site"], row["patient"]][row["criterion"]] = row["verdict"]
        simulated[row["site"], row["patient"]] = row["simulated"]
    landmarks = {
        (t["site"], t["patient"]): t["scan_date"]
        for t in timepoints.iter_rows(named=True)
        if t["visit"] == task
    }
    last_days = {
        (o["site"], o["patient"]): o["pfs_days"]
        for o in outcomes.iter_rows(named=True)
        if o["pfs_reason"] == NEW_THERAPY
    }
    unknown = {
        (o["site"], o["patient"])
        for o in outcomes.iter_rows(named=True)
        if UNDATED_THERAPY in (o["reason"] or "")
    }
    free = {
        (o["site"], o["patient"]): _free_of_progression(o, six_months)
        for o in outcomes.iter_rows(named=True)
    }
    visits = _visits_of(responses)
    return [
        Course(
            p,
            simulated[p],
            found,
            _state(visits[p], task),
            _later(visits[p], None if p in unknown else landmarks.get(p), last_days.get(p)),
            task,
            free.get(p),
        )
        for p, found in sorted(verdicts.items())
    ]


def _free_of_progression(outcome: Row, six_months: int) -> bool | None:
    days, event = outcome["pfs_from_t2_days"], outcome["pfs_from_t2_event"]
    if days is None or event is None:
        return None
    if days >= six_months:
        return True
    return False if event else None


def _visits_of(responses: pl.DataFrame) -> dict[Patient, list[Row]]:
    found: dict[Patient, list[Row]] = defaultdict(list)
    accepted = responses.filter(
        (pl.col("evaluator") == ACCEPTED) & pl.col("scan_date").is_not_null()
    )
    for row in accepted.sort("scan_date", "visit").iter_rows(named=True):
        found[row["site"], row["patient"]].append(row)
    return found


def _state(visits: Sequence[Row], task: str) -> str | None:
    return (
        None
        if task == BASELINE
        else next((v["irecist_response"] for v in visits if v["visit"] == task), None)
    )


def _later(visits: Sequence[Row], landmark: date | None, last_day: int | None) -> list[str]:
    if landmark is None:
        return []
    return [
        v["overall_response"]
        for v in visits
        if v["scan_date"] > landmark
        and (last_day is None or (v["day"] is not None and v["day"] <= last_day))
    ]
