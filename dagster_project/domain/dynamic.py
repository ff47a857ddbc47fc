"""Dynamic iRECIST: a probability and its evidence beside the state of each visit.

It advises and never changes a response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from dagster_project.domain.findings import Rules
from dagster_project.domain.responses import ACCEPTED
from dagster_project.domain.timepoints import BASELINE
from dagster_project.domain.training_cohort import LANDMARK
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import DYNAMIC_IRECIST

ADVICE = {
    "iUPD_likely_true": "earlier_scan_4_weeks",
    "iUPD_likely_pseudo": "continue_and_confirm",
    "iUPD_indeterminate": "continue_and_confirm",
    "likely_non_responder": "earlier_scan_4_weeks",
    "likely_responder": "as_scheduled",
    "likely_progressor": "earlier_scan_4_weeks",
    "likely_progression_free": "as_scheduled",
    "indeterminate": "as_scheduled",
    "no_prediction": "none",
}
"""What may be considered at each reading of the risk.

A scan at the start of iRECIST's window of 4 to 8 weeks, or to go on.
"""

SETTLED = ("iCPD", "iCR")
"""States that leave nothing to predict."""

Row = Mapping[str, Any]
Patient = tuple[str, str]


def derive_dynamic_irecist(
    responses: pl.DataFrame,
    predictions: pl.DataFrame,
    model_runs: pl.DataFrame,
    dhi: pl.DataFrame,
    model_section: Rules,
    *,
    gate: str,
) -> pl.DataFrame:
    """Put the risk beside the state: one row per patient and visit of the accepted responses.

    1. the models of the task of this visit: the champion, then the newest candidate; the first that
       says something of the patient is taken
    2. probability: what that model gave the patient when the patient was held out, or where it was
       not trained on the patient at all; none, with the reason, where neither says anything, or
       where the model that does abstains
    3. reading and advice by `read_risk` and ADVICE
    4. evidence: change of the sum from baseline; DHI from T0 to this visit

    The states are copied. A probability of response stands for that of pseudoprogression where the
    state is iUPD; no reading is a response, none has a date, and none confirms a progression.
    `gate` is the state of the gate, which every row bears.

    Returns
    -------
    pl.DataFrame
        The table dynamic_irecist.
    """
    chosen = _chosen_models(model_runs, (model_section["champion_alias"], model_section["alias"]))
    given: dict[tuple[str, ...], Row] = {
        (p["site"], p["patient"], p["task"], p["model"], p["model_version"]): p
        for p in predictions.iter_rows(named=True)
    }
    heterogeneity = {
        (h["site"], h["patient"], h["to_visit"]): h["dhi"]
        for h in dhi.iter_rows(named=True)
        if h["scope"] == "patient" and h["from_visit"] == BASELINE
    }
    accepted = responses.filter(pl.col("evaluator") == ACCEPTED).sort(
        "site", "patient", "scan_date", "visit", nulls_last=True
    )
    rows = [
        _row(v, chosen.get(v["visit"], []), given, heterogeneity, model_section, gate)
        for v in accepted.iter_rows(named=True)
    ]
    return pl.DataFrame(rows, schema=polars_schema(DYNAMIC_IRECIST), orient="row")


def _chosen_models(
    model_runs: pl.DataFrame, aliases: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """Model and version by task, in the order of the aliases."""
    chosen: dict[str, list[tuple[str, str]]] = {}
    for alias in aliases:
        newest = (
            model_runs.filter(pl.col("alias") == alias)
            .sort("trained_at")
            .unique("task", keep="last")
        )
        for run in newest.iter_rows(named=True):
            chosen.setdefault(run["task"], []).append((run["model"], run["model_version"]))
    return chosen


def _row(
    visit: Row,
    models: Sequence[tuple[str, str]],
    given: Mapping[tuple[str, ...], Row],
    heterogeneity: Mapping[tuple[str, str, str], float | None],
    section: Rules,
    gate: str,
) -> tuple[Any, ...]:
    who, settled = (visit["site"], visit["patient"]), visit["irecist_response"] in SETTLED
    said = (
        next((p for m in models if (p := given.get((*who, visit["visit"], *m)))), None)
        if not settled
        else None
    )
    probability = said["probability"] if said and not said["abstained"] else None
    reading = read_risk(visit["irecist_response"], probability, section, visit["visit"])
    name, version = (said["model"], said["model_version"]) if said else (None, None)
    return (
        *who,
        visit["visit"],
        visit["day"],
        visit["overall_response_as_of_visit"],
        visit["irecist_response"],
        probability,
        name,
        version,
        reading,
        ADVICE[reading],
        visit["change_from_baseline_percent"],
        heterogeneity.get((*who, visit["visit"])),
        _why_none(visit["visit"], models, said, settled=settled) if probability is None else None,
        gate,
        said["amendments"] if said else None,
        visit["simulated"],
    )


def read_risk(state: str, probability: float | None, section: Rules, visit: str) -> str:
    """Read a probability beside the state at which it was given.

    It is the probability of response; at the landmark (T2), of six months without progression.

    1. no probability: no_prediction
    2. state iUPD: at most `response_low` iUPD_likely_true, at least `response_high`
       iUPD_likely_pseudo, else iUPD_indeterminate
    3. another state: at most `response_low` likely_non_responder, at least `response_high`
       likely_responder, else indeterminate; at the landmark likely_progressor and
       likely_progression_free

    >>> read_risk("iUPD", 0.2, {"response_low": 0.35, "response_high": 0.65}, "T1")
    'iUPD_likely_true'
    """
    if probability is None:
        return "no_prediction"
    low, high = probability <= section["response_low"], probability >= section["response_high"]
    if state == "iUPD":
        return "iUPD_likely_true" if low else "iUPD_likely_pseudo" if high else "iUPD_indeterminate"
    below, above = (
        ("likely_progressor", "likely_progression_free")
        if visit == LANDMARK
        else ("likely_non_responder", "likely_responder")
    )
    return below if low else above if high else "indeterminate"


def _why_none(
    visit: str, models: Sequence[tuple[str, str]], said: Row | None, *, settled: bool
) -> str:
    if settled:
        return "the state leaves nothing to predict"
    if said:
        return f"the model abstains: its members disagree by {said['spread']:.2f}"
    return (
        "the patient is not in the training cohort"
        if models
        else f"no model for the task of {visit}"
    )
