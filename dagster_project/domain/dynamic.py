"""Dynamic iRECIST: a probability and its evidence beside the state of each visit; it advises and never changes a response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from dagster_project.domain.findings import Rules
from dagster_project.domain.responses import ACCEPTED, BASELINE
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import DYNAMIC_IRECIST

ADVICE = {
    "iUPD_likely_true": "earlier_scan_4_weeks",
    "iUPD_likely_pseudo": "continue_and_confirm",
    "iUPD_indeterminate": "continue_and_confirm",
    "likely_non_responder": "earlier_scan_4_weeks",
    "likely_responder": "as_scheduled",
    "indeterminate": "as_scheduled",
    "no_prediction": "none",
}
"""What may be considered at each reading of the risk: a scan at the start of iRECIST's window of 4 to 8 weeks, or to go on."""

SETTLED = ("iCPD", "iCR")
"""States that leave nothing to predict."""

Row = Mapping[str, Any]
Patient = tuple[str, str]


def derive_dynamic_irecist(responses: pl.DataFrame, predictions: pl.DataFrame, model_runs: pl.DataFrame,
                           dhi: pl.DataFrame, model_section: Rules) -> pl.DataFrame:
    """Put the risk beside the state: one row a patient and visit of the accepted responses.

    1. the model is the newest one that carries the protocol's alias and was trained for the task of this visit
    2. probability: what that model gave the patient when the patient was held out, or where it was not trained on the patient at all;
       else none, with the reason
    3. reading and advice by `read_risk` and ADVICE
    4. evidence: change of the sum from baseline; DHI from T0 to this visit

    The states are copied. A probability of response stands for that of pseudoprogression where the state is iUPD; no reading
    is a response, none has a date, and none confirms a progression.

    Returns
    -------
    pl.DataFrame
        The table dynamic_irecist.
    """
    chosen = _chosen_models(model_runs, model_section["alias"])
    given: dict[tuple[str, ...], float] = {
        (p["site"], p["patient"], p["task"], p["model"], p["model_version"]): p["probability"]
        for p in predictions.iter_rows(named=True)}
    heterogeneity = {(h["site"], h["patient"], h["to_visit"]): h["dhi"] for h in dhi.iter_rows(named=True)
                     if h["scope"] == "patient" and h["from_visit"] == BASELINE}
    accepted = responses.filter(pl.col("evaluator") == ACCEPTED).sort("site", "patient", "scan_date", "visit", nulls_last=True)
    rows = [_row(v, chosen.get(v["visit"]), given, heterogeneity, model_section) for v in accepted.iter_rows(named=True)]
    return pl.DataFrame(rows, schema=polars_schema(DYNAMIC_IRECIST), orient="row")


def _chosen_models(model_runs: pl.DataFrame, alias: str) -> dict[str, tuple[str, str]]:
    named = model_runs.filter(pl.col("alias") == alias).sort("trained_at")
    return {run["task"]: (run["model"], run["model_version"]) for run in named.iter_rows(named=True)}


def _row(visit: Row, model: tuple[str, str] | None, given: Mapping[tuple[str, ...], float],
         heterogeneity: Mapping[tuple[str, str, str], float | None], section: Rules) -> tuple[Any, ...]:
    who = (visit["site"], visit["patient"])
    settled = visit["irecist_response"] in SETTLED
    probability = given.get((*who, visit["visit"], *model)) if model and not settled else None
    reading = read_risk(visit["irecist_response"], probability, section)
    name, version = model if model and probability is not None else (None, None)
    return (
        *who, visit["visit"], visit["day"], visit["overall_response_as_of_visit"], visit["irecist_response"], probability, name, version,
        reading, ADVICE[reading], visit["change_from_baseline_percent"], heterogeneity.get((*who, visit["visit"])),
        _why_none(visit["visit"], model, settled=settled) if probability is None else None, visit["simulated"])


def read_risk(state: str, probability: float | None, section: Rules) -> str:
    """Read a probability of response beside the state it was given at.

    1. no probability: no_prediction
    2. state iUPD: at most `response_low` iUPD_likely_true, at least `response_high` iUPD_likely_pseudo, else iUPD_indeterminate
    3. another state: at most `response_low` likely_non_responder, at least `response_high` likely_responder, else indeterminate

    >>> read_risk("iUPD", 0.2, {"response_low": 0.35, "response_high": 0.65})
    'iUPD_likely_true'
    """
    if probability is None:
        return "no_prediction"
    low, high = probability <= section["response_low"], probability >= section["response_high"]
    if state == "iUPD":
        return "iUPD_likely_true" if low else "iUPD_likely_pseudo" if high else "iUPD_indeterminate"
    return "likely_non_responder" if low else "likely_responder" if high else "indeterminate"


def _why_none(visit: str, model: tuple[str, str] | None, *, settled: bool) -> str:
    if settled:
        return "the state leaves nothing to predict"
    return f"no model for the task of {visit}" if model is None else "the patient is not in the training cohort"
