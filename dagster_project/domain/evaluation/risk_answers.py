"""What the models can answer to each question about risk, and why they cannot.

An answer is of the whole cohort: how many patients and events are behind it, and a probability by
patient and visit. Whether it may be shown of a patient is decided in dynamic_risk.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from dagster_project.domain.evaluation.comparators import (
    Floats,
    change_of_size,
    predict,
    put_together,
)
from dagster_project.domain.evaluation.courses import Landmark
from dagster_project.domain.evaluation.figures import folds_of
from dagster_project.domain.evaluation.risk_reasons import (
    BAD_SLOPE,
    FEW_PROGRESSIONS,
    FEW_RESPONDERS,
    HELD_BACK,
    NO_BETTER,
    NO_MODEL,
    NO_SLOPE,
)
from dagster_project.domain.evaluation.supermodel import (
    WITH_FEATURES,
    FeatureSource,
    Stack,
    bounds_of_stack,
    brier_gained,
    risks_of_stack,
    stack_landmarks,
    stack_with_features,
)
from dagster_project.domain.response.findings import Rules
from dagster_project.statistics.calibration import calibration_estimates
from dagster_project.statistics.jackknife import held_out_bounds
from dagster_project.statistics.predictive_values import outcome_weights, probability_in_practice
from dagster_project.statistics.roc import auc_difference
from dagster_project.statistics.survival import kaplan_meier

Row = Mapping[str, Any]
Patient = tuple[str, str]
Place = tuple[str, str, str]
"""Site, patient and visit."""


class Given(NamedTuple):
    """A probability of one patient at one visit, with what says how sure it is."""

    probability: float
    lower: float | None
    upper: float | None
    in_practice: tuple[float | None, float | None, float | None]
    ood_score: float | None = None
    abstained: bool = False
    ensemble_sd: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question, by site, patient and visit; `why` where it may not be shown."""

    source: str
    n: int | None = None
    events: int | None = None
    base_rate: float | None = None
    given: Mapping[Place, Given] = field(default_factory=dict)
    why: str | None = None
    model: str | None = None
    model_version: str | None = None


class Shares(NamedTuple):
    """Share of responders among the patients enrolled, and in practice; None where not known."""

    enrolled: float | None
    practice: float

    def in_practice(self, values: Sequence[float | None]) -> tuple[float | None, ...]:
        """Probabilities of response among patients of practice."""
        e = self.enrolled
        if e is None:
            return tuple(None for _ in values)
        return tuple(
            None if v is None else float(probability_in_practice(np.array(v), e, self.practice))
            for v in values
        )


def enrolled_share(responders: Mapping[Patient, bool]) -> float | None:
    """Share of responders; None where it is 0, 1 or of nobody."""
    share = sum(responders.values()) / len(responders) if responders else 0.0
    return share if 0 < share < 1 else None


# -- response: the champion or candidate, else size ------------------------------------------------


def answer_by_model(
    visit: str,
    predictions: pl.DataFrame,
    model_runs: pl.DataFrame,
    population: Mapping[Patient, float] | None,
    shares: Shares,
    sections: Mapping[str, Rules],
) -> Answer:
    """The response model of a visit: the champion, else the newest candidate.

    1. judged on the patients of the population whom it had not seen and whose response is known
    2. not shown with fewer responders than [risk] asks for, with a calibration slope outside
       [model] promotion_slope, or where the rule of promotion held it back
    3. not shown where it does no better than ln(S / S0) on the same patients, by the paired test

    Parameters
    ----------
    population
        ln(S / S0) of each patient of the population; None for all patients, without rule 3.
    """
    model = sections["model"]
    run = _run_of(visit, model_runs, (model["champion_alias"], model["alias"]))
    if run is None:
        return Answer("model", why=NO_MODEL.format(visit=visit))
    version = {"task": visit, "model": run["model"], "model_version": run["model_version"]}
    rows = predictions.filter(**version).to_dicts()
    judged = [
        r
        for r in rows
        if r["fold"] is not None
        and r["observed_response"] is not None
        and (population is None or (r["site"], r["patient"]) in population)
    ]
    labels = np.array([r["observed_response"] for r in judged], dtype=bool)
    scores = np.array([r["probability"] for r in judged], dtype=np.float64)
    why = _why_not_fit(labels, scores, sections) or (
        HELD_BACK if run["promotion"] == "held_back" else None
    )
    if why is None and population is not None:
        size = np.array([population[r["site"], r["patient"]] for r in judged])
        gain = auc_difference(labels, scores, -size, folds=model["folds"])[0]
        why = None if gain.lower is not None and gain.lower > 0 else NO_BETTER
    return Answer(
        "model",
        len(labels),
        int(labels.sum()),
        float(labels.mean()) if len(labels) else None,
        {(r["site"], r["patient"], visit): _given(r, shares) for r in rows},
        why,
        run["model"],
        run["model_version"],
    )


def _run_of(visit: str, model_runs: pl.DataFrame, aliases: Sequence[str]) -> Row | None:
    for alias in aliases:
        found = model_runs.filter(task=visit, alias=alias).sort("trained_at")
        if found.height:
            return found.row(-1, named=True)
    return None


def _why_not_fit(
    labels: np.ndarray, probabilities: Floats, sections: Mapping[str, Rules]
) -> str | None:
    """Too few responders, or probabilities that do not mean what they say."""
    events, minimum = int(labels.sum()), sections["risk"]["response_events_minimum"]
    if events < minimum:
        return FEW_RESPONDERS.format(events=events, minimum=minimum)
    low, high = sections["model"]["promotion_slope"]
    slope = calibration_estimates(labels, probabilities)[1].value
    if slope is None:
        return NO_SLOPE
    return None if low <= slope <= high else BAD_SLOPE.format(slope=slope, low=low, high=high)


def _given(row: Row, shares: Shares) -> Given:
    values = (row["probability"], row["lower"], row["upper"])
    return Given(
        *values,
        shares.in_practice(values),  # type: ignore[arg-type]
        row["ood_score"],
        bool(row["abstained"]),
        row["ensemble_sd"],
    )


def answer_by_size(
    stable: Sequence[Landmark], shares: Shares, sections: Mapping[str, Rules]
) -> Answer:
    """Response at the next visit by ln(S / S0) alone, cross-fitted by patient.

    Parameters
    ----------
    stable
        One visit per patient, of those who are stable there and have both sums.
    """
    known = np.array([r.responds_next is not None for r in stable], dtype=bool)
    labels = np.array([bool(r.responds_next) for r in stable], dtype=bool)
    columns = np.array([[change_of_size(r)] for r in stable], dtype=np.float64).reshape(-1, 1)
    folds = folds_of([r.patient for r in stable], sections["evaluation"]["folds"])
    n, events = int(known.sum()), int(labels[known].sum())
    base = float(labels[known].mean()) if n else None
    minimum = sections["risk"]["response_events_minimum"]
    if events < minimum:
        why = FEW_RESPONDERS.format(events=events, minimum=minimum)
        return Answer("size", n, events, base, why=why)

    def chances(seen: np.ndarray, held: np.ndarray) -> Floats:
        used = seen & known
        if labels[used].all() or not labels[used].any():
            return np.full(int(held.sum()), float(labels[used].mean()))
        return predict(columns[used], labels[used], np.ones(int(used.sum())), columns[held])

    found = put_together(folds, lambda fold: chances(folds != fold, folds == fold))
    bounds = held_out_bounds(chances, folds, found)
    why_not = _why_not_fit(labels[known], found[known], sections)
    given = _by_place(stable, found, bounds, novelty(columns, known), shares)
    return Answer("size", n, events, base, given, why_not)


def novelty(columns: Floats, known: np.ndarray) -> Floats:
    """Root mean square of a row's z-scores by the rows that were learnt from."""
    mean, deviation = columns[known].mean(axis=0), columns[known].std(axis=0)
    z = (columns - mean) / np.where(deviation > 0, deviation, 1.0)
    return np.asarray(np.sqrt((z**2).mean(axis=1)), dtype=np.float64)


def _by_place(
    landmarks: Sequence[Landmark],
    found: Floats,
    bounds: tuple[Floats, Floats],
    scores: Floats,
    shares: Shares,
) -> dict[Place, Given]:
    given = {}
    for n, landmark in enumerate(landmarks):
        values = (float(found[n]), _number(bounds[0][n]), _number(bounds[1][n]))
        practice: Any = shares.in_practice(values)
        given[*landmark.patient, landmark.visit] = Given(*values, practice, float(scores[n]))
    return given


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


# -- progression: the supermodel -------------------------------------------------------------------


def answer_by_supermodel(
    landmarks: Sequence[Landmark],
    horizon: int,
    responders: Mapping[Patient, bool],
    shares: Shares,
    sections: Mapping[str, Rules],
) -> Answer:
    """Risk of progression or death within a horizon by sums and elapsed days (supermodel.py).

    The risk in practice is that of the same model with its patients weighted by outcome, so that
    responders have the share of practice.

    Parameters
    ----------
    landmarks
        Of `supermodel.is_landmark`.
    responders
        Whether the tumour of each patient responded, where that is known.
    """
    stack = stack_landmarks(landmarks, sections["evaluation"]["folds"])
    answer = _counted("supermodel", stack, horizon, sections)
    if answer.why is not None:
        return answer
    risks = risks_of_stack(stack, horizon)
    weights = _weights(landmarks, responders, shares)
    return replace(answer, given=_of_stack(landmarks, stack, horizon, risks, weights))


def answer_by_features(
    landmarks: Sequence[Landmark],
    horizon: int,
    by_size: Answer,
    features: FeatureSource,
    known: tuple[Mapping[Patient, bool], Shares],
    sections: Mapping[str, Rules],
) -> Answer:
    """The same with one penalised score of features, where that does better than size alone.

    1. of the landmarks that have features; the score is learnt from events by the longest horizon
    2. not shown with fewer events than [risk] asks for among these landmarks
    3. not shown where its Brier score is no lower than that of `by_size` on the same landmarks, by
       the paired test over patients

    Parameters
    ----------
    by_size
        `answer_by_supermodel` of all landmarks.
    known
        `responders` and `shares` of `answer_by_supermodel`.
    """
    rules = sections["evaluation"]
    own = [r for r in landmarks if features.knows(r)]
    stack = stack_with_features(own, features, rules["folds"], max(rules["horizons_days"]))
    answer = _counted(WITH_FEATURES, stack, horizon, sections)
    why = answer.why or by_size.why
    if why is not None:
        return replace(answer, why=why)
    risks = risks_of_stack(stack, horizon)
    size = np.array([by_size.given[*r.patient, r.visit].probability for r in own])
    gain = brier_gained(stack, [r.patient for r in own], risks, size, horizon)
    if gain.lower is None or gain.lower <= 0:
        return replace(answer, why=NO_BETTER)
    given = _of_stack(own, stack, horizon, risks, _weights(own, *known))
    return replace(answer, given=given)


def _counted(source: str, stack: Stack, horizon: int, sections: Mapping[str, Rules]) -> Answer:
    """Landmarks and events behind an answer, and why it may not be shown where they are too few."""
    followed = stack.followed
    n, events = int(followed.sum()), int(stack.events[followed].sum())
    minimum = sections["risk"]["landmark_events_minimum"]
    base = _base_rate(stack.days[followed], stack.events[followed], horizon) if n else None
    few = FEW_PROGRESSIONS.format(events=events, minimum=minimum) if events < minimum else None
    return Answer(source, n, events, base, why=few)


def _of_stack(
    landmarks: Sequence[Landmark], stack: Stack, horizon: int, risks: Floats, weights: Floats | None
) -> dict[Place, Given]:
    """Risks with bounds, as enrolled and, where patients have weights, in practice."""
    low, high = bounds_of_stack(stack, horizon, risks)
    practice = [np.full(len(risks), np.nan)] * 3
    if weights is not None:
        weighted = stack.weighted(weights)
        of_practice = risks_of_stack(weighted, horizon)
        practice = [of_practice, *bounds_of_stack(weighted, horizon, of_practice)]
    scores = novelty(stack.columns, stack.followed)
    return {
        (*landmark.patient, landmark.visit): Given(
            float(risks[k]),
            _number(low[k]),
            _number(high[k]),
            (_number(practice[0][k]), _number(practice[1][k]), _number(practice[2][k])),
            float(scores[k]),
        )
        for k, landmark in enumerate(landmarks)
    }


def _base_rate(days: Floats, events: np.ndarray, horizon: int) -> float:
    return 1 - kaplan_meier(days.tolist(), events.tolist()).survival_at(horizon)


def _weights(
    landmarks: Sequence[Landmark], responders: Mapping[Patient, bool], shares: Shares
) -> Floats | None:
    """Of each row its patient's weight; 1 where the response is not known.

    None where the share of responders enrolled is not known.
    """
    if shares.enrolled is None:
        return None
    names = sorted(responders)
    of_patients = outcome_weights([responders[name] for name in names], shares.practice)
    known = dict(zip(names, of_patients, strict=True))
    return np.array([known.get(r.patient, 1.0) for r in landmarks])
