"""Figures of the dynamic standard's evaluation: times to progression, days gained."""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.worlds.cases import Cases
from dagster_project.domain.evaluation.comparators import (
    Times,
    predict,
    risks_by_category,
    risks_by_columns,
)
from dagster_project.domain.evaluation.figures import mean_of
from dagster_project.domain.evaluation.supermodel import Stack, bounds_of_stack, risks_of_stack
from dagster_project.statistics.concordance import concordance_index, concordance_pairs
from dagster_project.statistics.cross_fitting import of_folds
from dagster_project.statistics.estimate import Estimate
from dagster_project.statistics.time_dependent import auc_at, brier_at, horizon_weights

MEDIAN_DAYS = 250.0
HORIZON = 90.0
EFFECT = 0.7
"""Log hazard per standard deviation of the score."""

CENSORED = 0.35
FOLDS, DRAWS, LATER = 10, 300, 20_000

MOVED = 0.6
"""Share of progressions whose CT the advice moves, by an exponential number of days."""

MEAN_DAYS = 20.0


def evaluation(patients: int, random: np.random.Generator) -> Cases:
    """A score that was there before, risks that are cross-fitted, and days that are gained."""
    score, days, events = _patients(patients, random)
    times = Times(days, events, np.arange(patients) % FOLDS)
    given = auc_at(days, events, score, HORIZON, draws=DRAWS)
    yield "AUC at a day of a given score", given, _true_auc()
    order = concordance_index(days, events, -score, draws=DRAWS)
    yield "C-index of a given score", order, _true_concordance()
    yield from _cross_fitted(times, score, random)
    gained = _gained(patients // 5, random)
    yield "mean days gained of a fifth of them", mean_of(gained), _mean_gained()
    yield from stacked(patients, random.spawn(1)[0])


def stacked(patients: int, random: np.random.Generator) -> Cases:
    """Risks of `ASKED` patients by the supermodel, each with three visits of independent times.

    The truth of a patient is what the same regression gives of 200,000 patients without censoring.
    """
    score, days, events = _patients(3 * patients, random)
    stack = Stack(
        score[:, None],
        days,
        events,
        np.repeat(np.arange(patients) % FOLDS, 3),
        np.tile([1, 2, 3], patients),
        np.ones(len(score)),
    )
    risks = risks_of_stack(stack, HORIZON)
    low, high = bounds_of_stack(stack, HORIZON, risks)
    truth = _limit(score[:ASKED])
    for k in range(min(ASKED, len(score))):
        found = Estimate(float(risks[k]), float(low[k]), float(high[k]))
        yield "a patient's risk by the supermodel", found, float(truth[k])


ASKED = 30


def _limit(score: np.ndarray) -> np.ndarray:
    columns, labels = _many()
    return predict(columns, labels, np.ones(len(labels)), score[:, None])


@cache
def _many() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(95)
    score = random.normal(size=10 * LATER)
    return score[:, None], random.random(len(score)) < _true_risk(score)


def _patients(n: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    score = random.normal(size=n)
    days = random.exponential(MEDIAN_DAYS / np.log(2) * np.exp(-EFFECT * score))
    end = random.exponential(MEDIAN_DAYS / np.log(2) * (1 - CENSORED) / CENSORED, n)
    return score, np.minimum(days, end), days <= end


def _cross_fitted(times: Times, score: np.ndarray, random: np.random.Generator) -> Cases:
    """Against what the model of all patients does for patients to come, none of them censored."""
    risks = risks_by_columns(times, score[:, None], HORIZON)
    base = risks_by_category(times, ["all"] * len(score), HORIZON)
    later = random.normal(size=LATER)
    labels = random.random(LATER) < _true_risk(later)
    case, control = horizon_weights(times.days, times.events, HORIZON)
    own = predict(score[:, None], case > 0, case + control, later[:, None])
    auc = auc_at(times.days, times.events, risks, HORIZON, draws=DRAWS)
    yield "AUC at a day, cross-fitted", of_folds(auc, FOLDS, 0.0, 1.0), _true_auc()
    gain = brier_at(times.days, times.events, risks, HORIZON, reference=base, draws=DRAWS)
    truth = float(np.mean((base.mean() - labels) ** 2 - (own - labels) ** 2))
    yield "Brier score gained at a day, cross-fitted", of_folds(gain, FOLDS, -1.0, 1.0), truth
    yield "Brier score gained at a day, bootstrap's own", gain, truth


def _true_risk(score: np.ndarray) -> np.ndarray:
    rate = np.log(2) / MEDIAN_DAYS * np.exp(EFFECT * score)
    return np.asarray(1 - np.exp(-rate * HORIZON))


@cache
def _true_auc() -> float:
    random = np.random.default_rng(98)
    score = np.sort(random.normal(size=1_000_000))
    risk = _true_risk(score)
    below = np.cumsum(1 - risk)
    return float((risk * below).sum() / (risk.sum() * (1 - risk).sum()))


@cache
def _true_concordance() -> float:
    random = np.random.default_rng(97)
    found = [_concordance(random) for _ in range(10)]
    return float(np.mean(found))


def _concordance(random: np.random.Generator) -> float:
    score, days, events = _patients(3000, random)
    usable, right = concordance_pairs(days, events, -score)
    return float(right.sum() / usable.sum())


def _gained(n: int, random: np.random.Generator) -> np.ndarray:
    moved = random.random(n) < MOVED
    return np.where(moved, np.round(random.exponential(MEAN_DAYS, n)), 0.0)


@cache
def _mean_gained() -> float:
    return float(_gained(4_000_000, np.random.default_rng(96)).mean())
