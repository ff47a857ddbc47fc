"""From reads to responses: what several assets of the response group share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import polars as pl

from dagster_project.domain.masks import kept_overlap
from dagster_project.domain.responses import derive_responses
from dagster_project.lake.home import Home
from dagster_project.lake.schema import empty
from dagster_project.lake.stamps import keep_stamps
from dagster_project.lake.tables import LESIONS, QUARANTINE, RADIOMIC_FEATURES, RESPONSES
from dagster_project.resources import Lakehouse
from dagster_project.study import Study
from dagster_project.workers import mask_file

ACCEPTED = "accepted"
"""Evaluator of the responses that count."""


def dice_of_kept_masks(home: Home, scans: pl.DataFrame) -> Callable[[dict[str, Any], dict[str, Any]], float | None]:
    """A function that compares the kept masks of two rows of reads of one scan: Dice, or surface Dice at 1 mm below 1 cm³."""
    names = ("slice_spacing_mm", "pixel_spacing_row_mm", "pixel_spacing_column_mm")
    spacing = {row[0]: row[1:] for row in scans.select("scan", *names).iter_rows()}

    def compare(a: dict[str, Any], b: dict[str, Any]) -> float | None:
        folder = home.vault / a["site"] / a["patient"] / a["scan"]
        size = spacing.get(a["scan"])
        return kept_overlap(mask_file(folder, a["mask_digest"]), mask_file(folder, b["mask_digest"]), size if size and all(size) else None)

    return compare


def arbiter_decisions(lakehouse: Lakehouse) -> pl.DataFrame:
    """The arbiters' decisions of all sites, as intake took them in."""
    found = [rows for site in lakehouse.home.sites() if (rows := lakehouse.case_report(site, "arbitrations")).height]
    return pl.concat(found) if found else pl.DataFrame(
        schema={"site": pl.String, "patient": pl.String, "accepted_reader": pl.String, "arbiter": pl.String,
                "decided_at": pl.Datetime("us", "UTC"), "row_number": pl.Int64, "simulated": pl.Boolean})


def refuse_by_site(lakehouse: Lakehouse, stage: str, refused: pl.DataFrame) -> None:
    """Give each site the refusals of a stage that looks at all of them."""
    for site in lakehouse.home.sites():
        lakehouse.refuse(site, stage, refused.filter(site=site) if refused.height else empty(QUARANTINE))


def reader_responses(reads: pl.DataFrame, timepoints: pl.DataFrame, study: Study) -> pl.DataFrame:
    """What each reader's locked read alone would give."""
    locked = reads.filter(pl.col("locked_at").is_not_null())
    graded = [_grade(_as_lesions(rows), timepoints, str(reader), study) for (reader,), rows in locked.group_by(["reader"], maintain_order=True)]
    return pl.concat(graded) if graded else empty(RESPONSES).drop("known_from")


def _as_lesions(reads: pl.DataFrame) -> pl.DataFrame:
    """Rows of one reader in the shape of accepted lesions."""
    shaped = reads.with_columns(accepted_because=pl.lit("single_reader"), n_readers=pl.lit(1, pl.Int32))
    return shaped.select(LESIONS.names)


def _grade(lesions: pl.DataFrame, timepoints: pl.DataFrame, evaluator: str, study: Study) -> pl.DataFrame:
    read = timepoints.join(lesions.select("site", "patient").unique(), on=["site", "patient"], how="semi")
    return derive_responses(lesions, read, evaluator=evaluator, recist=study.section("recist"), irecist=study.section("irecist"))


def grade_all_evaluators(lakehouse: Lakehouse) -> pl.DataFrame:
    """Responses of the accepted read and of every reader; `known_from` stays where a row's content stays."""
    reads, lesions, timepoints, before = lakehouse.read("reads", "lesions", "timepoints", "responses")
    accepted = derive_responses(lesions, timepoints, evaluator=ACCEPTED, recist=lakehouse.study.section("recist"), irecist=lakehouse.study.section("irecist"))
    graded = pl.concat([accepted, reader_responses(reads, timepoints, lakehouse.study)])
    now = pl.lit(dt.datetime.now(dt.UTC), pl.Datetime("us", "UTC"))
    return keep_stamps(graded.with_columns(known_from=now), before, RESPONSES, ("known_from",))


def accepted_features(lakehouse: Lakehouse) -> pl.DataFrame:
    """Features of the accepted reads alone."""
    names = ", ".join(f'f."{n}"' for n in RADIOMIC_FEATURES.names)
    return lakehouse.lake.query(
        f"SELECT {names} FROM radiomic_features f JOIN lesions l USING (site, patient, visit, lesion) WHERE f.reader = l.reader").pl()
