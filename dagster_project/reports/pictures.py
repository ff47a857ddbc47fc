"""The picture in the metadata of an asset.

It goes from rows of tables to PNG, or None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from dagster_project.reports.figures.canvas import NothingToDraw
from dagster_project.reports.figures.cohort import flow_figure
from dagster_project.reports.figures.heterogeneity import dhi_figure
from dagster_project.reports.figures.models import roc_figure
from dagster_project.reports.figures.reading import agreement_figure
from dagster_project.reports.figures.response import spider_figure, swimmer_figure, waterfall_figure
from dagster_project.reports.figures.survival import survival_figure
from dagster_project.reports.summaries.cohort import Population, choose_population, list_stages
from dagster_project.reports.summaries.heterogeneity import dhi_strips, list_patient_dhi
from dagster_project.reports.summaries.models import latest_runs, roc_curves
from dagster_project.reports.summaries.reading import limits_of_pairs, pair_reads
from dagster_project.reports.summaries.response import list_courses
from dagster_project.reports.summaries.survival import survival_curves
from dagster_project.reports.summaries.tables import completed, list_patients
from dagster_project.study import Study


def _drawn(paint: Callable[[], bytes]) -> bytes | None:
    try:
        return paint()
    except NothingToDraw:
        return None


def agreement_picture(reads: pl.DataFrame) -> bytes | None:
    """Bland-Altman of the longest diameters of all lesions that two readers measured."""
    pairs = pair_reads(reads, completed({})["arbitrations"])
    first, second = pairs["first"].to_list(), pairs["second"].to_list()
    return _drawn(lambda: agreement_figure(first, second, limits_of_pairs(pairs)))


def flow_picture(tables: Mapping[str, pl.DataFrame], study: Study) -> bytes | None:
    """The flow chart with exclusive first reasons."""
    return _drawn(lambda: flow_figure(list_stages(completed(tables), study)))


def waterfall_picture(outcomes: pl.DataFrame) -> bytes | None:
    """Best change of the sum of each patient, with the lines of response and progression."""
    changes = outcomes.drop_nulls("best_change_percent")
    return _drawn(
        lambda: waterfall_figure(
            changes["best_change_percent"].to_list(), changes["bor"].fill_null("NE").to_list()
        )
    )


def survival_picture(outcomes: pl.DataFrame) -> bytes | None:
    """Kaplan-Meier curve of progression-free survival."""
    known = outcomes.drop_nulls(["pfs_days", "pfs_event"])
    times = {"All": (known["pfs_days"].to_list(), known["pfs_event"].to_list())}
    return _drawn(lambda: survival_figure(survival_curves(times)))


def response_pictures(responses: pl.DataFrame, outcomes: pl.DataFrame) -> dict[str, bytes]:
    """Waterfall, spider and swimmer plot by name, those that have something to show."""
    tables = completed({"responses": responses, "outcomes": outcomes})
    courses = list_courses(tables, Population("all patients", list_patients(tables)))
    found = {
        "waterfall": waterfall_picture(outcomes),
        "spider": _drawn(lambda: spider_figure(courses)),
        "swimmer": _drawn(lambda: swimmer_figure(courses)),
    }
    return {name: png for name, png in found.items() if png}


def dhi_picture(dhi: pl.DataFrame, outcomes: pl.DataFrame) -> bytes | None:
    """DHI of the patients by response."""
    tables = completed({"dhi": dhi, "outcomes": outcomes})
    rows = list_patient_dhi(tables, choose_population(tables))
    strips, calibrated = dhi_strips(rows), bool(rows["calibrated"].all())
    return _drawn(lambda: dhi_figure(strips, limit=calibrated))


def roc_picture(predictions: pl.DataFrame, model_runs: pl.DataFrame, task: str) -> bytes | None:
    """ROC curves of a task's models, out of fold."""
    curves = roc_curves(predictions, latest_runs(model_runs), task)
    return _drawn(lambda: roc_figure(curves))
