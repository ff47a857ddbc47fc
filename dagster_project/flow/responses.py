"""Responses of the accepted read and of every reader on their own."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import polars as pl

from dagster_project.domain.response.responses import derive_responses
from dagster_project.lake.schema import empty
from dagster_project.lake.stamps import keep_stamps
from dagster_project.lake.tables import LESIONS, RESPONSES

if TYPE_CHECKING:
    from dagster_project.resources import Lakehouse
    from dagster_project.study import Study

ACCEPTED = "accepted"
"""Evaluator of the responses that count."""


def reads_by_reader(reads: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Each reader's locked read in the shape of accepted lesions."""
    locked = reads.filter(pl.col("locked_at").is_not_null())
    return {
        str(reader): _as_lesions(rows)
        for (reader,), rows in locked.group_by(["reader"], maintain_order=True)
    }


def reader_responses(
    reads: pl.DataFrame, timepoints: pl.DataFrame, clinical_status: pl.DataFrame, study: Study
) -> pl.DataFrame:
    """What each reader's locked read alone would give."""
    graded = [
        _grade(rows, timepoints, reader, study, clinical_status)
        for reader, rows in reads_by_reader(reads).items()
    ]
    return pl.concat(graded) if graded else empty(RESPONSES).drop("recorded_at")


def _as_lesions(reads: pl.DataFrame) -> pl.DataFrame:
    """Rows of one reader in the shape of accepted lesions."""
    shaped = reads.with_columns(
        acceptance_basis=pl.lit("single_reader"), n_readers=pl.lit(1, pl.Int32)
    )
    return shaped.select(LESIONS.names)


def _grade(
    lesions: pl.DataFrame,
    timepoints: pl.DataFrame,
    evaluator: str,
    study: Study,
    clinical_status: pl.DataFrame,
) -> pl.DataFrame:
    read = timepoints.join(
        lesions.select("site", "patient").unique(), on=["site", "patient"], how="semi"
    )
    return derive_responses(
        lesions,
        read,
        evaluator=evaluator,
        recist=study.section("recist"),
        irecist=study.section("irecist"),
        clinical_status=clinical_status,
    )


def grade_all_evaluators(lakehouse: Lakehouse) -> pl.DataFrame:
    """Responses of the accepted read and of every reader.

    `recorded_at` stays where a row's content stays.
    """
    names = ("reads", "lesions", "timepoints", "clinical_status", "responses")
    reads, lesions, timepoints, states, before = lakehouse.read(*names)
    accepted = derive_responses(
        lesions,
        timepoints,
        evaluator=ACCEPTED,
        recist=lakehouse.study.section("recist"),
        irecist=lakehouse.study.section("irecist"),
        clinical_status=states,
    )
    by_reader = reader_responses(reads, timepoints, states, lakehouse.study)
    graded = pl.concat([accepted, by_reader])
    now = pl.lit(dt.datetime.now(dt.UTC), pl.Datetime("us", "UTC"))
    return keep_stamps(graded.with_columns(recorded_at=now), before, RESPONSES, ("recorded_at",))
