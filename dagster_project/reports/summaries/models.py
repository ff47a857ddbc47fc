"""Models, federated runs and the dynamic standard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from dagster_project.reports.figures.models import RocCurve
from dagster_project.reports.summaries.tables import WHO, Row
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.roc import auc_delong, roc_points


def latest_runs(model_runs: pl.DataFrame) -> list[Row]:
    """The last run of every task and model, best AUC first within a task."""
    last = model_runs.sort("trained_at", "mlflow_run_id").unique(["task", "model"], keep="last")
    return last.sort("task", "auc", "model", descending=[False, True, False]).to_dicts()


def list_curves(
    predictions: pl.DataFrame, runs: Sequence[Row], task: str
) -> tuple[dict[str, tuple[list[bool], list[float]]], dict[str, tuple[float | None, float | None]]]:
    """Labels and probabilities out of fold by model of a task, and the intervals of their AUC."""
    known = predictions.filter(pl.col("task") == task).drop_nulls("observed_response").sort(*WHO)
    shown = [r for r in runs if r["task"] == task]
    parts = {
        r["model"]: known.filter(
            (pl.col("model") == r["model"]) & (pl.col("model_version") == r["model_version"])
        )
        for r in shown
    }
    curves = {
        model: (part["observed_response"].to_list(), part["probability"].to_list())
        for model, part in parts.items()
        if part["observed_response"].n_unique() == 2
    }
    return curves, {r["model"]: (r["auc_lower"], r["auc_upper"]) for r in shown}


def roc_curves(predictions: pl.DataFrame, runs: Sequence[Row], task: str) -> dict[str, RocCurve]:
    """The ROC curve of each model of a task out of fold, its AUC with the bounds of its run."""
    curves, intervals = list_curves(predictions, runs, task)
    return {model: _roc_curve(*curve, intervals[model]) for model, curve in curves.items()}


def _roc_curve(
    labels: Sequence[bool], scores: Sequence[float], bounds: tuple[float | None, float | None]
) -> RocCurve:
    y, p = np.asarray(labels, bool), np.asarray(scores, float)
    return RocCurve(roc_points(y, p), Estimate(auc_delong(y, p).value, *bounds))


FEDERATED_SHOWN = 20
"""Statistics of a federated run that the report lists; all of them are in the table."""


def summarise_federated(runs: pl.DataFrame, results: pl.DataFrame) -> list[Row]:
    """Federated runs, newest first, each with its statistics; points of curves are left out."""
    figures = results.filter(~pl.col("statistic").str.contains("@", literal=True))
    return [
        {**run, "statistics": figures.filter(run=run["run"]).head(FEDERATED_SHOWN).to_dicts()}
        for run in runs.sort("ended_at", "run", descending=True).iter_rows(named=True)
    ]


def newest_ledger_line(ledger: pl.DataFrame) -> Row | None:
    """The last line of the privacy ledger, which has what is spent; None where there is none."""
    return ledger.sort("line").row(-1, named=True) if ledger.height else None


def summarise_dynamic(dynamic: pl.DataFrame, risks: pl.DataFrame) -> list[Row]:
    """By visit and iRECIST response: patients by state and advice, probabilities shown and not.

    Probabilities are those of the questions that are asked of a patient.
    """
    asked = risks.filter("in_population").select("site", "patient", "visit", "withheld")
    order = ["iCR", "iPR", "iSD", "iNON_CR_NON_PD", "iUPD", "iCPD", "iNE", "iNED"]
    rows = []
    for (visit, response), part in dynamic.group_by("visit", "irecist_response"):
        held = part.join(asked, on=["site", "patient", "visit"])["withheld"]
        rows.append(
            {
                "visit": visit,
                "irecist_response": response,
                "patients": part.height,
                "states": dict(part.group_by("state").len().iter_rows()),
                "advice": dict(part.group_by("advice").len().iter_rows()),
                "shown": int((~held).sum()),
                "withheld": int(held.sum()),
            }
        )
    return sorted(rows, key=lambda r: (r["visit"], order.index(r["irecist_response"])))
