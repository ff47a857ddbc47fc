"""Dynamic iRECIST: state, block and advice of each visit, and a probability where one may be shown.

It advises and never changes a response; a block decides before any probability.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dagster_project.domain.imaging.timepoints import BASELINE
from dagster_project.domain.response.dynamic_standard import Standard
from dagster_project.domain.response.endpoints import LANDMARK
from dagster_project.domain.response.findings import Rules
from dagster_project.domain.response.irecist import PROGRESSED, RESPONDED
from dagster_project.domain.response.irecist_blocks import FINAL, window_of
from dagster_project.domain.response.responses import ACCEPTED
from dagster_project.lake.schema import polars_schema
from dagster_project.lake.tables import DYNAMIC_IRECIST

ADVICE = {
    "controlled": "as_scheduled",
    "reset": "as_scheduled",
    "open": "ct_from_day_to_day",
    "confirmed": "bring_to_board",
    "closed": "none",
    "not_gradable": "none",
}
"""What is due in each state: the next CT and nothing of treatment."""

IN_BLOCK = ("iUPD", "iCPD", "iNE")
"""Responses that a visit within a block may have."""

NO_POPULATION = {
    "open": "withheld: a block is open, and no model was trained on such patients",
    "reset": "withheld: progression was reset, and no model applies to such patients",
    "confirmed": "the state leaves nothing to predict",
    "closed": "the state leaves nothing to predict",
    "not_gradable": "withheld: the visit cannot be graded",
}
"""Why a state has no probability."""

HAS_PROGRESSED = "withheld: the patient has progressed and is not of the model's population"
HAS_RESPONDED = "withheld: the patient has responded and is not of the model's population"
COMPLETE = "the state leaves nothing to predict"
NO_MODEL = "no model for the task of {visit}"
NO_PREDICTION = "the patient is not in the training cohort"
ABSTAINS = "withheld: the model abstains, its members disagree by {spread:.2f}"
TOO_NEW = "withheld: the patient is unlike those of the training, novelty {novelty:.1f}"
TOO_WIDE = "withheld: the interval is {width:.2f} wide"
NO_DAYS = "no date of a first cycle: no day is counted"

Row = Mapping[str, Any]
Patient = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a patient stands after a visit, by what was known then.

    `window` are the first and last day of an open block's window, from the first cycle.
    """

    state: str
    block: str | None = None
    window: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True, slots=True)
class Source:
    """The model for a patient and its prediction; None where there is none."""

    run: Row | None
    prediction: Row | None


def derive_dynamic_irecist(
    responses: pl.DataFrame,
    blocks: pl.DataFrame,
    predictions: pl.DataFrame,
    model_runs: pl.DataFrame,
    dhi: pl.DataFrame,
    sections: Mapping[str, Rules],
    standard: Standard,
    *,
    gate: str,
) -> pl.DataFrame:
    """One row per patient and visit of the accepted responses.

    1. state and block status by `situations_of`, as of the visit; advice by ADVICE, that of an open
       block with the days of its window
    2. the models of the task of this visit: the champion, then the newest candidate; the first
       with a prediction for the patient is taken: of the fold in which the patient was held out, or
       of a model that was not trained on the patient at all
    3. its probability with bounds, novelty and the patients behind it; withheld, with the reason,
       where the patient is not of its population, where it abstains, and where novelty or interval
       exceed the protocol's limits (`why_withheld`)
    4. evidence: change of the sum from baseline; DHI from T0 to this visit

    State, block and advice need no model and no gate. The responses are copied. `gate` is the state
    of the gate, which every row bears.

    Returns
    -------
    pl.DataFrame
        The table dynamic_irecist.
    """
    model = sections["model"]
    chosen = _chosen_models(model_runs, (model["champion_alias"], model["alias"]))
    given: dict[tuple[str, ...], Row] = {
        (p["site"], p["patient"], p["task"], p["model"], p["model_version"]): p
        for p in predictions.iter_rows(named=True)
    }
    heterogeneity = {
        (h["site"], h["patient"], h["to_visit"]): h["dhi"]
        for h in dhi.iter_rows(named=True)
        if h["scope"] == "patient" and h["from_visit"] == BASELINE
    }
    own_blocks = _by_patient(blocks.filter(evaluator=ACCEPTED).sort("block"))
    accepted = responses.filter(evaluator=ACCEPTED).sort("scan_date", "visit", nulls_last=True)
    rows = []
    for who, visits in sorted(_by_patient(accepted).items()):
        situations = situations_of(visits, own_blocks[who], sections["irecist"])
        for visit, situation in zip(visits, situations, strict=True):
            source = _source_of(visit, chosen.get(visit["visit"], []), given)
            why = why_withheld(visit, situation, source, sections)
            evidence = heterogeneity.get((*who, visit["visit"]))
            rows.append(_row(visit, situation, source, why) | {"dhi": evidence, "gate": gate})
    stamped = [
        {**row, "standard_version": standard.version, "standard_digest": standard.digest}
        for row in rows
    ]
    return pl.DataFrame(stamped, schema=polars_schema(DYNAMIC_IRECIST), orient="row")


def _by_patient(frame: pl.DataFrame) -> dict[Patient, list[Row]]:
    found: dict[Patient, list[Row]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        found[row["site"], row["patient"]].append(row)
    return found


def _chosen_models(model_runs: pl.DataFrame, aliases: Sequence[str]) -> dict[str, list[Row]]:
    """The newest run of each alias by task, in the order of the aliases."""
    chosen: dict[str, list[Row]] = {}
    for alias in aliases:
        newest = (
            model_runs.filter(pl.col("alias") == alias)
            .sort("trained_at")
            .unique("task", keep="last")
        )
        for run in newest.iter_rows(named=True):
            chosen.setdefault(run["task"], []).append(run)
    return chosen


def situations_of(visits: Sequence[Row], blocks: Sequence[Row], irecist: Rules) -> list[Situation]:
    """State of one patient after each visit, from that visit and earlier ones alone.

    1. a block that was open until this visit: confirmed by iCPD, reset by another response
    2. a block that an event closed before this visit: closed; after loss or the end of treatment
       a response ends that
    3. an open block: open; waiting at the iUPD and at a CT too early to confirm, unreadable where
       the visit is iNE, else standing
    4. no block: controlled; confirmed after iCPD; not_gradable where the visit is iNE or there was
       no disease; closed where it progressed after a death or a new therapy
    """
    return [
        _situation(visit, visits[: place + 1], blocks, irecist)
        for place, visit in enumerate(visits)
    ]


def _situation(
    visit: Row, so_far: Sequence[Row], blocks: Sequence[Row], irecist: Rules
) -> Situation:
    seen, response = {v["visit"] for v in so_far}, visit["irecist_response"]
    begun = [b for b in blocks if b["opened_visit"] in seen]
    block = begun[-1] if begun else None
    if block is not None and block["resolved_visit"] in seen:
        if block["outcome"] == "confirmed":
            return Situation("confirmed", "confirmed")
        if block["resolved_visit"] == visit["visit"]:
            return Situation("reset", "reset")
    elif block is not None and (response in IN_BLOCK or block["resolved_by"] in FINAL):
        return _within(visit, so_far, block, irecist)
    if response in {"iUPD", "iCPD"}:
        return Situation("closed", "closed")
    return Situation("not_gradable" if response in {"iNE", "iNED"} else "controlled")


def _within(visit: Row, so_far: Sequence[Row], block: Row, irecist: Rules) -> Situation:
    """A visit of a block that nothing has resolved yet."""
    day, ended = visit["day"], block["resolved_day"]
    if block["outcome"] == "closed" and (ended is None or day is None or ended < day):
        return Situation("closed", "closed")
    opened = next(v for v in so_far if v["visit"] == block["opened_visit"])
    early = _is_early(opened, visit, irecist)
    window = _window(opened, so_far, irecist)
    if early:
        return Situation("open", "waiting", window)
    status = "unreadable" if visit["irecist_response"] == "iNE" else "standing"
    return Situation("open", status, window)


def _is_early(opened: Row, visit: Row, irecist: Rules) -> bool:
    first, _ = window_of(0, 0, irecist)
    return bool((visit["scan_date"] - opened["scan_date"]).days < first)


def _window(opened: Row, so_far: Sequence[Row], irecist: Rules) -> tuple[int | None, int | None]:
    """Days in which the next CT confirms or resets, not before the visit that was just read.

    Past the window they are the day of the visit alone: the CT is overdue.
    """
    if opened["day"] is None:
        return None, None
    since = so_far[so_far.index(opened) :]
    counted = [
        v["day"]
        for v in since
        if v["irecist_response"] == "iUPD"
        and not (v is not opened and _is_early(opened, v, irecist))
    ]
    first, last = window_of(opened["day"], max(counted), irecist)
    soonest = max(first, so_far[-1]["day"])
    return soonest, max(soonest, last)


def _source_of(visit: Row, runs: Sequence[Row], given: Mapping[tuple[str, ...], Row]) -> Source:
    who = (visit["site"], visit["patient"], visit["visit"])
    for run in runs:
        found = given.get((*who, run["model"], run["model_version"]))
        if found is not None:
            return Source(run, found)
    return Source(runs[0] if runs else None, None)


def why_withheld(
    visit: Row, situation: Situation, source: Source, sections: Mapping[str, Rules]
) -> str | None:
    """Why a visit has no probability; None where it has one.

    1. the state is none that a model was trained on
    2. nothing is left to predict (iCR)
    3. by its response the patient was left out of the training ([model] early_outcome_policy)
    4. no model, or none with a prediction for the patient
    5. the model abstains
    6. novelty above `ood_score_maximum`
    7. an interval wider than `interval_maximum`; one that was not computed is not wide
    """
    if situation.state in NO_POPULATION:
        return NO_POPULATION[situation.state]
    if visit["irecist_response"] == "iCR":
        return COMPLETE
    decided = _why_decided(visit, sections["model"]["early_outcome_policy"])
    if decided:
        return decided
    if source.run is None:
        return NO_MODEL.format(visit=visit["visit"])
    if source.prediction is None:
        return NO_PREDICTION
    return _why_unsure(source.prediction, sections["dynamic"])


def _why_decided(visit: Row, decided: str) -> str | None:
    state = visit["irecist_response"]
    if decided != "keep" and state in PROGRESSED:
        return HAS_PROGRESSED
    responded = state in RESPONDED and visit["visit"] != LANDMARK
    return HAS_RESPONDED if decided == "exclude" and responded else None


def _why_unsure(prediction: Row, dynamic: Rules) -> str | None:
    if prediction["abstained"]:
        return ABSTAINS.format(spread=prediction["ensemble_sd"])
    if (
        prediction["ood_score"] is not None
        and prediction["ood_score"] > dynamic["ood_score_maximum"]
    ):
        return TOO_NEW.format(novelty=prediction["ood_score"])
    bounds = (prediction["lower"], prediction["upper"])
    if None not in bounds and bounds[1] - bounds[0] > dynamic["interval_maximum"]:
        return TOO_WIDE.format(width=bounds[1] - bounds[0])
    return None


def _row(visit: Row, situation: Situation, source: Source, why: str | None) -> dict[str, Any]:
    prediction, run, shown = source.prediction or {}, source.run or {}, why is None
    advice = ADVICE[situation.state]
    no_days = advice == "ct_from_day_to_day" and None in situation.window
    return {
        **{name: visit[name] for name in ("site", "patient", "visit", "day", "simulated")},
        "overall_response": visit["overall_response_as_of_visit"],
        "irecist_response": visit["irecist_response"],
        "state": situation.state,
        "block_status": situation.block,
        "advice": advice,
        "advice_from_day": situation.window[0],
        "advice_to_day": situation.window[1],
        "question": "progression_free" if visit["visit"] == LANDMARK else "response",
        **{
            name: prediction[name] if shown else None
            for name in ("probability", "lower", "upper", "ood_score")
        },
        **{name: run[name] if shown else None for name in ("n_patients", "n_positive")},
        "in_population": situation.state == "controlled" and why not in _OUTSIDE,
        "withheld": not shown and bool(prediction),
        "model": run["model"] if shown else None,
        "model_version": run["model_version"] if shown else None,
        "change_from_baseline_percent": visit["change_from_baseline_percent"],
        "reason": "; ".join(filter(None, (why, NO_DAYS if no_days else None))) or None,
        "amendments": prediction.get("amendments") if shown else None,
    }


_OUTSIDE = frozenset({HAS_PROGRESSED, HAS_RESPONDED, COMPLETE})
