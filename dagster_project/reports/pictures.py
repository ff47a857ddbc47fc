"""The picture in the metadata of an asset.

It goes from rows of tables to PNG, or None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from dagster_project.reports import figures, response_figures
from dagster_project.reports import summaries as s
from dagster_project.study import Study


def _drawn(paint: Callable[[], bytes]) -> bytes | None:
    try:
        return paint()
    except figures.NothingToDraw:
        return None


def agreement_picture(reads: pl.DataFrame) -> bytes | None:
    """Bland-Altman of the longest diameters of all lesions that two readers measured."""
    pairs = s.pair_reads(reads, s.completed({})["arbitrations"])
    first, second = pairs["first"].to_list(), pairs["second"].to_list()
    return _drawn(lambda: figures.agreement_figure(first, second, s.limits_of_pairs(pairs)))


def flow_picture(tables: Mapping[str, pl.DataFrame], study: Study) -> bytes | None:
    """The flow chart with exclusive first reasons."""
    return _drawn(lambda: figures.flow_figure(s.list_stages(s.completed(tables), study)))


def waterfall_picture(outcomes: pl.DataFrame) -> bytes | None:
    """Best change of the sum of each patient, with the lines of response and progression."""
    changes = outcomes.drop_nulls("best_change_percent")
    return _drawn(
        lambda: figures.waterfall_figure(
            changes["best_change_percent"].to_list(), changes["bor"].fill_null("NE").to_list()
        )
    )


def survival_picture(outcomes: pl.DataFrame) -> bytes | None:
    """Kaplan-Meier curve of progression-free survival."""
    known = outcomes.drop_nulls(["pfs_days", "pfs_event"])
    times = {"All": (known["pfs_days"].to_list(), known["pfs_event"].to_list())}
    return _drawn(lambda: figures.survival_figure(s.survival_curves(times)))


def response_pictures(responses: pl.DataFrame, outcomes: pl.DataFrame) -> dict[str, bytes]:
    """Waterfall, spider and swimmer plot by name, those that have something to show."""
    tables = s.completed({"responses": responses, "outcomes": outcomes})
    courses = s.list_courses(tables, s.Population("all patients", s.list_patients(tables)))
    found = {
        "waterfall": waterfall_picture(outcomes),
        "spider": _drawn(lambda: response_figures.spider_figure(courses)),
        "swimmer": _drawn(lambda: response_figures.swimmer_figure(courses)),
    }
    return {name: png for name, png in found.items() if png}


def dhi_picture(dhi: pl.DataFrame, outcomes: pl.DataFrame) -> bytes | None:
    """DHI of the patients by response."""
    tables = s.completed({"dhi": dhi, "outcomes": outcomes})
    rows = s.list_patient_dhi(tables, s.choose_population(tables))
    strips, calibrated = s.dhi_strips(rows), bool(rows["calibrated"].all())
    return _drawn(lambda: figures.dhi_figure(strips, limit=calibrated))


def roc_picture(predictions: pl.DataFrame, model_runs: pl.DataFrame, task: str) -> bytes | None:
    """ROC curves of a task's models, out of fold."""
    curves = s.roc_curves(predictions, s.latest_runs(model_runs), task)
    return _drawn(lambda: figures.roc_figure(curves))
