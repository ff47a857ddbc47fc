"""Who is in the cohort: eligible patients, enrolment by site, and the flow of patients."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from dagster_project.domain.cohort.eligibility import CRITERIA as ORDER_OF_CRITERIA
from dagster_project.domain.cohort.eligibility import derive_flow
from dagster_project.reports.figures.cohort import Stage
from dagster_project.reports.summaries.tables import WHO, Row, Tables, find_waiting, list_patients
from dagster_project.reports.wording import criterion_words, english
from dagster_project.study import Study


def find_eligible(tables: Tables) -> pl.DataFrame:
    """Site and pseudonym of the patients who meet every criterion; unknown is not met."""
    met = pl.col("criterion").filter(pl.col("verdict") == "met").n_unique()
    return (
        tables["eligibility"]
        .group_by(WHO)
        .agg(met=met)
        .filter(pl.col("met") == len(ORDER_OF_CRITERIA))
        .select(WHO)
        .sort(WHO)
    )


@dataclass(frozen=True)
class Population:
    """Patients whom a section speaks of, and what they are called.

    `code` is the population's code in the tables of figures.
    """

    title: str
    patients: pl.DataFrame
    code: str = "all"
    title_zh: str = ""

    @property
    def words(self) -> tuple[str, str]:
        """What they are called in both languages."""
        return self.title, self.title_zh or self.title

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame's rows of these patients."""
        return frame.join(self.patients, on=WHO, how="semi")


def choose_population(tables: Tables) -> Population:
    """The eligible patients; where nobody is eligible yet, everyone, and the title says so.

    Who waits for the arbiter is not among them: a patient without figures would count as one
    without response.
    """
    waiting = find_waiting(tables)
    eligible = find_eligible(tables).join(waiting, on=WHO, how="anti")
    return (
        Population("the eligible patients", eligible, "eligible", "符合入排的患者")
        if eligible.height
        else Population(
            "all patients, since none is eligible yet",
            list_patients(tables).join(waiting, on=WHO, how="anti"),
            title_zh="全部患者（尚无符合入排者）",
        )
    )


def summarise_enrolment(tables: Tables) -> list[Row]:
    """By site: patients taken in, eligible, and the eligible by response.

    A patient without a best response yet is undetermined.
    """
    eligible = find_eligible(tables).with_columns(eligible=pl.lit(1))
    rows = (
        list_patients(tables)
        .join(eligible, on=WHO, how="left")
        .join(tables["outcomes"].select(*WHO, "responder"), on=WHO, how="left")
    )
    counted = pl.col("eligible").is_not_null()
    return (
        rows.group_by("site")
        .agg(
            taken_in=pl.len(),
            eligible=counted.sum(),
            responders=(counted & pl.col("responder")).sum(),
            non_responders=(counted & ~pl.col("responder")).sum(),
            undetermined=(counted & pl.col("responder").is_null()).sum(),
        )
        .sort("site")
        .to_dicts()
    )


def summarise_flow(eligibility: pl.DataFrame) -> list[Row]:
    """By criterion: the counts of the flow of patients.

    Patients for whom it is the first reason, any reason, unmet, unknown, and those who remain after
    it.
    """
    if eligibility.is_empty():
        return []
    verdicts = eligibility.group_by("criterion").agg(
        not_met=(pl.col("verdict") == "not_met").sum(),
        unknown=(pl.col("verdict") == "unknown").sum(),
    )
    return (
        derive_flow(eligibility)
        .join(verdicts, on="criterion", how="left", maintain_order="left")
        .with_columns(pl.col("not_met", "unknown").fill_null(0))
        .to_dicts()
    )


def list_stages(tables: Tables, study: Study) -> list[Stage]:
    """The boxes of the flow chart, for the primary task: taken in, eligible, and trained on."""
    task, criteria = study.section("model")["primary_task"], criterion_words(study)
    flow, cohort = (
        summarise_flow(tables["eligibility"]),
        tables["training_cohort"].filter(pl.col("task") == task),
    )
    if not flow:
        return []
    left = tuple(
        (f"{english(criteria, r['criterion'])} ({r['criterion']})", r["n_first_reason"])
        for r in flow
        if r["n_first_reason"]
    )
    stages = [
        Stage(
            "Taken in",
            tables["eligibility"].select(WHO).n_unique(),
            left,
            "First criterion not met or not known",
        ),
        Stage("Eligible", flow[-1]["remaining"]),
    ]
    if cohort.is_empty():
        return stages
    return [
        stages[0],
        Stage(
            "Eligible",
            stages[1].count,
            _exclusions(cohort, find_eligible(tables)),
            "Left out of the training cohort",
        ),
        Stage(f"Training cohort, task {task}", int(cohort["included"].sum())),
    ]


def _exclusions(cohort: pl.DataFrame, eligible: pl.DataFrame) -> tuple[tuple[str, int], ...]:
    out = cohort.filter(~pl.col("included")).join(eligible, on=WHO, how="semi")
    return tuple(
        (str(reason).replace("_", " "), n)
        for reason, n in out.group_by("exclusion")
        .len()
        .sort("len", "exclusion", descending=[True, False])
        .iter_rows()
    )


def summarise_exclusions(cohort: pl.DataFrame) -> list[Row]:
    """By task: patients included, and those each row rule leaves out."""
    return (
        cohort.group_by("task", "included", "exclusion")
        .len("patients")
        .sort("task", "included", "patients", descending=[False, True, True])
        .to_dicts()
    )
